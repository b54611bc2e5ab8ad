"""Units and clips: a unit is the work of one decode (at most 60 s of one medium), a clip is one usable shot of it.

A picture is a clip of one frame: `kind` says so, its duration is 0 and its span None.
"""

from __future__ import annotations

from dataclasses import dataclass

from reelmill.schemas.media import DecodeStatus, MediaRef, NewFrame
from reelmill.schemas.verdict import Verdict

UNIT_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class Unit:
    """A child of a medium. `media.span` is the unit's span in source time (None for a picture).

    `expected_frames` counts the packets that the container holds for it (None where the demuxer cannot tell).
    """

    key: str
    parent_key: str
    media: MediaRef
    expected_frames: int | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ClipStats:
    """Cheap facts of a clip's frames, measured on the analysis size.

    motion: mean absolute luma change between frames 0.5 s apart, in [0, 1]; sharpness: median variance of the
    Laplacian; luma: mean in [0, 255]; luma_spread: standard deviation;
    phash: 64-bit perceptual hash of the middle frame, hex.
    """

    motion: float
    sharpness: float
    luma: float
    luma_spread: float
    phash: str


@dataclass(frozen=True, slots=True)
class NewClip:
    """A child of a unit. `media.span` is in source time; frames carry clip time (0 = the clip's first presented frame).

    `num_frames` is the decoded count; `still` says that nothing moves: temporal views reject it, text views do not.
    """

    key: str
    parent_key: str
    media: MediaRef
    num_frames: int
    still: bool
    stats: ClipStats | None
    frames: tuple[NewFrame, ...]
    status: DecodeStatus
    verdict: Verdict
