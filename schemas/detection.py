"""A thing found in a shown frame: what was asked for, where, how sure, and when."""

from __future__ import annotations

from dataclasses import dataclass

from reelmill.schemas.tube import Box


@dataclass(frozen=True, slots=True)
class Detection:
    """`box` in pixels of the stored frame, whose size stands beside it; `frame` is its number in the clip."""

    phrase: str
    box: Box
    score: float
    frame: int
    at_s: float
    frame_width_px: int
    frame_height_px: int
    method: str
