"""How an ability asks a model: each row is a conversation, all of a batch at once, every answer checked on our side.

A conversation is a generator. It yields the questions that can be asked together and gets their outcomes; it returns
the row's columns:

    def converse(self, row):
        (answer,) = yield [Question(self.request(row), CaptionAnswer)]
        return {"caption": answer.value.caption}

An answer that does not fit its pydantic model is asked for once more, with what was wrong. One that is cut, refused,
empty or the same words over and over is no answer: `value` raises Unusable with the raw text, which rejects the row
unless the conversation knows better.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, ClassVar, Generic, TypeVar, cast

import pyarrow as pa
import pydantic

from reelmill.annotators.annotator import Annotator, each_row, step_name
from reelmill.annotators.engines.engine import EngineSpec, Reply, Request
from reelmill.annotators.engines.gates import degenerate
from reelmill.annotators.engines.opening import Engines
from reelmill.annotators.engines.replies import Remembered
from reelmill.annotators.engines.spending import Usage
from reelmill.annotators.prompts._load import load_prompt, prompt_hash, unchanged
from reelmill.annotators.pulse import beat
from reelmill.schemas.errors import EngineDown, OverBudget, Unusable
from reelmill.schemas.keys import canonical_json, seed_for

Answer = TypeVar("Answer", bound=pydantic.BaseModel)

REPAIR = "repair"
_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(?P<inside>.*?)\n\s*```\s*\Z", re.DOTALL)
_RAW_CHARACTERS = 8000
_QUOTED_CHARACTERS = 2000
_LOOK_S = 5.0


@dataclass(frozen=True, slots=True)
class Question(Generic[Answer]):
    """A request and the shape of its answer. `prose` picks the text in it that may not be degenerate; `reader` makes an
    answer of what is no JSON, and raises pydantic.ValidationError where it cannot."""

    request: Request
    shape: type[Answer]
    prose: Callable[[Answer], str] | None = None
    reader: Callable[[str], Answer] | None = None

    @classmethod
    def of(
        cls, request: Request, shape: type[Answer], prose: Callable[[Answer], str] | None = None
    ) -> Question[Answer]:
        """With the shape's JSON schema in the request, for servers that heed it."""
        return cls(replace(request, answer_schema=_schema_of(shape)), shape, prose)


@lru_cache(64)
def _schema_of(shape: type[pydantic.BaseModel]) -> str:
    return canonical_json(shape.model_json_schema())


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Answer]):
    """What became of a question: an answer or why there is none."""

    reply: Reply
    answer: Answer | None
    trouble: Exception | None = None

    @property
    def value(self) -> Answer:
        """Raises Unusable where the answer is none, and EngineDown (a fault of the row) for an error of the engine."""
        if self.trouble is not None:
            raise self.trouble
        assert self.answer is not None
        return self.answer


Conversation = Generator[Sequence[Question[Any]], Sequence[Outcome[Any]], dict[str, Any]]


@dataclass(frozen=True)
class Asks(abc.ABC):
    """The fields of a step that asks a model.

    `engine` holds an address and is therefore execution; `model`, taken from it, is identity, and so are the revision
    of its weights as far as you know it, and the prompt.
    """

    engine: str = field(compare=False, metadata={"identity": False})
    model: str = ""
    model_revision: str = ""
    prompt: str = ""
    prompt_hash: str = ""
    seed: int = 0
    engines: Engines | None = field(default=None, compare=False, repr=False, metadata={"identity": False})
    sends_images: ClassVar[bool] = True
    method: ClassVar[str] = "model"

    def __post_init__(self) -> None:
        spec = EngineSpec.parse(self.engine)
        object.__setattr__(self, "model_revision", self.model_revision or spec.revision)
        object.__setattr__(self, "model", self.model or spec.name)
        object.__setattr__(self, "prompt_hash", self.prompt_hash or prompt_hash(*self.prompts))

    @property
    def in_process(self) -> bool:
        """True where the model runs in the worker itself and needs what the profile gives it."""
        return EngineSpec.parse(self.engine).kind in ("transformers", "vllm")

    @property
    def prompts(self) -> tuple[str, ...]:
        """All that this step may send; their files are part of its identity."""
        return (self.prompt, REPAIR)

    def __getstate__(self) -> dict[str, Any]:
        """A step travels without its engines: each process opens its own."""
        return {k: v for k, v in self.__dict__.items() if k not in ("engines", "usage", "own")}

    def setup(self) -> None:
        """Raises Drift where this machine's prompts are not those that the step was described with."""
        unchanged(self.prompt_hash, *self.prompts)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """All rows of a batch are in flight together. Raises EngineDown: a dead engine fails the worker, not rows."""
        ended = self._asked({row["key"]: self._talk(row) for row in batch.to_pylist()})
        return each_row(cast(Annotator, self), batch, lambda row: ended(row["key"]))

    @abc.abstractmethod
    def _talk(self, row: dict[str, Any]) -> Conversation:
        """The conversation of one row. Raises Unusable where it has nothing to ask about."""

    def _asked(self, talks: dict[str, Conversation]) -> Callable[[str], dict[str, Any]]:
        """All conversations at once. The function that comes back gives a row's columns, or raises what ended it."""
        engines = self.engines or self.__dict__.get("own") or Engines()
        if self.engines is None:  # nobody has lent any: this step is used by itself
            object.__setattr__(self, "own", engines)
        model, price = engines.get(self.engine, self.model_revision), engines.price_of(self.model)
        driven = _Talks(model, lambda reply: self._used(Usage.of(reply, price)))
        driven.run(talks)
        return driven.columns

    def close(self) -> None:
        """Let go of engines that were opened for this step alone."""
        if own := self.__dict__.get("own"):
            own.close()
            object.__setattr__(self, "own", None)

    def seed_of(self, key: str) -> int:
        """The seed of a row's requests, the same wherever and beside whatever it is asked."""
        return seed_for(self.seed, key, step_name(self)) % 2**31

    def _used(self, usage: Usage) -> None:
        object.__setattr__(self, "usage", self.__dict__.get("usage", Usage()) + usage)

    def spent(self) -> Usage:
        """What was used since this was last asked."""
        usage: Usage = self.__dict__.get("usage", Usage())
        object.__setattr__(self, "usage", Usage())
        return usage


@dataclass(eq=False)
class _Talk:
    """One row's conversation, and what it waits for."""

    key: str
    talk: Conversation
    questions: Sequence[Question[Any]] = ()
    outcomes: list[Outcome[Any] | None] | None = None

    def go_on(self) -> Sequence[Question[Any]]:
        """The next questions; raises what ends the conversation. Where it has none to ask it goes straight on."""
        questions = self.talk.send(self.outcomes)  # type: ignore[arg-type]
        while not questions:
            questions = self.talk.send(())
        return questions


class _Talks:
    """Drives conversations: whatever is answered first goes on first."""

    def __init__(self, model: Remembered, used: Callable[[Reply], None]) -> None:
        self.model, self.used = model, used
        self.ended: dict[str, dict[str, Any] | Exception] = {}
        self.stopped: OverBudget | None = None
        self._flying: dict[Future[Reply], tuple[_Talk, int, bool]] = {}

    def columns(self, key: str) -> dict[str, Any]:
        ended = self.ended[key]
        if isinstance(ended, Exception):
            raise ended
        return ended

    def run(self, talks: dict[str, Conversation]) -> None:
        """Raises what the engine raises. At a spending stop what is being asked is heard out first: it will be paid."""
        try:
            for key, talk in talks.items():
                if self.stopped is None:
                    self._on(_Talk(key, talk))
            heard = self.model.heard
            while self._flying:
                done, _ = wait(self._flying, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                if heard != self.model.heard:  # no answer yet, but a server that works on a batch is alive
                    heard = self.model.heard
                    beat()
                for one in done:
                    self._heard(one.result(), *self._flying.pop(one))
                    beat()
        finally:
            for one in self._flying:
                one.cancel()
        if self.stopped is not None:
            raise self.stopped

    def _on(self, talk: _Talk) -> None:
        """Say the next thing: the row's first questions, or what became of those before."""
        try:
            talk.questions = talk.go_on()
        except StopIteration as end:
            self.ended[talk.key] = end.value
        except Exception as trouble:
            self.ended[talk.key] = trouble
        else:
            talk.outcomes = [None] * len(talk.questions)
            for place, question in enumerate(talk.questions):
                self._ask(question.request, talk, place, mended=False)

    def _ask(self, request: Request, talk: _Talk, place: int, *, mended: bool) -> None:
        try:
            self._flying[self.model.submit(request)] = talk, place, mended
        except OverBudget as stop:
            self.stopped = stop

    def _heard(self, reply: Reply, talk: _Talk, place: int, mended: bool) -> None:
        self.used(reply)
        question = talk.questions[place]
        outcome = judged(question, reply)
        if not mended and isinstance(outcome.trouble, Misfit):
            again = repair(question, reply, outcome.trouble.detail)
            self._ask(again, talk, place, mended=True)
            return
        assert talk.outcomes is not None
        talk.outcomes[place] = outcome
        if all(one is not None for one in talk.outcomes):
            self._on(talk)


class Misfit(Unusable):
    """An answer that is whole but not of the shape that was asked for. Another try may mend it."""


def judged(question: Question[Answer], reply: Reply) -> Outcome[Answer]:
    """A reply as an answer, or why it is none, with its raw text."""
    if reply.error:
        do = "look at the server's log; `retry` asks again"
        return Outcome(reply, None, EngineDown(f"request {reply.id}", seen=reply.error, do=do))
    raw = f"raw answer: {reply.text[:_RAW_CHARACTERS]!r}"
    if reply.finish_reason == "length":
        seen = f"finish_reason length after {reply.tokens_out} tokens; {raw}"
        return Outcome(reply, None, Unusable("answer_cut", seen))
    if not reply.whole:
        return Outcome(reply, None, Unusable("no_answer", f"finish_reason {reply.finish_reason!r}; {raw}"))
    try:
        reader = question.reader or partial(read_answer, shape=question.shape)
        answer = reader(reply.text)
    except pydantic.ValidationError as error:
        return Outcome(reply, None, Misfit("bad_answer", f"{_problem(error)}; {raw}"))
    bad = degenerate(question.prose(answer)) if question.prose else None
    if bad:
        return Outcome(reply, None, Unusable(f"answer_{bad[0]}", f"{bad[1]}; {raw}"))
    return Outcome(reply, answer)


def read_answer(text: str, shape: type[Answer]) -> Answer:
    """The answer in a reply's text; a Markdown fence around it is let pass. Raises pydantic.ValidationError."""
    fenced = _FENCE.match(text)
    return shape.model_validate_json(fenced["inside"] if fenced else text)


def repair(question: Question[Any], reply: Reply, fault: str) -> Request:
    """The question once more, with the answer that did not fit and what was wrong with it."""
    fault = fault.partition("; raw answer: ")[0]
    answer = reply.text[:_QUOTED_CHARACTERS]
    prompt = load_prompt(REPAIR).filled(question=question.request.prompt, answer=answer, fault=fault)
    return replace(question.request, prompt=prompt)


def _problem(error: pydantic.ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in error.errors()[:3])
