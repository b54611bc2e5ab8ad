"""How a picture is cut: a grid of crops that tile it, and the whole of it before them.

>>> Cut(5, 2, rows=1, columns=2, whole=True).boxes()
((0, 0, 5, 2), (0, 0, 2, 2), (2, 0, 5, 2))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Box4 = tuple[int, int, int, int]
Tiles = tuple[int, int]
Shares = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Cut:
    """`rows` x `columns` crops of a picture of `width_px` x `height_px`; with `whole` the picture itself goes first."""

    width_px: int
    height_px: int
    rows: int = 1
    columns: int = 1
    whole: bool = False

    @property
    def plain(self) -> bool:
        """Whether the picture is shown as it is."""
        return self.rows == self.columns == 1

    def boxes(self) -> tuple[Box4, ...]:
        """Crops (x0, y0, x1, y1) in pixels, by rows. No two share a pixel, and together they are the picture."""
        x, y = _edges(self.width_px, self.columns), _edges(self.height_px, self.rows)
        tiles = ((x[c], y[r], x[c + 1], y[r + 1]) for r in range(self.rows) for c in range(self.columns))
        first = ((0, 0, self.width_px, self.height_px),) if self.whole and not self.plain else ()
        return (*first, *tiles)

    def shares(self) -> tuple[Shares, ...]:
        """The same in shares of width and height."""
        w, h = self.width_px, self.height_px
        return tuple((x0 / w, y0 / h, x1 / w, y1 / h) for x0, y0, x1, y1 in self.boxes())


def _edges(length_px: int, parts: int) -> list[int]:
    return [i * length_px // parts for i in range(parts + 1)]


def fitting(tiles: Sequence[Tiles], width_px: int, height_px: int) -> list[Tiles]:
    """Those of `tiles` (rows, columns) that leave every crop a pixel."""
    return [(rows, columns) for rows, columns in tiles if rows <= height_px and columns <= width_px]


def tiles_of(shares: Sequence[Sequence[float]] | None) -> Tiles | None:
    """Rows and columns of crops, given in shares of the picture; None where there are none besides the whole.

    >>> tiles_of(Cut(5, 2, rows=1, columns=2, whole=True).shares())
    (1, 2)
    """
    parts = [s for s in shares or () if tuple(s) != (0, 0, 1, 1)]
    rows = len({s[1] for s in parts})
    return (rows, len(parts) // rows) if parts else None
