"""The canonical training sample: media, dialogue, evidence, licence and verdict. Exporters convert from this form."""

from __future__ import annotations

import enum
from dataclasses import dataclass

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
