r"""LLaVA-UHD's slices (arXiv 2403.11703): as many as the picture has areas of the tower's, in the shape nearest to it.

    n      = min(ceil(W H / side²), most)
    score  = |log(W / H) - log(columns / rows)|     over all factorisations of n - 1, n and n + 1, but not of 1

The best score is taken; of equal ones that of fewer slices, then of fewer rows. In the text a comma stands between the
slices of a row and a newline behind a row. `most` is ours, and so is that the whole picture makes a row of its own,
before the others; the paper gives each slice its own aspect, here it is squeezed to the tower's square.

>>> uhd = UHD(336)
>>> uhd(672, 1008)
Cut(width_px=672, height_px=1008, rows=3, columns=2, whole=True)
>>> uhd.text(uhd(672, 400), "<v>")
'<v>\n<v>,<v>\n'
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from reelmill.training.slicers.cut import Cut, Tiles, fitting


@dataclass(frozen=True)
class UHD:
    """`side_px` is the tower's side, `most` the most slices that are aimed at. Every crop has a place in the text."""

    side_px: int
    most: int = 6
    separators: ClassVar[tuple[str, ...]] = (",", "\n")

    def __call__(self, width_px: int, height_px: int) -> Cut:
        """The cut, with the whole picture first; a picture of one slice is plain."""
        ideal = min(-(-width_px * height_px // self.side_px**2), self.most)
        grids = fitting(factorised(ideal), width_px, height_px) if ideal > 1 else []
        if not grids:
            return Cut(width_px, height_px)
        rows, columns = min(grids, key=lambda grid: unlike(grid, width_px, height_px))
        return Cut(width_px, height_px, rows, columns, whole=True)

    def text(self, cut: Cut, mark: str) -> str:
        """Marks of all crops with the separators between them."""
        if cut.plain:
            return mark
        between, behind = self.separators
        row = between.join([mark] * cut.columns) + behind
        return mark * cut.whole + behind * cut.whole + row * cut.rows


def factorised(ideal: int) -> list[Tiles]:
    """(rows, columns) of `ideal` - 1, `ideal` and `ideal` + 1 slices, without a single one."""
    counts = [n for n in (ideal - 1, ideal, ideal + 1) if n > 1]
    return [(rows, n // rows) for n in counts for rows in range(1, n + 1) if n % rows == 0]


def unlike(grid: Tiles, width_px: int, height_px: int) -> Fraction:
    """e to the score, exactly: the larger of the two aspects divided by the smaller."""
    off = Fraction(width_px * grid[0], height_px * grid[1])
    return max(off, 1 / off)
