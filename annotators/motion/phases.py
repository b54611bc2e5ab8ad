"""What a thing does, read off its boxes alone: it enters, leaves, moves, stops. The first of two localisers.

A rest is a stretch of at least 0.4 s in which the box stays where it is; what lies between rests is a move. Spans
follow schemas/event.py. What was cut off at its beginning by the clip, or begins or ends unseen, carries a `fault`.

    boxes from the left border at 1.0 s, inside from 1.3 s, at rest 2.0-3.0 s (end of clip)
      ->  enters [1.0, 1.3), moves [1.0, 2.0), stops [2.0, 3.0)
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reelmill.annotators.motion.follow import translation
from reelmill.schemas.event import EventKind
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Tube

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

SIDES = ("top", "bottom", "left", "right")
_EPS_S = 1e-6
_LEAST_JITTER_PX = 0.3
_STEP_PX = 0.5


@dataclass(frozen=True, slots=True)
class PhaseRules:
    """Pixels of a frame with a short side of 240.

    `cut_px`: a box this near to the border is cut by it; `border_px`: one that begins or ends this near came or went
    over it; `rest_px`: how far a resting box may stray (or `rest_jitters` times its own jitter); `least_shift_px`: a
    move goes farther than this."""

    cut_px: float = 0.6
    border_px: float = 1.6
    rest_px: float = 1.0
    rest_jitters: float = 3.0
    still_s: float = 0.4
    least_shift_px: float = 4.0


@dataclass(frozen=True, slots=True)
class Phase:
    """Boxes `[first, end)` of a tube. `fault` is empty, or why the span cannot be the event's true span."""

    kind: EventKind
    first: int
    end: int
    span: Span
    fault: str
    detail: str


class Reading:
    """A tube as arrays: `boxes` float64 [n, 4] in shown pixels, `edges_s` [n + 1] its frames' starts and the end."""

    def __init__(self, tube: Tube, clip_end_s: float, rules: PhaseRules) -> None:
        self.rules = rules
        self.boxes = np.array([[b.x0_px, b.y0_px, b.x1_px, b.y1_px] for b in tube.boxes])
        self.edges_s = np.array([*tube.at_s, tube.end_s])
        self.size = np.array([tube.frame_width_px, tube.frame_height_px], np.float64)
        self.scale = self.size.min() / 240
        self.clip_end_s = clip_end_s

    @property
    def sides(self) -> Flags:
        """bool [n, 4]: which border (top, bottom, left, right) the box came or went over, or is cut by."""
        return self._near(self.rules.border_px)

    @property
    def cut(self) -> Flags:
        """bool [n]: is the box cut by a border?"""
        return np.asarray(self._near(self.rules.cut_px).any(axis=1))

    def _near(self, px: float) -> Flags:
        near = px * self.scale
        x0, y0, x1, y1 = self.boxes.T
        width, height = self.size
        return np.stack([y0 < near, y1 > height - near, x0 < near, x1 > width - near], axis=1)

    @property
    def from_start(self) -> bool:
        """Is the thing there in the clip's first frame?"""
        return bool(self.edges_s[0] <= _EPS_S)

    @property
    def to_end(self) -> bool:
        return bool(self.edges_s[-1] >= self.clip_end_s - _EPS_S)

    def phase(self, kind: EventKind, first: int, end: int, fault: str = "", detail: str = "") -> Phase:
        return Phase(kind, first, end, Span(float(self.edges_s[first]), float(self.edges_s[end])), fault, detail)


def phases(reading: Reading) -> list[Phase]:
    """All phases of a tube by time."""
    found = [*_border(reading), *_spells(reading)]
    return sorted(found, key=lambda p: (p.span.start_s, p.span.end_s, p.kind))


def _border(reading: Reading) -> list[Phase]:
    """An entrance and an exit, where the tube begins and ends at a border while the clip goes on."""
    whole = np.flatnonzero(~reading.cut)
    last = len(reading.boxes)
    fault, detail, entered, leaving = "", "", last, 0
    if len(whole):
        entered, leaving = max(1, int(whole[0])), min(last - 1, int(whole[-1]) + 1)
    else:
        fault, detail = "never_whole", "no frame shows it wholly in view"
    found: list[Phase] = []
    if not reading.from_start and reading.sides[0].any():
        found.append(reading.phase(EventKind.ENTERS, 0, entered, fault, detail))
    if not reading.to_end and reading.sides[-1].any():
        found.append(reading.phase(EventKind.LEAVES, leaving, last, fault, detail))
    return found


def _spells(reading: Reading) -> list[Phase]:
    """Moves, and the rests that follow a move."""
    rests = _rests(reading)
    bounds = [0, *(edge for rest in rests for edge in rest), len(reading.boxes)]
    found: list[Phase] = []
    for number, (first, end) in enumerate(itertools.pairwise(bounds)):
        if first == end:
            continue
        is_rest = number % 2 == 1
        if not is_rest:
            found.append(_move(reading, first, end))
        elif first > 0:
            found.append(_stop(reading, first, end))
    return found


def _move(reading: Reading, first: int, end: int) -> Phase:
    if first == 0 and reading.from_start:
        return reading.phase(EventKind.MOVES, first, end, "cut_at_start", "it already moves in the clip's first frame")
    if first == 0 and not reading.sides[0].any():
        detail = f"first seen at {reading.edges_s[0]:.3f} s, in motion, away from every border"
        return reading.phase(EventKind.MOVES, first, end, "start_not_seen", detail)
    return reading.phase(EventKind.MOVES, first, end, *_lost(reading, end))


def _stop(reading: Reading, first: int, end: int) -> Phase:
    return reading.phase(EventKind.STOPS, first, end, *_lost(reading, end))


def _lost(reading: Reading, end: int) -> tuple[str, str]:
    """A fault where the thing is lost in mid-frame before the clip's end: when its phase ends, nobody saw."""
    if end < len(reading.boxes) or reading.to_end or reading.sides[-1].any():
        return "", ""
    return "end_not_seen", f"lost at {reading.edges_s[-1]:.3f} s, away from every border"


# ---- rests -----------------------------------------------------------------------------------------------------------


def _rests(reading: Reading) -> list[tuple[int, int]]:
    """Half-open frame runs in which the thing is at rest: unchanged since the frame before, for `still_s` or longer."""
    stray_px = _stray_px(reading)
    found: list[tuple[int, int]] = []
    first, count = 0, len(reading.boxes)
    while first < count:
        end = first + _stays(reading.boxes[first:], reading.size, stray_px)
        if reading.edges_s[end] - reading.edges_s[first] < reading.rules.still_s:
            first += 1
            continue
        found.append(_trimmed(reading, first, end, stray_px))
        first = end
    return _merged(reading, [r for r in found if _long(reading, r)])


def _long(reading: Reading, rest: tuple[int, int]) -> bool:
    # One frame of slack: the first frame of a rest is not yet "unchanged since the frame before".
    first = max(rest[0] - 1, 0)
    return bool(reading.edges_s[rest[1]] - reading.edges_s[first] >= reading.rules.still_s)


def _stray_px(reading: Reading) -> float:
    """How far a resting box may stray: its jitter is the median bend of its edges' paths."""
    bend = np.abs(np.diff(reading.boxes, n=2, axis=0))
    jitter = float(np.median(bend)) if len(bend) else 0.0
    rules = reading.rules
    jitter = max(jitter, _LEAST_JITTER_PX * reading.scale)
    return float(max(rules.rest_px * reading.scale, rules.rest_jitters * jitter))


def _stays(boxes: Floats, size: Floats, stray_px: float) -> int:
    """For how many frames a box stays at its first place; one wild frame is forgiven, two in a row are not."""
    away = np.abs(translation(boxes, size)).max(axis=1) > stray_px
    gone = np.flatnonzero(away & np.append(away[1:], True))
    return int(gone[0]) if len(gone) else len(boxes)


def _trimmed(reading: Reading, first: int, end: int, stray_px: float) -> tuple[int, int]:
    """A rest against its median place. The frame that arrives at the place is still displaced; the next one is not."""
    middle = np.median(reading.boxes[first:end], axis=0)
    apart = np.abs(translation(np.vstack([middle, reading.boxes[first:end]]), reading.size)[1:]).max(axis=1)
    near = first + np.flatnonzero(apart <= stray_px)
    if len(near) < 2:
        return first, first
    arrives, leaves = int(near[0]), int(near[-1])
    steps = np.abs(np.diff(reading.boxes[arrives : leaves + 1], axis=0)).max(axis=1) > _STEP_PX * reading.scale
    still = np.flatnonzero(~steps)
    if not len(still):
        return first, first
    # A box that steps by a pixel within the rest is jitter; one that steps at its ends still arrives or already goes.
    arrives, leaves = arrives + int(still[0]), arrives + int(still[-1]) + 1
    return (arrives + 1 if arrives > 0 else 0), leaves + 1


def _merged(reading: Reading, rests: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Rests with no real move between them are one; so is a rest with the little that lies before or after it."""
    whole: list[tuple[int, int]] = []
    for rest in rests:
        if whole and _shift(reading, whole[-1][1] - 1, rest[0]) < reading.rules.least_shift_px * reading.scale:
            whole[-1] = (whole[-1][0], rest[1])
        else:
            whole.append(rest)
    least = reading.rules.least_shift_px * reading.scale
    if whole and _shift(reading, 0, whole[0][0]) < least and not reading.sides[0].any():
        whole[0] = (0, whole[0][1])
    last = len(reading.boxes) - 1
    if whole and _shift(reading, whole[-1][1] - 1, last) < least and not reading.sides[-1].any():
        whole[-1] = (whole[-1][0], last + 1)
    return whole


def _shift(reading: Reading, first: int, end: int) -> float:
    """How far the thing strays from its place in frame `first` up to frame `end`, in pixels."""
    moved = translation(reading.boxes[first : end + 1], reading.size)
    return float(np.hypot(*moved.T).max())
