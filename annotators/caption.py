"""A caption of a clip's shown frames by a vision-language model behind an engine.

The answer is one JSON object, checked on our side whatever the server promised; one repair is tried; then the row is
refused with the raw text kept. The times that are stored are those of the very frames that were sent (defect D2 of the
recipes' register: a caption whose time is not its frame's).

    Caption("openai:HuggingFaceTB/SmolVLM2-2.2B-Instruct@http://10.0.0.5:8000/v1")
    gives  caption "A red circle enters from the left.", caption_model "...", caption_frames_s (0.0, 0.52, 1.0)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pydantic

from reelmill.annotators.annotator import Resources, each_row
from reelmill.annotators.engines.engine import Engine, EngineSpec, Reply, Request, TimedImage
from reelmill.annotators.engines.openai_http import parse_engine
from reelmill.annotators.engines.replies import Remembered, Replies
from reelmill.annotators.prompts._load import load_prompt, prompt_hash, unchanged
from reelmill.annotators.pulse import beating
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import EngineDown, Unusable
from reelmill.schemas.keys import canonical_json, seed_for
from reelmill.schemas.media import ShownFrame

FRAMES = Column.of("frames", tuple[ShownFrame, ...])
JPEGS = Column.of("jpegs", tuple[bytes, ...])
CAPTION = Column.of("caption", str | None)
CAPTION_MODEL = Column.of("caption_model", str)
CAPTION_FRAMES_S = Column.of("caption_frames_s", tuple[float, ...])

REPAIR = "repair"
_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(?P<inside>.*?)\n\s*```\s*\Z", re.DOTALL)
_RAW_CHARACTERS = 2000


class CaptionAnswer(pydantic.BaseModel):
    """What the model must answer."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    caption: Annotated[str, pydantic.StringConstraints(strip_whitespace=True, min_length=3, max_length=1200)]


def read_answer(text: str) -> CaptionAnswer:
    """The answer in a reply's text; a Markdown fence around it is let pass. Raises pydantic.ValidationError."""
    fenced = _FENCE.match(text)
    return CaptionAnswer.model_validate_json(fenced["inside"] if fenced else text)


@dataclass(frozen=True)
class Caption:
    """Asks `engine` about at most `max_frames` of a clip's shown frames, evenly taken, first and last included.

    `engine` holds an address and is therefore execution; `model`, taken from it, is identity, and so are the revision
    of its weights as far as you know it, and the prompt. `cache` is the folder of replies, "" for none.
    """

    engine: str = field(compare=False, metadata={"identity": False})
    model: str = ""
    model_revision: str = ""
    prompt: str = "caption"
    prompt_hash: str = ""
    seed: int = 0
    max_frames: int = 8
    max_tokens: int = 400
    temperature: float = 0.0
    cache: str = field(default="", compare=False, metadata={"identity": False})
    in_flight: int = field(default=8, compare=False, metadata={"identity": False})
    needs: ClassVar[tuple[Column, ...]] = (KEY, FRAMES, JPEGS)
    gives: ClassVar[tuple[Column, ...]] = (CAPTION, CAPTION_MODEL, CAPTION_FRAMES_S)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=0.5, rows_per_commit=32)
    method: ClassVar[str] = "model"
    observed: ClassVar[str] = "shown frames"

    def __post_init__(self) -> None:
        spec = EngineSpec.parse(self.engine)
        if spec.kind == "replay":
            object.__setattr__(self, "model_revision", self.model_revision or parse_engine(self.engine).revision)
        model = "replay" if spec.kind == "replay" else f"{spec.kind}:{spec.model}"
        object.__setattr__(self, "model", self.model or model)
        object.__setattr__(self, "prompt_hash", self.prompt_hash or prompt_hash(self.prompt, REPAIR))

    def setup(self) -> None:
        """Raises Drift where this machine's prompts are not those that the step was described with."""
        unchanged(self.prompt_hash, self.prompt, REPAIR)

    @cached_property
    def _model(self) -> Engine:
        engine = parse_engine(self.engine, revision=self.model_revision, in_flight=self.in_flight)
        return Remembered(engine, Replies(Path(self.cache))) if self.cache else engine

    def __call__(self, batch: pa.Table) -> pa.Table:
        """All rows of a batch are in flight together. Raises EngineDown: a dead engine fails the worker, not rows."""
        rows = batch.to_pylist()
        asked = {row["key"]: self.request(row) for row in rows if row["jpegs"]}
        replies = self._ask(asked.values())
        mended = self._ask(repairs(asked, replies))
        return each_row(self, batch, lambda row: self._row(row, replies, mended))

    def _ask(self, requests: Iterable[Request]) -> dict[str, Reply]:
        wanted = list(requests)
        replies = {reply.id: reply for reply in beating(self._model.answer(wanted))} if wanted else {}
        if len(replies) != len(wanted):
            raise EngineDown(f"engine {self.model}", seen=f"{len(replies)} replies to {len(wanted)}", do="report this")
        return replies

    def request(self, row: dict[str, Any]) -> Request:
        """The question about one clip, the same wherever and beside whatever it is asked."""
        chosen = evenly(len(row["jpegs"]), self.max_frames)
        images = tuple(TimedImage(row["jpegs"][i], row["frames"][i]["at_s"]) for i in chosen)
        times = ", ".join(f"{image.at_s:.3f} s" for image in images)
        return Request(
            id=row["key"],
            prompt=load_prompt(self.prompt).filled(times=times),
            images=images,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=seed_for(self.seed, row["key"], "caption") % 2**31,
            answer_schema=canonical_json(CaptionAnswer.model_json_schema()),
        )

    def _row(self, row: dict[str, Any], replies: dict[str, Reply], mended: dict[str, Reply]) -> dict[str, Any]:
        if row["key"] not in replies:
            raise Unusable("no_frames", "0 shown frames to send")
        reply = mended.get(row["key"], replies[row["key"]])
        frames = arrow.typed(tuple[ShownFrame, ...], row["frames"])
        sent = evenly(len(frames), self.max_frames)
        return {
            "caption": judged(reply).caption,
            "caption_model": reply.model or self.model,
            "caption_frames_s": tuple(frames[i].at_s for i in sent),
        }


def evenly(count: int, most: int) -> tuple[int, ...]:
    """At most `most` of `count` places, the first and the last among them.

    >>> evenly(10, 4), evenly(3, 8), evenly(5, 1)
    ((0, 3, 6, 9), (0, 1, 2), (2,))
    """
    if count <= most:
        return tuple(range(count))
    if most == 1:
        return (count // 2,)
    return tuple(round(i * (count - 1) / (most - 1)) for i in range(most))


def judged(reply: Reply) -> CaptionAnswer:
    """The answer in a reply. Raises Unusable where there is none, and EngineDown (a fault of the row) for an error."""
    if reply.error:
        raise EngineDown(f"request {reply.id}", seen=reply.error, do="look at the server's log; `retry` asks again")
    raw = f"raw answer: {reply.text[:_RAW_CHARACTERS]!r}"
    if reply.finish_reason == "length":
        raise Unusable("answer_cut", f"finish_reason length after {reply.tokens_out} tokens; {raw}")
    if not reply.whole:
        raise Unusable("no_answer", f"finish_reason {reply.finish_reason!r}; {raw}")
    try:
        return read_answer(reply.text)
    except pydantic.ValidationError as error:
        raise Unusable("bad_answer", f"{_problem(error)}; {raw}") from error


def repairs(asked: dict[str, Request], replies: dict[str, Reply]) -> list[Request]:
    """A second request for every whole answer that does not fit. One cut short would be cut short again."""
    out = []
    for key, reply in replies.items():
        fault = _misfit(reply) if reply.whole else ""
        if fault:
            answer = json.dumps(reply.text[:_RAW_CHARACTERS], ensure_ascii=False)
            text = load_prompt(REPAIR).filled(question=asked[key].prompt, answer=answer, fault=fault)
            out.append(replace(asked[key], prompt=text))
    return sorted(out, key=lambda request: request.id)


def _misfit(reply: Reply) -> str:
    try:
        read_answer(reply.text)
    except pydantic.ValidationError as error:
        return _problem(error)
    return ""


def _problem(error: pydantic.ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in error.errors()[:3])
