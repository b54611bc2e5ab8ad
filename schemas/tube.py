"""A tube: one thing followed through the frames of a clip, a box per observed frame.

Boxes are `x0, y0, x1, y1` in pixels of the *shown orientation* (rotation and pixel aspect applied), x1 and y1
exclusive, with the frame size beside them. Times are the PTS of the very frames that were looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

from reelmill.schemas.span import Span


@dataclass(frozen=True, slots=True)
class Box:
    """Corners in pixels, exclusive at the far side; area 0 is allowed (a thing fully hidden)."""

    x0_px: float
    y0_px: float
    x1_px: float
    y1_px: float

    @property
    def area_px(self) -> float:
        return max(0.0, self.x1_px - self.x0_px) * max(0.0, self.y1_px - self.y0_px)

    @property
    def centre_px(self) -> tuple[float, float]:
        return (self.x0_px + self.x1_px) / 2, (self.y0_px + self.y1_px) / 2

    def iou(self, other: Box) -> float:
        """Intersection over union in [0, 1]; two empty boxes share nothing."""
        shared = Box(
            max(self.x0_px, other.x0_px),
            max(self.y0_px, other.y0_px),
            min(self.x1_px, other.x1_px),
            min(self.y1_px, other.y1_px),
        ).area_px
        total = self.area_px + other.area_px - shared
        return shared / total if total > 0 else 0.0

    def clipped(self, width_px: int, height_px: int) -> Box:
        """The part inside a frame."""
        x0, y0 = min(max(self.x0_px, 0.0), width_px), min(max(self.y0_px, 0.0), height_px)
        return Box(x0, y0, max(x0, min(self.x1_px, width_px)), max(y0, min(self.y1_px, height_px)))


@dataclass(frozen=True, slots=True)
class Tube:
    """`at_s[i]` is the PTS of the frame with `boxes[i]`; times rise strictly and lie in `[0, duration)` of the clip."""

    tube_id: str
    phrase: str
    at_s: tuple[float, ...]
    boxes: tuple[Box, ...]
    frame_width_px: int
    frame_height_px: int
    end_s: float
    confidence: float
    method: str

    def __post_init__(self) -> None:
        if not self.at_s or len(self.at_s) != len(self.boxes):
            raise ValueError(f"Tube {self.tube_id}: {len(self.at_s)} times for {len(self.boxes)} boxes")
        if any(b <= a for a, b in zip(self.at_s, self.at_s[1:], strict=False)) or self.end_s <= self.at_s[-1]:
            raise ValueError(f"Tube {self.tube_id}: times must rise strictly and end before end_s={self.end_s}")

    @property
    def span(self) -> Span:
        """From the first observed frame to the end of the last one."""
        return Span(self.at_s[0], self.end_s)


def viou(one: Tube, other: Tube) -> float:
    """Video IoU: sum of box IoU over shared frames / frames where either stands (VidSTG, Zhang et al. 2020).

    Frames are matched by equal PTS (to the microsecond).
    """
    first = {round(t * 1e6): b for t, b in zip(one.at_s, one.boxes, strict=True)}
    second = {round(t * 1e6): b for t, b in zip(other.at_s, other.boxes, strict=True)}
    either = first.keys() | second.keys()
    shared = first.keys() & second.keys()
    return sum(first[t].iou(second[t]) for t in shared) / len(either)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two tubes, of two trackers, that stand for one thing: their ids and vIoU in [0, 1]."""

    tube_id: str
    other_id: str
    viou: float
