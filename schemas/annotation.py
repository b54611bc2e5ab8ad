"""What an existing set says of one medium: captions, spans, boxes, tubes, texts, dialogues, in the medium's own time.

A reader of `pipelines.sources.annotated` makes these from a set's own files. They are claims of whoever made the set:
they enter evidence as one more witness, with `source_set` and `original_id` as their provenance.
"""

from __future__ import annotations

from dataclasses import dataclass

from reelmill.schemas.media import Kind
from reelmill.schemas.sample import Turn
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box, Tube


@dataclass(frozen=True, slots=True)
class Stated:
    """A sentence about the medium; `span` is the part that it is about, None for all of it. `tube_id` names the tube of
    its subject, "" where the set names none."""

    text: str
    span: Span | None
    tube_id: str


@dataclass(frozen=True, slots=True)
class Region:
    """A phrase and its box, in pixels of the picture as shown; `category` is the set's own class name, "" for none."""

    phrase: str
    category: str
    box: Box


@dataclass(frozen=True, slots=True)
class Annotation:
    """All that a set says under one of its ids about one medium.

    `media_uri` is the set's own relative path or name; sizes and durations are the set's declarations (None: it gives
    none). `rejected` is the other side of a preference pair, whose chosen side ends `turns`.
    """

    source_set: str
    original_id: str
    split: str
    licence: str
    media_uri: str
    kind: Kind
    width_px: int | None
    height_px: int | None
    duration_s: float | None
    stated: tuple[Stated, ...]
    regions: tuple[Region, ...]
    tubes: tuple[Tube, ...]
    texts: tuple[TextLine, ...]
    turns: tuple[Turn, ...]
    rejected: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A part of an annotation that cannot be used: `part` names the field (stated, regions, tubes, texts, turns,
    rejected) and `number` its place in it; `reason` is a short stable code, `detail` what was seen."""

    original_id: str
    part: str
    number: int
    reason: str
    detail: str
