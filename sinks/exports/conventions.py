"""The conventions in which published layouts differ, each with its inverse: boxes of the frame or of a padded square.

>>> from reelmill.schemas.media import Kind
>>> media = MediaRef("", "", Kind.IMAGE, 200, 100, 0.0, None, "")
>>> normalised(Box(0, 0, 200, 100), media, Boxes.PADDED)
(0.0, 0.25, 1.0, 0.75)
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from reelmill.schemas.media import MediaRef
from reelmill.schemas.tube import Box


class Boxes(enum.StrEnum):
    """How a box becomes numbers in [0, 1] (defect D6): of the frame's own sides, or of the square it is padded to."""

    UNPADDED = "unpadded"
    PADDED = "padded"


def normalised(box: Box, media: MediaRef, boxes: Boxes) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 in [0, 1]. A padded frame lies in the middle of its square."""
    left, top, wide, high = _frame_in(media, boxes)
    return (box.x0_px + left) / wide, (box.y0_px + top) / high, (box.x1_px + left) / wide, (box.y1_px + top) / high


def in_pixels(corners: Sequence[float], media: MediaRef, boxes: Boxes) -> Box:
    """The inverse of `normalised`."""
    left, top, wide, high = _frame_in(media, boxes)
    x0, y0, x1, y1 = corners
    return Box(x0 * wide - left, y0 * high - top, x1 * wide - left, y1 * high - top)


def _frame_in(media: MediaRef, boxes: Boxes) -> tuple[float, float, int, int]:
    if boxes is Boxes.UNPADDED:
        return 0.0, 0.0, media.width_px, media.height_px
    side = max(media.width_px, media.height_px)
    return (side - media.width_px) / 2, (side - media.height_px) / 2, side, side


def clip_s(media: MediaRef) -> float:
    """Length of the clip itself, 0 for a picture."""
    return min(media.duration_s, media.span.duration_s) if media.span else media.duration_s
