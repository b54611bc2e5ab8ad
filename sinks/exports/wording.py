"""Times and boxes as words of a dialogue: how each convention writes them, and how far the words are from the numbers.

    seconds    1.00 - 3.50 seconds     two decimals: at most 0.005 s off
    percent    17% - 58%               the nearest of 100 parts of the clip, capped at 99 (VTimeLLM, Huang et al. 2023):
                                       at most 1/200 of the clip off, 1/100 in its last part
    pixels     [40, 60, 120, 120]      whole pixels of the exported picture: at most half of one off
    unit       [0.125, 0.333, ...]     shares of width and height, three decimals (LLaVA): at most 0.0005 of a side off
    square     [0.125, 0.406, ...]     the same on the picture padded in its middle to a square, as LLaVA-1.5 shows it
                                       (`expand2square`): at most 0.0005 of the longer side off
    thousand   [125, 333, 375, 667]    thousandths, whole numbers (Qwen-VL): at most 0.0005 of a side off

Boxes of a sample are pixels of the medium as shown; the exported frames may be smaller, and boxes are scaled to them.

>>> interval(Span(1.0, 3.5), 6.0, Times.PERCENT)
'17% - 58%'
"""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from reelmill.schemas.errors import Unusable
from reelmill.schemas.sample import Role, Tubelet, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box

_PLACE = re.compile(r"<time>|<box>|<tube>")
_LAST_PERCENT = 99


class Times(enum.StrEnum):
    SECONDS = "seconds"
    PERCENT = "percent"


class Boxes(enum.StrEnum):
    """How a box is written. OBJECTS leaves it to the trainer: absolute pixels beside the text, `<bbox>` in it."""

    PIXELS = "pixels"
    UNIT = "unit"
    SQUARE = "square"
    THOUSAND = "thousand"
    OBJECTS = "objects"


BOUNDS: dict[str, str] = {
    Times.SECONDS: "seconds of the clip with two decimals, off by at most 0.005 s",
    Times.PERCENT: "round(100 * t / length) capped at 99, off by at most length / 200, in the last part length / 100",
    Boxes.PIXELS: "whole pixels of the exported picture or frame, off by at most half a pixel of it",
    Boxes.UNIT: "shares of width and height with three decimals, off by at most 0.0005 of the side",
    Boxes.SQUARE: "shares of the picture padded in its middle to a square, off by at most 0.0005 of the longer side",
    Boxes.THOUSAND: "thousandths of width and height, off by at most 0.0005 of the side",
    Boxes.OBJECTS: "absolute pixels of the exported picture with two decimals that the trainer converts; over several "
    "frames, whose boxes it does not convert, thousandths of width and height in the text",
}
"""What a manifest says of each convention."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The exported picture or frame: its size in pixels, and the size of the medium as shown, in which boxes are.

    `scale` is exported pixels per pixel of the medium, across and down.
    """

    width_px: int
    height_px: int
    scale: tuple[float, float] = (1.0, 1.0)

    def scaled(self, box: Box) -> Box:
        """The box in pixels of the exported frame, cut at its edges."""
        x, y = self.scale
        return Box(box.x0_px * x, box.y0_px * y, box.x1_px * x, box.y1_px * y).clipped(self.width_px, self.height_px)


def instant(at_s: float, duration_s: float, times: Times) -> str:
    """A moment of a clip of `duration_s` without its unit: `1.00`, or `17%`."""
    if times is Times.SECONDS:
        return f"{at_s:.2f}"
    return f"{min(_LAST_PERCENT, round(100 * at_s / duration_s)):02d}%"


def interval(span: Span, duration_s: float, times: Times) -> str:
    """A stretch of a clip: what a `<time>` becomes."""
    both = f"{instant(span.start_s, duration_s, times)} - {instant(span.end_s, duration_s, times)}"
    return f"{both} seconds" if times is Times.SECONDS else both


def corners(box: Box, frame: Frame, boxes: Boxes) -> str:
    """A box of the medium as four numbers x0, y0, x1, y1."""
    placed = frame.scaled(box)
    x0, y0, x1, y1 = placed.x0_px, placed.y0_px, placed.x1_px, placed.y1_px
    across, down = frame.width_px, frame.height_px
    if boxes is Boxes.PIXELS:
        return _numbers((x0, y0, x1, y1), "{:.0f}")
    if boxes is Boxes.THOUSAND:
        return _numbers((1000 * x0 / across, 1000 * y0 / down, 1000 * x1 / across, 1000 * y1 / down), "{:.0f}")
    left, top = 0, 0
    if boxes is Boxes.SQUARE:
        side = max(across, down)
        left, top = (side - across) // 2, (side - down) // 2  # whole pixels, as the picture is pasted
        across = down = side
    shares = ((x0 + left) / across, (y0 + top) / down, (x1 + left) / across, (y1 + top) / down)
    return _numbers(shares, "{:.3f}")


def _numbers(values: Sequence[float], form: str) -> str:
    return f"[{', '.join(form.format(v) for v in values)}]"


def frame_times(at_s: Sequence[float], duration_s: float, times: Times) -> str:
    """One sentence on when frames were taken: a list of pictures does not tell, and answers speak of times.

    After the time instruction of LLaVA-Video (Zhang et al. 2024), with the frames' own times in place of even steps.
    """
    said = ", ".join(instant(t, duration_s, times) for t in at_s)
    if times is Times.SECONDS:
        return f"The video lasts {duration_s:.2f} seconds and is shown at {said} seconds."
    return f"The video is shown at {said} of its length."


@dataclass(slots=True)
class Words:
    """Writes the turns of one sample in order. `left` gathers boxes that the trainer's own placeholders stand for, and
    `unsaid` counts what words do not tell. A dialogue's tubes are given once and counted through its turns."""

    frame: Frame
    duration_s: float
    times: Times
    boxes: Boxes
    tubes: Iterator[Tubelet] = field(default_factory=lambda: iter(()))
    left: list[Box] = field(default_factory=list)
    unsaid: Counter[str] = field(default_factory=Counter)

    def __call__(self, turn: Turn) -> str:
        """The text of a turn with its times, boxes and tubes set in.

        Raises Unusable where the places in the text and what stands for them differ in number.
        """
        spans, boxes = iter(_spans(turn)), iter(self._placed(turn))
        put: dict[str, Callable[[], str]] = {
            "<time>": lambda: self._time(next(spans)),
            "<box>": lambda: self._box(next(boxes)),
            "<tube>": lambda: self._tube(next(self.tubes)),
        }
        try:
            text = _PLACE.sub(lambda place: put[place.group()](), turn.text)
        except StopIteration:
            raise Unusable("places_differ", f"more places than times, boxes or tubes: {turn.text[:80]!r}") from None
        if next(spans, None) or next(boxes, None):
            raise Unusable("places_differ", f"fewer places than times or boxes: {turn.text[:80]!r}")
        return text

    def _placed(self, turn: Turn) -> tuple[Box, ...]:
        """The boxes that stand in the text. One without any place says where things are; words have no room for it."""
        if "<box>" in turn.text:
            return turn.boxes
        self.unsaid["boxes_without_a_place_in_the_text"] += len(turn.boxes)
        return ()

    def _time(self, span: Span) -> str:
        if self.duration_s <= 0:
            raise Unusable("times_in_a_picture", f"{span} of a medium that lasts {self.duration_s} s")
        if len({instant(t, self.duration_s, self.times) for t in (span.start_s, span.end_s)}) == 1:
            self.unsaid["intervals_shorter_than_a_step_of_the_form"] += 1
        return interval(span, self.duration_s, self.times)

    def _box(self, box: Box) -> str:
        if self.boxes is Boxes.OBJECTS:
            self.left.append(self.frame.scaled(box))
            return "<bbox>"
        return corners(box, self.frame, self.boxes)

    def _tube(self, tube: Tubelet) -> str:
        unit = " s" if self.times is Times.SECONDS else ""
        times = [instant(t, self.duration_s, self.times) + unit for t in (*tube.at_s, tube.end_s)]
        placed = [f"{t} {self._box(b)}" for t, b in zip(times, tube.boxes, strict=False)]
        return f"{', '.join(placed)}, until {times[-1]}"


def _spans(turn: Turn) -> list[Span]:
    ends = turn.src_s if turn.role is Role.USER else turn.tgt_s
    return [Span(start, end) for start, end in zip(ends[::2], ends[1::2], strict=True)]
