"""The order in which a person reads lines of text: headings, then column by column, each from top to bottom.

A recursive cut of the page in the manner of XY-cut (Nagy and Seth 1984), with two changes: rows are gathered into
blocks that share a gutter, so that a heading across both columns does not hide them; and a gutter makes columns only
where both sides hold lines of running text, so that a table is still read row by row.

>>> in_reading_order([quad(0, 20, 90, 30), quad(0, 0, 90, 10)])          # doctest: +SKIP
[1, 0]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_SHRINK = 0.2  # detectors draw boxes larger than the letters, so that neighbouring lines overlap
_GUTTER_HEIGHTS = 0.5
_RUNNING = 4.0
_FEWEST = 2


@dataclass(frozen=True, slots=True)
class _Box:
    """A line's upright box on the straightened page, and its number in the caller's list."""

    number: int
    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


def in_reading_order(quads: Sequence[Floats]) -> list[int]:
    """Indices of `quads` ((4, 2) pixels, clockwise from each line's own top left) in reading order, left to right.

    The page is straightened first by the direction in which most of the text runs, so pages on their side are read too.
    """
    if not quads:
        return []
    points = np.asarray(quads, np.float64) @ _upright(quads).T
    return [box.number for box in _read([_box(i, p.min(0), p.max(0)) for i, p in enumerate(points)])]


def _box(number: int, low: Floats, high: Floats) -> _Box:
    left, top, right, bottom = (float(v) for v in (*low, *high))
    shrink = min(_SHRINK * (bottom - top), (right - left) / 3)
    return _Box(
        number, left + shrink, top + _SHRINK * (bottom - top), right - shrink, bottom - _SHRINK * (bottom - top)
    )


def _upright(quads: Sequence[Floats]) -> Floats:
    """Rotation (2, 2) that makes the text's mean direction, weighted by length, run to the right."""
    along = np.sum([q[1] - q[0] + q[2] - q[3] for q in np.asarray(quads, np.float64)], axis=0)
    length = float(np.hypot(*along))
    cos, sin = along / length if length > 0 else (1.0, 0.0)
    return np.array([[cos, sin], [-sin, cos]])


def _read(boxes: Sequence[_Box]) -> list[_Box]:
    ordered: list[_Box] = []
    for block in _blocks(_bands(boxes)):
        gutter = _gutter(block)
        left = [b for b in block if gutter is not None and b.right <= gutter]
        right = [b for b in block if gutter is not None and b.left >= gutter]
        if _running(left) and _running(right):
            ordered += _read(left) + _read(right)
        else:
            ordered += [box for band in _bands(block) for box in _row(band)]
    return ordered


def _bands(boxes: Sequence[_Box]) -> list[list[_Box]]:
    """Groups from top to bottom between which a horizontal line can be drawn."""
    bands: list[list[_Box]] = []
    bottom = float("-inf")
    for box in sorted(boxes, key=lambda b: (b.top, b.left, b.number)):
        if box.top >= bottom or not bands:
            bands.append([])
        bands[-1].append(box)
        bottom = max(bottom, box.bottom)
    return bands


def _blocks(bands: Sequence[list[_Box]]) -> list[list[_Box]]:
    """Neighbouring bands together while a gutter still runs through all of them."""
    blocks: list[list[_Box]] = []
    for band in bands:
        if blocks and _gutter(blocks[-1] + band) is not None:
            blocks[-1] = blocks[-1] + band
        else:
            blocks.append(list(band))
    return blocks


def _gutter(boxes: Sequence[_Box]) -> float | None:
    """x of the middle of the widest empty column at least half a line's height wide; None where there is none."""
    need = _GUTTER_HEIGHTS * float(np.median([b.height for b in boxes])) / (1 - 2 * _SHRINK)
    best: tuple[float, float] | None = None
    right = float("-inf")
    for box in sorted(boxes, key=lambda b: b.left):
        gap = box.left - right
        if need <= gap < float("inf") and (best is None or gap > best[0]):
            best = gap, right + gap / 2
        right = max(right, box.right)
    return best[1] if best else None


def _running(boxes: Sequence[_Box]) -> bool:
    """True for lines of running text: at least two, and mostly much longer than high."""
    if len(boxes) < _FEWEST:
        return False
    longer = float(np.median([b.width / max(b.height / (1 - 2 * _SHRINK), 1e-9) for b in boxes]))
    return longer >= _RUNNING


def _row(band: Sequence[_Box]) -> list[_Box]:
    """One band from left to right; a band of several rows that overlap row by row."""
    rest = sorted(band, key=lambda b: (b.top + b.bottom, b.left, b.number))
    ordered: list[_Box] = []
    while rest:
        middle = (rest[0].top + rest[0].bottom) / 2
        row = [b for b in rest if b.top <= middle < b.bottom or b is rest[0]]
        ordered += sorted(row, key=lambda b: (b.left, b.number))
        rest = [b for b in rest if b not in row]
    return ordered
