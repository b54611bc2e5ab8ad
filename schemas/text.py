"""Text seen in a frame or picture: where, what, how sure, in which reading order, and for how long.

A line's words lie beside it and not inside it, so that lines which were stored before there were words stay readable.
"""

from __future__ import annotations

from dataclasses import dataclass

from reelmill.schemas.script import script_of
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box


def _box(quad_px: tuple[float, ...]) -> Box:
    xs, ys = quad_px[0::2], quad_px[1::2]
    return Box(min(xs), min(ys), max(xs), max(ys))


def _check(what: str, quad_px: tuple[float, ...]) -> None:
    if len(quad_px) != 8:
        raise ValueError(f"{what}: a quad has 8 numbers, seen {len(quad_px)}")


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
        _check(f"TextLine {self.text!r}", self.quad_px)

    @property
    def box(self) -> Box:
        """Smallest upright box around the quad."""
        return _box(self.quad_px)

    @property
    def script(self) -> str:
        """ISO 15924 tag by the line's characters."""
        return script_of(self.text)


@dataclass(frozen=True, slots=True)
class TextWord:
    """One word of the line whose `frame` and `order` it carries; `place` counts words within the line from 0.

    A stretch of a script that sets no spaces is one word: nothing is claimed about where its words end. `script` is
    the ISO 15924 tag by the word's characters, `quad_px` as in a line.
    """

    text: str
    quad_px: tuple[float, ...]
    confidence: float
    order: int
    place: int
    frame: int
    script: str

    def __post_init__(self) -> None:
        _check(f"TextWord {self.text!r}", self.quad_px)

    @property
    def box(self) -> Box:
        """Smallest upright box around the quad."""
        return _box(self.quad_px)


@dataclass(frozen=True, slots=True)
class TextSighting:
    """A track's line in one frame that was read."""

    frame: int
    at_s: float
    quad_px: tuple[float, ...]
    text: str
    confidence: float

    def __post_init__(self) -> None:
        _check(f"TextSighting {self.text!r}", self.quad_px)

    @property
    def box(self) -> Box:
        """Smallest upright box around the quad."""
        return _box(self.quad_px)


@dataclass(frozen=True, slots=True)
class TextTrack:
    """One text on screen over time, in seconds of the clip.

    `span` begins at the first stored frame that shows it and ends at the first later one that does not, or with the
    clip. `start_after_s` is the last stored frame before without it (None: it is there from the clip's first frame on)
    and `seen_until_s` the last with it, so the true start lies in (`start_after_s`, `span.start_s`] and the true end in
    (`seen_until_s`, `span.end_s`]. `frames` are all stored frames that show it; of those `sightings` were read.
    """

    text: str
    script: str
    span: Span
    start_after_s: float | None
    seen_until_s: float
    confidence: float
    frames: tuple[int, ...]
    sightings: tuple[TextSighting, ...]
    method: str

    @property
    def first_read_s(self) -> float:
        """When it was first read."""
        return self.sightings[0].at_s

    @property
    def last_read_s(self) -> float:
        """When it was last read."""
        return self.sightings[-1].at_s
