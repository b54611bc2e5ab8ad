"""What a step is shown of a clip or picture: its stored frames with their times, and pixels of them.

>>> evenly(10, 4)
(0, 3, 6, 9)
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from reelmill.annotators.engines.engine import TimedImage
from reelmill.schemas import arrow
from reelmill.schemas.column import Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.media import Kind, MediaRef, ShownFrame

MEDIA = Column.of("media", MediaRef)
FRAMES = Column.of("frames", tuple[ShownFrame, ...])
JPEGS = Column.of("jpegs", tuple[bytes, ...])


@dataclass(frozen=True, slots=True)
class ClipBefore:
    """The accepted clip before a clip in the same unit, with its shown frames in its own time; `starts_s` is when it
    starts in the time of the later clip, below zero."""

    key: str
    starts_s: float
    frames: tuple[ShownFrame, ...]
    jpegs: tuple[bytes, ...]


BEFORE = Column.of("before", ClipBefore | None)

Rgb = npt.NDArray[np.uint8]


def decoded(jpeg: bytes) -> Rgb:
    """RGB pixels of a stored frame."""
    from PIL import Image

    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB"))


@dataclass(slots=True)
class ShownClip:
    """A row's frames with their times. A picture is one frame at 0 s, of which a model is told no time.

    `model` is what the last answer about it says that it comes from.
    """

    key: str
    is_picture: bool
    duration_s: float
    at_s: tuple[float, ...]
    jpegs: Sequence[bytes]
    model: str = ""

    @classmethod
    def of(cls, row: dict[str, Any]) -> ShownClip:
        """Raises Unusable where there is no frame."""
        if not row["jpegs"]:
            raise Unusable("no_frames", "0 shown frames to send")
        frames = arrow.typed(tuple[ShownFrame, ...], row["frames"])
        media: MediaRef = arrow.typed(MediaRef, row["media"])
        duration_s = max(media.duration_s, frames[-1].at_s)
        return cls(row["key"], media.kind is Kind.IMAGE, duration_s, tuple(f.at_s for f in frames), row["jpegs"])

    @property
    def whole(self) -> tuple[float, float]:
        return 0.0, self.duration_s

    def stretches(self, seconds: float) -> list[tuple[float, float]]:
        """Consecutive stretches of about `seconds` that hold a frame; a rest of under half joins the one before."""
        count = max(1, math.ceil(self.duration_s / seconds - 0.5))
        edges = [*(i * seconds for i in range(count)), self.duration_s]
        return [cut for cut in pairwise(edges) if any(cut[0] <= t < cut[1] for t in self.at_s)] or [self.whole]

    def shown(self, stretch: tuple[float, float], most: int) -> tuple[int, ...]:
        """Places of at most `most` frames inside a stretch; of all frames where none lies inside."""
        inside = [i for i, t in enumerate(self.at_s) if stretch[0] <= t < stretch[1]] or list(range(len(self.at_s)))
        return tuple(inside[i] for i in evenly(len(inside), most))

    def images(self, places: Sequence[int]) -> tuple[TimedImage, ...]:
        return tuple(TimedImage(self.jpegs[i], None if self.is_picture else self.at_s[i]) for i in places)


def times_of(images: Sequence[TimedImage]) -> str:
    """Their times for a prompt."""
    return ", ".join("a picture" if image.at_s is None else f"{image.at_s:.3f} s" for image in images)


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
