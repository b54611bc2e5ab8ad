"""Any resolution (LLaVA-NeXT, after LLaVA-1.5-HD, arXiv 2310.03744): the grid out of a few that shows most pixels.

A picture is scaled into each grid's size with its own aspect. The effective resolution is what it then has, at most
what it had; the waste is the rest of the grid. Most effective resolution is taken, then least waste, then the first.
The rule is that of transformers' `select_best_resolution`; theirs pads what the picture leaves empty and takes the
padding's tokens out again, here the picture itself is cut, and every crop squeezed to the tower's square.

>>> AnyRes(336)(672, 336)
Cut(width_px=672, height_px=336, rows=1, columns=2, whole=True)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from reelmill.training.slicers.cut import Cut, Tiles, fitting

NEXT: tuple[Tiles, ...] = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
"""LLaVA-NeXT's grids, rows and columns of 336 pixels, in its order."""


@dataclass(frozen=True)
class AnyRes:
    """`side_px` is the tower's side. All tokens of a picture enter at one place of the text."""

    side_px: int
    grids: tuple[Tiles, ...] = NEXT
    separators: ClassVar[tuple[str, ...]] = ()

    def __call__(self, width_px: int, height_px: int) -> Cut:
        """The cut, with the whole picture first."""
        grids = fitting(self.grids, width_px, height_px)
        if not grids:
            return Cut(width_px, height_px)
        rows, columns = max(grids, key=lambda grid: self._fit(grid, width_px, height_px))
        return Cut(width_px, height_px, rows, columns, whole=True)

    def text(self, cut: Cut, mark: str) -> str:
        """One mark: rows of crops are put together behind the tower."""
        return mark

    def _fit(self, grid: Tiles, width_px: int, height_px: int) -> tuple[int, int]:
        """Effective pixels, and the waste with its sign turned."""
        height, width = (n * self.side_px for n in grid)
        if width * height_px <= height * width_px:
            shown = width * (height_px * width // width_px)
        else:
            shown = (width_px * height // height_px) * height
        effective = min(shown, width_px * height_px)
        return effective, effective - width * height


def every(most: int) -> tuple[Tiles, ...]:
    """All grids of at most `most` crops, fewer first: what LLaVA-1.5-HD chooses from."""
    found: Sequence[Tiles] = [(r, n // r) for n in range(1, most + 1) for r in range(1, n + 1) if n % r == 0]
    return tuple(found)
