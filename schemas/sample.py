"""The canonical training sample: media, dialogue, evidence, licence and verdict. Exporters convert from this form."""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, TypeVar

from reelmill.schemas.media import FrameRef, MediaRef
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.tube import Box
from reelmill.schemas.verdict import Verdict

WORDLESS = "clip"
"""The task of a sample without a dialogue: a curated clip or picture, for whoever brings words of their own."""


class Role(enum.StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance. `<time>` in `text` stands for one interval: the next (start, end) pair of `src_s` in a question or
    of `tgt_s` in an answer, seconds of the clip (the src/tgt form of E.T. Instruct). `<box>` stands for the next of
    `boxes`, in pixels of the medium as shown (the sample's `media` has its size); a text without any `<box>` may still
    have boxes: where the things are that it speaks of, in order."""

    role: Role
    text: str
    src_s: tuple[float, ...]
    tgt_s: tuple[float, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One training sample of a view.

    `evidence` names the event or text ids that the answer rests on; `label_confidence` is the weakest of them.
    """

    key: str
    parent_key: str
    family: str
    task: str
    media: MediaRef
    frames: tuple[FrameRef, ...]
    turns: tuple[Turn, ...]
    evidence: tuple[str, ...]
    label_confidence: float
    method: str
    provenance: tuple[Provenance, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What was measured of a clip, to filter and deduplicate by; see `clip.ClipStats` for the units.

    `num_frames` counts all frames of the clip, shown or not; `still` says that nothing in it moves.
    """

    num_frames: int
    still: bool
    motion: float
    sharpness: float
    luma: float
    luma_spread: float
    phash: str


@dataclass(frozen=True, slots=True)
class CuratedSample(Sample):
    """A sample without a dialogue, with the facts of its clip: `task` is WORDLESS and `turns` are none."""

    facts: ClipFacts


@dataclass(frozen=True, slots=True)
class Tubelet:
    """One `<tube>` of a dialogue: `boxes[i]` at `at_s[i]`, rising, until `end_s`; pixels of the medium as shown."""

    at_s: tuple[float, ...]
    boxes: tuple[Box, ...]
    end_s: float


@dataclass(frozen=True, slots=True)
class GroundedSample(Sample):
    """A sample with things followed through time: `<tube>` in a turn's text stands for the next of `tubes`, counted
    through all turns."""

    tubes: tuple[Tubelet, ...]


@dataclass(frozen=True, slots=True)
class Perturbation:
    """How the rejected side of a pair was made wrong.

    `kind` is drop, shuffle, reverse, swap, shift, entity, attribute ...; `of` what was perturbed: captions, frames or
    claims. `strength` in (0, 1] is the share of those `items` clean things that it touched; `stage` the place in the
    curriculum, 0 the easiest. `order` are the places of the clean list in the order in which the rejected side had them
    (of frames: places in the sample's `frames`): a dropped one is missing, and identity never occurs. It is empty where
    no order was touched.
    """

    kind: str
    of: str
    strength: float
    stage: int
    items: int
    order: tuple[int, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Claim:
    """One checkable statement of a pair's side and whether the evidence bears it out. `evidence` are the ids it was
    checked against; `rejected` says on which side it stands."""

    text: str
    rejected: bool
    holds: bool
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PreferenceSample(Sample):
    """A pair. `turns` end with the chosen side; `rejected` stands in place of their last `len(rejected)` turns.

    Every claim of the chosen side holds and at least one of the rejected side fails, against the same evidence.
    `margin` is by how much, in the measure that `method` names (the share of false claims, a judge's or a metric's
    difference). A trainer shows the clean frames to both sides.
    """

    rejected: tuple[Turn, ...]
    perturbation: Perturbation
    claims: tuple[Claim, ...]
    margin: float


@dataclass(frozen=True, slots=True)
class StreamSample(Sample):
    """A dialogue while the clip plays: `turns_at_s[i]` is when turn i is said, in seconds of the clip, never falling.
    Between them the model is to be silent, from `watch_from_s` to `watch_until_s`."""

    turns_at_s: tuple[float, ...]
    watch_from_s: float
    watch_until_s: float


Kind = TypeVar("Kind", bound=Sample)

KINDS: tuple[type[Sample], ...] = (CuratedSample, GroundedSample, PreferenceSample, StreamSample)
"""The kinds of sample that hold more than a dialogue; a dataset has one kind."""


_SHARED = attrgetter(*(f.name for f in fields(Sample)))


def widened(kind: type[Kind], sample: Sample, **own: Any) -> Kind:
    """A sample as one of a kind that holds more, with the fields that the kind adds."""
    return kind(*_SHARED(sample), **own)


def own_fields(kind: type[Sample]) -> tuple[str, ...]:
    """The fields that a kind adds to those of Sample."""
    return tuple(f.name for f in fields(kind))[len(fields(Sample)) :]


def kind_of(columns: Collection[str]) -> Any:
    """The kind of sample that rows with these columns are.

    >>> kind_of(["key", "turns", "tubes"]).__name__
    'GroundedSample'
    """
    return next((k for k in KINDS if set(own_fields(k)) <= set(columns)), Sample)
