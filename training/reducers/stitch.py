"""Crops of a picture put together again, and the end of each row of tokens marked (LLaVA-NeXT)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from reelmill.training.reducers.combine import Grid, Stage, by_sample, valid
from reelmill.training.reducers.pool import gridded
from reelmill.training.slicers.cut import tiles_of
from reelmill.training.values import Text, Vis

_NEWLINE = -1


class Stitch(Stage):
    """The whole picture's tokens, then those of its crops as one map by rows, one learned token behind each row.

    What is not cut, as a video, stays as it is. It goes last in a chain, where the newlines are counted.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.newline = nn.Parameter(torch.randn(width) * width**-0.5)

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """[n, L, D] to one group a sample; shorter ones are masked. Raises ValueError for tokens that are no grid."""
        if vis.crop is None:
            return vis
        corners = vis.crop.tolist()
        whole, rows = by_sample(vis), list[Tensor]()
        for sample in whole.sample.tolist():
            mine = [corners[i] for i in (vis.sample == sample).nonzero().squeeze(1).tolist()]
            rows.append(_order(mine, gridded(vis), vis.x.device))
        longest = max(map(len, rows))
        at = torch.stack([nn.functional.pad(row, (0, longest - len(row))) for row in rows])
        real = torch.stack([torch.arange(longest, device=at.device) < len(row) for row in rows])
        return self._marked(whole, at, real)

    def _marked(self, whole: Vis, at: Tensor, real: Tensor) -> Vis:
        """Tokens in the order `at`, a newline standing where the token before it does."""
        end = at == _NEWLINE
        before = torch.where(end, at.roll(1, 1), at)
        masked = replace(whole, mask=valid(whole)).take(before)
        x = torch.where(end.unsqueeze(2), self.newline.to(masked.x.dtype), masked.x)
        return replace(masked, x=x, mask=None if bool(real.all()) else real, size=None)

    def count(self, frames: int, grid: Grid, budget: int | None = None, tiles: Grid | None = None) -> int:
        return frames * grid[0] * grid[1] + (tiles[0] * grid[0] if tiles else 0)


def _order(crops: list[list[float]], grid: Grid, device: torch.device) -> Tensor:
    """Where each token of a picture stood, int64: of the whole, then of the crops by rows of the map."""
    cells, tiles = grid[0] * grid[1], tiles_of(crops)
    if tiles is None:
        return torch.arange(len(crops) * cells, device=device)
    first = (len(crops) - tiles[0] * tiles[1]) * cells
    parts = torch.arange(first, len(crops) * cells, device=device).view(*tiles, *grid)
    rows = parts.transpose(1, 2).reshape(tiles[0] * grid[0], tiles[1] * grid[1])
    return torch.cat([torch.arange(first, device=device), nn.functional.pad(rows, (0, 1), value=_NEWLINE).flatten()])
