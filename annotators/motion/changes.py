"""Where and when neighbouring frames differ: the raw material of a second localiser, which never sees a tube.

Per observed frame: the share of changed pixels in each cell of a coarse grid, and in short pieces of a thin strip along
each border (what comes or goes must pass it). Stored as whole per mille.

    a ball rolls in from the left at 1.2 s  ->  left strip, piece 9: 0 0 0 180 420 390 0 0; cells of row 9 in turn
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reelmill.annotators.motion.backdrop import Picture, difference
from reelmill.schemas.column import Column

COLUMNS, ROWS = 16, 12
PIECES = 16
STRIP_PX = 2
CHANGED_GREY = 12
_MILLE = 1000


@dataclass(frozen=True, slots=True)
class Changes:
    """Times of the observed frames, and `end_s` of the last one.

    `cells` has rows x columns numbers per frame, row by row; `border` has 4 x pieces: top and bottom from left to
    right, left and right from top to bottom. The first frame, which has none before it, has zeros."""

    at_s: tuple[float, ...]
    end_s: float
    columns: int
    rows: int
    pieces: int
    cells: tuple[int, ...]
    border: tuple[int, ...]


CHANGES = Column.of("changes", Changes)


class ChangeMap:
    """Collects the change of one frame after another. Keeps one frame."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.cells: list[npt.NDArray[np.int64]] = []
        self.border: list[npt.NDArray[np.int64]] = []
        self._before: Picture | None = None

    def see(self, at_s: float, picture: Picture) -> None:
        """A frame uint8 [h, w, 3] at clip time `at_s`, of one size, in rising order."""
        before = picture if self._before is None else self._before
        changed = (difference(picture, before) > CHANGED_GREY).astype(np.float32)
        self.times.append(at_s)
        self.cells.append(_shares(changed, ROWS, COLUMNS))
        self.border.append(np.concatenate([_shares(strip, 1, PIECES) for strip in _strips(changed)]))
        self._before = picture.copy()

    def done(self, end_s: float) -> Changes:
        """All that was collected; `end_s` is the clip's decoded duration."""
        cells = np.concatenate(self.cells) if self.cells else np.zeros(0, np.int64)
        border = np.concatenate(self.border) if self.border else np.zeros(0, np.int64)
        return Changes(tuple(self.times), end_s, COLUMNS, ROWS, PIECES, tuple(cells.tolist()), tuple(border.tolist()))


def _strips(changed: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], ...]:
    """Top, bottom, left and right strip, each lying down."""
    return changed[:STRIP_PX], changed[-STRIP_PX:], changed[:, :STRIP_PX].T, changed[:, -STRIP_PX:].T


def _shares(changed: npt.NDArray[np.float32], rows: int, columns: int) -> npt.NDArray[np.int64]:
    """Share of changed pixels per cell in per mille, rounded up, so that one pixel is not nothing."""
    import cv2

    tall, wide = max(rows, changed.shape[0]), max(columns, changed.shape[1])
    if (tall, wide) != changed.shape:
        changed = cv2.resize(np.ascontiguousarray(changed), (wide, tall), interpolation=cv2.INTER_NEAREST)
    across = np.add.reduceat(changed, np.arange(columns) * wide // columns, axis=1)
    sums = np.add.reduceat(across, np.arange(rows) * tall // rows, axis=0)
    sizes = np.outer(_sizes(tall, rows), _sizes(wide, columns))
    return np.asarray(np.ceil(_MILLE * sums / sizes), np.int64).ravel()


def _sizes(length: int, parts: int) -> npt.NDArray[np.int64]:
    return np.diff(np.append(np.arange(parts) * length // parts, length))
