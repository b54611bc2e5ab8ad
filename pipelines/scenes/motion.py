"""What a path looks like frame by frame: boxes, what is in view, what is displaced, and the phases that follow.

Truth, fairness and composition all read these arrays, so they cannot disagree. A frame is *displaced* where the thing's
place differs from that of the frame before; a phase is a run of frames.

>>> from reelmill.pipelines.scenes.scene import Waypoint
>>> mover = Mover("square", "red", (206, 46, 42), 10, (Waypoint(0.0, -20.0, 30.0), Waypoint(1.0, 40.0, 30.0)))
>>> [(p.kind.value, p.first, p.end) for p in phases(track(mover, np.arange(21) * 0.1, 100, 60))]
[('enters', 3, 5), ('moves', 3, 11), ('stops', 11, 20)]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reelmill.pipelines.scenes.scene import Mover
from reelmill.pipelines.scenes.shapes import QUARTERS, Stamp, stamp
from reelmill.schemas.event import EventKind


@dataclass(frozen=True, slots=True)
class Track:
    """A mover over the n frames of its shot. `box` int64 [n, 4] is the whole thing's, `seen` the part inside the frame
    (other things ignored); `in_view`, `whole` (wholly inside) and `displaced` are bool [n]."""

    mover: Mover
    quarters: np.ndarray
    box: np.ndarray
    seen: np.ndarray
    in_view: np.ndarray
    whole: np.ndarray
    displaced: np.ndarray


@dataclass(frozen=True, slots=True)
class Phase:
    """Frames `[first, end)` of a shot that one event lasts."""

    kind: EventKind
    first: int
    end: int


def stamp_at(mover: Mover, quarters: np.ndarray) -> tuple[Stamp, int, int]:
    """A mover's stamp at a place [2], and the frame pixel (x, y) of the stamp's top left corner."""
    (whole_x, phase_x), (whole_y, phase_y) = (divmod(int(q), QUARTERS) for q in quarters)
    mark = stamp(mover.shape, mover.radius_px, phase_x, phase_y)
    return mark, whole_x - mark.origin_px, whole_y - mark.origin_px


def track(mover: Mover, edges_s: np.ndarray, width_px: int, height_px: int) -> Track:
    """Follow a mover over the frames that start at `edges_s[:-1]` of a frame of the given size."""
    quarters = mover.quarters_at(edges_s[:-1])
    box = _boxes(mover, quarters)
    clipped = np.clip(box, 0, np.array([width_px, height_px, width_px, height_px]))
    whole = (box == clipped).all(axis=1)
    seen = clipped.copy()
    partly = ~whole & (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    for k in np.flatnonzero(partly):  # the cap of a circle at the border is lower than the circle: ask the mask
        seen[k] = _bounds(_solid(mover, quarters[k], clipped[k]), clipped[k])
    in_view = (seen[:, 2] > seen[:, 0]) & (seen[:, 3] > seen[:, 1])
    displaced = np.zeros(len(quarters), bool)
    displaced[1:] = (quarters[1:] != quarters[:-1]).any(axis=1)
    return Track(mover, quarters, box, seen, in_view, whole, displaced)


def _boxes(mover: Mover, quarters: np.ndarray) -> np.ndarray:
    """Boxes int64 [n, 4] of the pixels covered by half or more, looked up by sub-pixel phase."""
    phases_xy = quarters % QUARTERS
    local = np.zeros((QUARTERS, QUARTERS, 4), np.int64)
    for phase_x, phase_y in np.unique(phases_xy, axis=0):
        mark = stamp(mover.shape, mover.radius_px, int(phase_x), int(phase_y))
        local[phase_x, phase_y] = np.array(mark.box) - mark.origin_px
    return np.asarray(local[phases_xy[:, 0], phases_xy[:, 1]] + np.tile(quarters // QUARTERS, 2))


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Half-open runs of True in a bool array.

    >>> runs(np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def phases(seen: Track) -> list[Phase]:
    """Phases by the definitions of schemas/event.py, in order of their first frame. Empty for a thing never seen."""
    view = runs(seen.in_view)
    if not view:
        return []
    first, end = view[0]
    found = _border_phases(seen, first, end)
    moved = False
    for start, stop, is_move in _spells(seen.displaced, first, end):
        if is_move or moved:
            found.append(Phase(EventKind.MOVES if is_move else EventKind.STOPS, start, stop))
        moved = moved or is_move
    return sorted(found, key=lambda p: (p.first, p.end, p.kind))


def _border_phases(seen: Track, first: int, end: int) -> list[Phase]:
    whole = [k for k in range(first, end) if seen.whole[k]] or [end]
    found = []
    if first > 0:
        found.append(Phase(EventKind.ENTERS, first, max(whole[0], first + 1)))
    if end < len(seen.in_view):
        found.append(Phase(EventKind.LEAVES, min(whole[-1] + 1, end - 1), end))
    return found


def _spells(displaced: np.ndarray, first: int, end: int) -> list[tuple[int, int, bool]]:
    """The frames `[first, end)` cut where displacement begins or ends: (start, stop, is a move)."""
    moves = [(a + first, b + first, True) for a, b in runs(displaced[first:end])]
    rests = [(a + first, b + first, False) for a, b in runs(~displaced[first:end])]
    return sorted(moves + rests)


def visible(tracks: Sequence[Track]) -> tuple[np.ndarray, np.ndarray]:
    """What is left of each thing once later things are drawn over it.

    Gives boxes int64 [m, n, 4] of the visible pixels inside the frame (zero area where fully covered) and the share
    float64 [m, n] of the pixels inside the frame that stay visible (0 where out of view).
    """
    boxes = np.stack([t.seen for t in tracks])
    share = np.stack([t.in_view for t in tracks]).astype(np.float64)
    for i, below in enumerate(tracks):
        above = tracks[i + 1 :]
        touched = np.zeros(len(below.in_view), bool)
        for other in above:
            touched |= overlap(below.seen, other.seen)
        for k in np.flatnonzero(touched & below.in_view):
            boxes[i, k], share[i, k] = _left_over(below, above, int(k))
    return boxes, share


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """bool [n]: do the boxes [n, 4] of two things share a pixel?"""
    low = np.maximum(one[:, :2], other[:, :2])
    high = np.minimum(one[:, 2:], other[:, 2:])
    return np.asarray((high > low).all(axis=1))


def _left_over(below: Track, above: Sequence[Track], frame: int) -> tuple[np.ndarray, float]:
    window = below.seen[frame]
    mine = _solid(below.mover, below.quarters[frame], window)
    left = mine.copy()
    for other in above:
        left &= ~_solid(other.mover, other.quarters[frame], window)
    return _bounds(left, window), float(left.sum() / mine.sum())


def _bounds(mask: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Box int64 [4] of the True pixels of a window x0 y0 x1 y1; of no area where there are none."""
    x0, y0 = int(window[0]), int(window[1])
    if not mask.any():
        return np.array([x0, y0, x0, y0])
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1])


def _solid(mover: Mover, quarters: np.ndarray, window: np.ndarray) -> np.ndarray:
    """bool [y1 - y0, x1 - x0]: pixels of a window x0 y0 x1 y1 that a thing at a place covers by half or more."""
    x0, y0, x1, y1 = (int(v) for v in window)
    mark, left, top = stamp_at(mover, quarters)
    covered = np.zeros((y1 - y0, x1 - x0), bool)
    side = mark.solid.shape[0]
    ax0, ay0, ax1, ay1 = max(x0, left), max(y0, top), min(x1, left + side), min(y1, top + side)
    if ax1 > ax0 and ay1 > ay0:
        covered[ay0 - y0 : ay1 - y0, ax0 - x0 : ax1 - x0] = mark.solid[ay0 - top : ay1 - top, ax0 - left : ax1 - left]
    return covered
