"""Media: what a file is, what its decoder gave, and which frames are shown.

*Observed* times are what a method looked at; *shown* frames are what a model is asked about and a shard stores.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from reelmill.schemas.span import Span


class Kind(enum.StrEnum):
    VIDEO = "video"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class MediaRef:
    """A medium, or a span of one. Sizes in the shown orientation; `duration_s` is decoded, 0 for a picture."""

    uri: str
    digest: str
    kind: Kind
    width_px: int
    height_px: int
    duration_s: float
    span: Span | None
    licence: str


@dataclass(frozen=True, slots=True)
class Probe:
    """What the container declares, before any frame is decoded. Unknown numbers are None."""

    container: str
    codec: str
    pixel_format: str
    coded_width_px: int
    coded_height_px: int
    rotation_deg: int
    sample_aspect: float
    declared_fps: float | None
    declared_frames: int | None
    declared_duration_s: float | None
    start_s: float
    video_streams: int
    audio_streams: int


@dataclass(frozen=True, slots=True)
class DecodeStatus:
    """How a decode ended. `complete` is False where fewer frames came than the container promised."""

    complete: bool
    frames_got: int
    frames_expected: int | None
    note: str


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """One stored JPEG: frame number in presentation order of the clip, PTS in clip time, bytes at `offset` of the media
    part that lies beside the row's own part (so a part can be rewritten without touching what refers to its frames)."""

    frame: int
    at_s: float
    width_px: int
    height_px: int
    sha256: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class FrameRef:
    """A view's reference to a stored frame of another dataset; the bytes are copied only when packed."""

    dataset: str
    key: str
    frame: int
    at_s: float
    sha256: str


@dataclass(frozen=True, slots=True)
class NewFrame:
    """A frame on its way to the store: the ledger moves `jpeg` into a media part and keeps a `ShownFrame`."""

    frame: int
    at_s: float
    width_px: int
    height_px: int
    jpeg: bytes
