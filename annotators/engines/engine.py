"""What a model engine is: a request in, a promise of a reply out, many at once, in any order. It knows no task.

    openai:MODEL@URL     any OpenAI-compatible server (openai_http)
    transformers:MODEL   a checkpoint by name or folder, in this process (transformers_)
    vllm:MODEL           the same through vLLM's own engine, in this process (vllm_)
    replay:FILE          recorded replies (replies)
    embedded             no model: what rules and packaged libraries can say; abilities have a form of their own for it

>>> EngineSpec.parse("openai:tiny-vl@http://127.0.0.1:8000/v1")
EngineSpec(kind='openai', model='tiny-vl', where='http://127.0.0.1:8000/v1')
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from reelmill.annotators.engines import checkpoints
from reelmill.schemas.errors import BadInput
from reelmill.schemas.keys import canonical_json, file_digest

KINDS = ("embedded", "transformers", "vllm", "openai", "replay")


@dataclass(frozen=True, slots=True)
class TimedImage:
    """A JPEG and its time in seconds of the clip; None for a picture, which has no time."""

    jpeg: bytes
    at_s: float | None

    @property
    def said(self) -> str:
        """The line of text that goes before it."""
        return "Picture:" if self.at_s is None else f"Frame at {self.at_s:.3f} s:"


@dataclass(frozen=True)
class Request:
    """One question. `answer_schema` is a JSON schema as text, "" for free text; `id` only matches the reply to it.

    `top_logprobs` asks for so many candidates for the first token of the answer, with their log-probabilities; 0: none.
    `urgent`: somebody waits for it, so it goes into no batch; like the id it is no part of the digest.
    """

    id: str
    prompt: str
    images: tuple[TimedImage, ...] = ()
    max_tokens: int = 512
    temperature: float = 0.0
    seed: int | None = None
    answer_schema: str = ""
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0
    urgent: bool = False

    @cached_property
    def digest(self) -> str:
        """sha256 over everything that the answer can depend on; not over the id, nor over how it is asked."""
        images = [[hashlib.sha256(i.jpeg).hexdigest(), i.at_s] for i in self.images]
        asked: list[Any] = [self.prompt, images, self.max_tokens, self.temperature, self.seed, self.answer_schema]
        further = [self.top_p, list(self.stop), self.top_logprobs]
        if further != [
            1.0,
            [],
            0,
        ]:  # left out where unused, so that replies bought before there were such keep their name
            asked.append(further)
        return hashlib.sha256(canonical_json(asked).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that could have come, and its natural log-probability."""

    token: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `error` is "" or why there is no answer; only `finish_reason == "stop"` is a whole answer.

    `model` is what the server says it ran; tokens are 0 where it does not count them. `first` are the candidates for
    the answer's first token, likeliest first, where they were asked for and the engine has them. `batched` says that
    it came by a provider's batch API, at its price; `cached` that nobody was asked for it now.
    """

    id: str
    text: str
    finish_reason: str
    tokens_in: int = 0
    tokens_out: int = 0
    error: str = ""
    model: str = ""
    first: tuple[Candidate, ...] = ()
    batched: bool = False
    cached: bool = False

    @property
    def whole(self) -> bool:
        return not self.error and self.finish_reason == "stop"


class Engine(Protocol):
    """`name` says which model, never where it runs; `revision` which weights. Both are part of a reply's identity.

    May be used by several threads at once.
    """

    @property
    def name(self) -> str: ...

    @property
    def revision(self) -> str: ...

    def submit(self, request: Request) -> Future[Reply]:
        """Ask; returns at once. The future raises EngineDown where no request could be answered any more."""
        ...

    def check(self, *, images: bool) -> None:
        """Raises EngineUnusable where the engine is not there, or cannot take images though they will be sent."""
        ...

    def close(self) -> None:
        """Let go of connections, threads and weights. Futures not done yet are cancelled."""
        ...


@runtime_checkable
class Patient(Protocol):
    """An engine whose answers may take hours.

    `heard` grows whenever its server was heard of, which is life while no answer comes. `let_go` ends all waiting with
    EngineDown; what was asked is not lost.
    """

    heard: int

    def let_go(self) -> None: ...


def answers(engine: Engine, requests: Iterable[Request], ahead: int = 64) -> Iterator[Reply]:
    """One reply per request, in any order, drawing at most `ahead` requests before they are answered."""
    running: set[Future[Reply]] = set()
    try:
        for request in requests:
            running.add(engine.submit(request))
            if len(running) >= ahead:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in finished)
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (one.result() for one in finished)
    finally:
        for one in running:
            one.cancel()


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine as named on the command line. `where` (an address) is execution; kind and model are identity."""

    kind: str
    model: str
    where: str

    @classmethod
    def parse(cls, spec: str) -> EngineSpec:
        """Raises BadInput on anything but the forms above."""
        kind, _, rest = spec.partition(":")
        if spec == "embedded":
            return cls("embedded", "", "")
        if kind in ("replay", "transformers", "vllm") and rest:
            return cls(kind, rest, "")
        model, at, where = rest.partition("@http")
        if kind == "openai" and model and at and where.startswith(("://", "s://")):
            return cls(kind, model, f"http{where}")
        do = "use embedded, transformers:MODEL, vllm:MODEL, openai:MODEL@URL or replay:FILE"
        raise BadInput(f"engine {spec!r}", seen="an unknown form", do=do)

    @property
    def name(self) -> str:
        """The identity of the model: without its address, and for recordings without their place."""
        if self.kind in ("replay", "embedded"):
            return self.kind
        own = checkpoints.short_name(self.model) if self.kind in ("transformers", "vllm") else self.model
        return f"{self.kind}:{own}"

    @property
    def revision(self) -> str:
        """What can be known of the weights without asking: of a folder and of a recording. '' where nothing can."""
        if self.kind == "replay":
            return file_digest(Path(self.model))[:16] if Path(self.model).is_file() else ""
        return checkpoints.folder_revision(self.model) if self.kind in ("transformers", "vllm") else ""


def checkpoint_of(engine: str, ability: str) -> str:
    """The checkpoint that an engine names. Raises BadInput for any other kind: it could not do this."""
    spec = EngineSpec.parse(engine)
    if spec.kind != "transformers":
        do = f"give --engine {ability}=transformers:MODEL"
        raise BadInput(f"{ability} runs a checkpoint in process", seen=f"engine {engine!r}", do=do)
    return spec.model
