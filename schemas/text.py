"""Text seen in a frame or picture: where, what, how sure, and in which reading order."""

from __future__ import annotations

from dataclasses import dataclass

from reelmill.schemas.tube import Box


@dataclass(frozen=True, slots=True)
class TextLine:
    """One recognised line. `quad_px` is x0,y0 .. x3,y3 clockwise from the line's own top left, in shown pixels."""

    text: str
    quad_px: tuple[float, ...]
    confidence: float
    order: int
    frame: int
    at_s: float
    method: str

    def __post_init__(self) -> None:
        if len(self.quad_px) != 8:
            raise ValueError(f"TextLine {self.text!r}: a quad has 8 numbers, seen {len(self.quad_px)}")

    @property
    def box(self) -> Box:
        """Smallest upright box around the quad."""
        xs, ys = self.quad_px[0::2], self.quad_px[1::2]
        return Box(min(xs), min(ys), max(xs), max(ys))
