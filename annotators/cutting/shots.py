"""Where one shot ends and the next begins: many candidates first, then those that do not hold are taken back.

1. PySceneDetect's two detectors propose cuts, set so that they miss little (`Cuts`, while the decode runs).
2. A proposed cut is kept where *no* frame shortly before it resembles one shortly after it: flashes, shakes and whips
   that come back do not divide a shot (`same_shot`).
3. Spans that are black, and dissolves, become pieces of their own, so that no shot holds frames of two.

Why the last two are ours: detectors look at neighbouring frames, where a flash looks like a cut and a dissolve like
nothing.

    cuts proposed at frames 75, 135 and 191 (a hand), dissolve from 189
    -> shots 0-75, 75-135, 135-189, transition 189-225, shot 225-255
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reelmill.annotators.cutting.stats import Timeline

if TYPE_CHECKING:
    from reelmill.annotators.decode.frames import Frame

Ints = npt.NDArray[np.intp]
Floats32 = npt.NDArray[np.float32]

_EDGE_S = 1e-9
_NEIGHBOURS = 2
_MOST_COMPARED = 12
_FEWEST_BETWEEN = 3


class What(enum.StrEnum):
    SHOT = "shot"
    BLACK = "black"
    TRANSITION = "transition"


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames [start, stop) of a unit. Pieces follow each other without gap."""

    start: int
    stop: int
    what: What


@dataclass(frozen=True, slots=True)
class ShotRules:
    """Thresholds. `side_px`: short side of the picture that is compared.

    `ratio` and `floor`: PySceneDetect's AdaptiveDetector; `content`: its ContentDetector, both in its 0-255 score.
    `window_s`, `same`: two sides of a cut within this time are one shot where their closest pair differs less.
    `black_*`: mean luma and its spread below which a frame is black, and how long it has to be a piece of its own.
    `mix_*`: a dissolve, seen through a window of twice `mix_s`: see `dissolves`.
    """

    side_px: int = 144
    ratio: float = 2.0
    floor: float = 8.0
    content: float = 18.0
    window_s: float = 0.3
    same: float = 0.10
    black_luma: float = 8.0
    black_spread: float = 10.0
    black_s: float = 0.1
    mix_s: float = 0.25
    mix_error: float = 0.1
    mix_change: float = 0.06
    mix_total: float = 0.1
    mix_colours: float = 0.2
    mix_beyond: float = 0.06

    def black(self, luma: float, spread: float) -> bool:
        return luma < self.black_luma and spread < self.black_spread


class Cuts:
    """Consumer that proposes cuts: the first frames of new shots, by number, as PySceneDetect's detectors give them.

    `newly` are those proposed by the frame last seen (at most two frames late), `suspect` whether that frame itself may
    still be proposed. Frame numbers stand in for times, so a variable frame rate cannot shift a cut.
    """

    def __init__(self, rules: ShotRules) -> None:
        from scenedetect.common import FrameTimecode

        self.rules = rules
        self.newly: tuple[int, ...] = ()
        self.suspect = False
        self._found: set[int] = set()
        self._code: Any = FrameTimecode
        self._detector: Any = _detector(rules)

    def see(self, frame: Frame) -> None:
        rgb = frame.rgb(self.rules.side_px)
        proposed = {c.frame_num for c in self._detector.process_frame(self._code(frame.index, fps=1.0), rgb)}
        # AdaptiveDetector is a ContentDetector that keeps its frame's score: reading it spares computing it twice.
        score = float(self._detector._frame_score or 0.0)
        if score >= self.rules.content:
            proposed.add(frame.index)
        self.suspect = score >= min(self.rules.floor, self.rules.content)
        self.newly = tuple(sorted(proposed - self._found - {0}))
        self._found.update(self.newly)

    def done(self) -> tuple[int, ...]:
        return tuple(sorted(self._found))


def _detector(rules: ShotRules) -> Any:
    """PySceneDetect's AdaptiveDetector, fed with RGB and told how to score a frame."""
    from scenedetect.detectors import AdaptiveDetector

    detector: Any = AdaptiveDetector(
        adaptive_threshold=rules.ratio, min_scene_len=0, window_width=_NEIGHBOURS, min_content_val=rules.floor
    )
    detector._calculate_frame_score = _Score()
    return detector


class _Score:
    """ContentDetector's score of a frame against the one before: mean change of hue, saturation and value.

    Its own way leads through arrays of 32-bit numbers and takes six times as long (decision 0017); sums of bytes are
    whole numbers too, so every bit of the score is the same (a test compares them).
    """

    def __init__(self) -> None:
        import cv2

        self._cv2: Any = cv2
        self._last: Any = None

    def __call__(self, timecode: Any, rgb: npt.NDArray[np.uint8]) -> float:
        del timecode
        hsv = self._cv2.cvtColor(rgb, self._cv2.COLOR_RGB2HSV)
        last, self._last = self._last, hsv
        if last is None:
            return 0.0
        pixels = float(hsv.shape[0] * hsv.shape[1])
        hue, saturation, value, _ = self._cv2.sumElems(self._cv2.absdiff(hsv, last))
        return float((hue / pixels + saturation / pixels + value / pixels) / 3.0)


def pieces(timeline: Timeline, cuts: Sequence[int], rules: ShotRules, grid: Sequence[int] = ()) -> tuple[Piece, ...]:
    """Shots, black spans and dissolves that together are all frames, in order.

    A dissolve's end is moved on to a frame number of `grid`, where there is one: its last frames are not exact anyway,
    and so the shot after it begins with a frame that is kept.
    """
    if not timeline.num_frames:
        return ()
    kinds = np.zeros(timeline.num_frames, np.int8)
    for start, stop in dissolves(timeline, rules):
        kinds[start : next((g for g in grid if g >= stop), timeline.num_frames) if grid else stop] = 2
    for start, stop in black_spans(timeline, rules):
        kinds[start:stop] = 1
    edges = {0, timeline.num_frames, *(np.nonzero(np.diff(kinds))[0] + 1).tolist()}
    edges |= {c for c in cuts if kinds[c - 1] == kinds[c] == 0 and not same_shot(timeline, c, kinds == 0, rules)}
    ordered = sorted(edges)
    names = (What.SHOT, What.BLACK, What.TRANSITION)
    return tuple(Piece(a, b, names[kinds[a]]) for a, b in itertools.pairwise(ordered))


def same_shot(timeline: Timeline, cut: int, free: npt.NDArray[np.bool_], rules: ShotRules) -> bool:
    """True where some frame shortly before `cut` and one shortly after it show nearly the same.

    `free` says which frames may be compared: black ones and dissolves end the search on either side.
    """
    at_s = timeline.at_s
    before = np.arange(timeline.from_s(float(at_s[cut - 1]) - rules.window_s), cut)
    after = np.arange(cut, min(timeline.num_frames, timeline.from_s(float(at_s[cut]) + rules.window_s + _EDGE_S)))
    before = before[np.logical_and.accumulate(free[before][::-1])[::-1]]
    after = after[np.logical_and.accumulate(free[after])]
    return bool(distances(timeline, _spread(before), _spread(after)).min() < rules.same)


def _spread(frames: Ints) -> Ints:
    """At most a dozen of `frames`, evenly, with both ends."""
    if len(frames) <= _MOST_COMPARED:
        return frames
    return frames[np.linspace(0, len(frames) - 1, _MOST_COMPARED).round().astype(np.intp)]


def distances(timeline: Timeline, some: Ints, others: Ints) -> Floats32:
    """How unlike frames are, (some, others) in [0, 1]: the larger of layout (mean absolute RGB difference of 8x8 cells)
    and half of colour (total variation of 4x4x4 RGB histograms)."""
    layout = np.abs(_flat(timeline.colours[some])[:, None] - _flat(timeline.colours[others])[None]).mean(-1) / 255
    colour = np.abs(_flat(timeline.hists[some])[:, None] - _flat(timeline.hists[others])[None]).sum(-1) / 510
    unlike: Floats32 = np.maximum(layout, colour / 2)
    return unlike


def _flat(values: npt.NDArray[np.uint8]) -> Floats32:
    return values.reshape(len(values), -1).astype(np.float32)


def black_spans(timeline: Timeline, rules: ShotRules) -> list[tuple[int, int]]:
    """Runs of black frames that last long enough."""
    black = (timeline.luma < rules.black_luma) & (timeline.spread < rules.black_spread)
    return [(a, b) for a, b in runs(black) if timeline.length_s(a, b) >= rules.black_s - _EDGE_S]


def dissolves(timeline: Timeline, rules: ShotRules) -> list[tuple[int, int]]:
    """Runs of frames that are mixtures of what is `mix_s` before and after them.

    In a dissolve from A to B the frame at share x of the time is (1-x)A + xB; motion and pans are not such mixtures.
    Three frames of the window must fit within `mix_error` of the change, and the change be over `mix_change`. The whole
    run must lead to another layout (`mix_total`), to other colours (`mix_colours`), and to more than a brightening of
    the same picture (`mix_beyond`, of the change): a fade to or from black stays in its shot.
    """
    centre, first, last = _windows(timeline, rules.mix_s)
    if not len(centre):
        return []
    fits = np.zeros(timeline.num_frames, bool)
    fits[centre] = _mixtures(timeline, centre, first, last, rules)
    begins, ends = np.zeros(len(fits), np.intp), np.zeros(len(fits), np.intp)
    begins[centre], ends[centre] = first, last
    spans = [(int(begins[a]), int(ends[b - 1])) for a, b in runs(fits)]
    return [(a, b) for a, b in spans if _another_picture(timeline, a, b, rules)]


def _windows(timeline: Timeline, half_s: float) -> tuple[Ints, Ints, Ints]:
    """Frames in the middle of a whole window, and the first and last frame of it; enough frames must lie between."""
    at_s = timeline.at_s
    first = np.searchsorted(at_s, at_s - half_s - _EDGE_S)
    last = np.searchsorted(at_s, at_s + half_s - _EDGE_S)
    centre = np.arange(len(at_s))
    whole = (at_s - half_s >= -_EDGE_S) & (last < len(at_s)) & (last - first > _FEWEST_BETWEEN)
    return centre[whole], first[whole], last[whole]


def _mixtures(timeline: Timeline, centre: Ints, first: Ints, last: Ints, rules: ShotRules) -> npt.NDArray[np.bool_]:
    """Which windows hold mixtures of their ends."""
    at_s, layouts = timeline.at_s, _flat(timeline.colours)
    start, end = layouts[first], layouts[last]
    change = np.abs(end - start).mean(1)
    worst = np.zeros(len(centre), np.float32)
    for share in (0.25, 0.5, 0.75):
        frame = np.searchsorted(at_s, at_s[first] + share * (at_s[last] - at_s[first]) - _EDGE_S)
        x = ((at_s[frame] - at_s[first]) / (at_s[last] - at_s[first])).astype(np.float32)[:, None]
        worst = np.maximum(worst, np.abs(layouts[frame] - (1 - x) * start - x * end).mean(1))
    fit: npt.NDArray[np.bool_] = (change > rules.mix_change * 255) & (worst < rules.mix_error * change)
    return fit


def _another_picture(timeline: Timeline, a: int, b: int, rules: ShotRules) -> bool:
    start, end = _flat(timeline.colours[[a]])[0], _flat(timeline.colours[[b]])[0]
    colours = np.abs(_flat(timeline.hists[[a]]) - _flat(timeline.hists[[b]])).sum() / 510
    changed = float(np.abs(end - start).mean())
    beyond = min(_unexplained(start, end), _unexplained(end, start))
    return changed > rules.mix_total * 255 and bool(colours > rules.mix_colours) and beyond > rules.mix_beyond * changed


def _unexplained(dark: Floats32, bright: Floats32) -> float:
    """Mean difference that is left when `bright` is dimmed by the best factor to look like `dark`."""
    factor = float(dark @ bright) / max(1.0, float(bright @ bright))
    return float(np.abs(dark - factor * bright).mean())


def runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open index ranges where `flags` is true."""
    steps = np.diff(np.concatenate(([0], flags.astype(np.int8), [0])))
    return list(zip(np.nonzero(steps == 1)[0].tolist(), np.nonzero(steps == -1)[0].tolist(), strict=True))
