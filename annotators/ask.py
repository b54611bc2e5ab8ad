"""Questions and answers written by a teacher: questions that the evidence answers, then each answer with a quote.

The quote is looked up: an answer whose quoted words do not stand in the evidence rests on nothing and is rejected,
which catches a teacher that makes things up without asking another one. Texts and captions go in as quotations: a slide
that says "ignore this" is a slide.

    evidence "Caption: A red circle enters. Text: EXIT"
    gives  pairs (WrittenPair("What enters?", "A red circle.", "A red circle enters", accepted), ...)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pydantic

from reelmill.annotators.annotator import Resources, step_name
from reelmill.annotators.asking import REPAIR, Asks, Conversation, Outcome, Question
from reelmill.annotators.caption import CAPTION
from reelmill.annotators.engines.engine import Request
from reelmill.annotators.prompts._load import load_prompt
from reelmill.annotators.read_second import AGREED
from reelmill.annotators.shown import FRAMES, JPEGS, MEDIA, ShownClip, evenly, times_of
from reelmill.annotators.text import TEXTS
from reelmill.schemas.answer import WrittenPair
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

PAIRS = Column.of("pairs", tuple[WrittenPair, ...])

_WRITE = "write"
_WORDS = re.compile(r"\w+")
_FEWEST_QUOTED = 2


class Questions(pydantic.BaseModel):
    """What the model must answer when it asks."""

    model_config = pydantic.ConfigDict(extra="forbid")
    questions: Annotated[
        list[Annotated[str, pydantic.StringConstraints(strip_whitespace=True, min_length=5, max_length=300)]],
        pydantic.Field(max_length=20),
    ]


class Written(pydantic.BaseModel):
    """What the model must answer when it writes."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    answerable: bool
    answer: Annotated[str, pydantic.StringConstraints(strip_whitespace=True, max_length=1200)]
    quote: Annotated[str, pydantic.StringConstraints(strip_whitespace=True, max_length=1200)]


@dataclass(frozen=True)
class AskAndWrite(Asks):
    """At most `most` questions about a clip or picture whose caption and text are known, each answered by itself."""

    prompt: str = "ask"
    most: int = 5
    max_frames: int = 8
    max_tokens: int = 500
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, JPEGS, CAPTION, TEXTS)
    gives: ClassVar[tuple[Column, ...]] = (PAIRS,)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=0.5, rows_per_commit=32)
    observed: ClassVar[str] = "the caption, the text, shown frames"
    texts: ClassVar[Column] = TEXTS

    @property
    def prompts(self) -> tuple[str, ...]:
        return (self.prompt, _WRITE, REPAIR)

    def _talk(self, row: dict[str, Any]) -> Conversation:
        clip, told = ShownClip.of(row), evidence(row, self.texts.name)
        if not told:
            raise Unusable("no_evidence", "no caption and no text")
        prompt = load_prompt(self.prompt).filled(evidence=told, most=f"{self.most}")
        asking = Request(clip.key, prompt, max_tokens=self.max_tokens, seed=self.seed_of(clip.key))
        (asked,) = yield [Question.of(asking, Questions, lambda answer: " ".join(answer.questions) or "none")]
        questions = list(dict.fromkeys(asked.value.questions))[: self.most]
        if not questions:
            raise Unusable("no_questions", "the teacher found none that the evidence answers")
        written = yield [self._write(clip, told, number, q) for number, q in enumerate(questions)]
        return {"pairs": tuple(self._pair(q, told, one) for q, one in zip(questions, written, strict=True))}

    def _write(self, clip: ShownClip, told: str, number: int, question: str) -> Question[Written]:
        images = clip.images(evenly(len(clip.at_s), self.max_frames))
        prompt = load_prompt(_WRITE).filled(times=times_of(images), evidence=told, question=question)
        seed = self.seed_of(f"{clip.key}/{number}")
        request = Request(f"{clip.key}/{number}", prompt, images, max_tokens=self.max_tokens, seed=seed)
        return Question.of(request, Written, lambda answer: answer.answer or "none")

    def _pair(self, question: str, told: str, outcome: Outcome[Written]) -> WrittenPair:
        step = step_name(self)
        try:
            written = outcome.value
        except Unusable as none:
            return WrittenPair(question, "", "", rejected(step, none.reason, none.detail))
        return WrittenPair(question, written.answer, written.quote, borne_out(written, told, step))


@dataclass(frozen=True)
class AskOfAgreedText(AskAndWrite):
    """As `AskAndWrite`, of the caption and of those lines alone that two engines read alike."""

    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, JPEGS, CAPTION, AGREED)
    texts: ClassVar[Column] = AGREED

    def _talk(self, row: dict[str, Any]) -> Conversation:
        if not row[AGREED.name]:
            raise Unusable("no_agreed_text", "two engines read no line alike")
        return (yield from super()._talk(row))


def evidence(row: dict[str, Any], texts: str = TEXTS.name) -> str:
    """What is known of a clip, as text: its caption, and its lines of text in reading order, each once.

    `texts` names the column of the lines.
    """
    lines = dict.fromkeys(t["text"] for t in sorted(row[texts] or (), key=lambda t: (t["frame"], t["order"])))
    caption = [f"Caption: {row['caption']}"] if row["caption"] else []
    return "\n".join([*caption, *(f"Text: {line}" for line in lines)])


def borne_out(written: Written, told: str, step: str) -> Verdict:
    """Accepted where the answer is one and its quote stands in the evidence, word for word."""
    if not written.answerable or not written.answer:
        return rejected(step, "not_answerable", "the teacher says that the evidence does not answer it")
    words, known = (_WORDS.findall(text.casefold()) for text in (written.quote, told))
    runs = {tuple(known[i : i + len(words)]) for i in range(len(known) - len(words) + 1)}
    if len(words) < _FEWEST_QUOTED or tuple(words) not in runs:
        return rejected(step, "quote_not_in_evidence", f"quoted {written.quote[:200]!r}")
    return ACCEPTED
