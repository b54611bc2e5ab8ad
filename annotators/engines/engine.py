"""What a model engine is: requests in, replies out, many in flight, in any order, matched by id. It knows no task.

    openai:MODEL@URL     any OpenAI-compatible server (openai_http)
    transformers:MODEL   a checkpoint by name or folder, in this process
    vllm:MODEL           the same through vLLM's own engine, in this process
    replay:FILE          recorded replies (replies)
    embedded             no model: what rules and packaged libraries can say

>>> EngineSpec.parse("openai:tiny-vl@http://127.0.0.1:8000/v1")
EngineSpec(kind='openai', model='tiny-vl', where='http://127.0.0.1:8000/v1')
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from reelmill.schemas.errors import BadInput
from reelmill.schemas.keys import canonical_json


@dataclass(frozen=True, slots=True)
class TimedImage:
    """A JPEG and its time in seconds of the clip."""

    jpeg: bytes
    at_s: float


@dataclass(frozen=True, slots=True)
class Request:
    """One question. `answer_schema` is a JSON schema as text, "" for free text; `id` only matches the reply to it."""

    id: str
    prompt: str
    images: tuple[TimedImage, ...] = ()
    max_tokens: int = 512
    temperature: float = 0.0
    seed: int | None = None
    answer_schema: str = ""

    @property
    def digest(self) -> str:
        """sha256 over everything that the answer can depend on; not over the id."""
        images = [[hashlib.sha256(i.jpeg).hexdigest(), i.at_s] for i in self.images]
        asked = [self.prompt, images, self.max_tokens, self.temperature, self.seed, self.answer_schema]
        return hashlib.sha256(canonical_json(asked).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `error` is "" or why there is no answer; only `finish_reason == "stop"` is a whole answer.

    `model` is what the server says it ran; tokens are 0 where it does not count them.
    """

    id: str
    text: str
    finish_reason: str
    tokens_in: int = 0
    tokens_out: int = 0
    error: str = ""
    model: str = ""

    @property
    def whole(self) -> bool:
        return not self.error and self.finish_reason == "stop"


class Engine(Protocol):
    """`name` says which model, never where it runs; `revision` which weights. Both are part of a reply's identity."""

    @property
    def name(self) -> str: ...

    @property
    def revision(self) -> str: ...

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply per request, in any order. Raises EngineDown where no request could be answered any more."""
        ...


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
