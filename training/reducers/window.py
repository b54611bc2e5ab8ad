"""Local windows: a token of a coarse grid reads the patches that it covers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from reelmill.training.reducers.combine import Grid, Stage
from reelmill.training.reducers.pool import as_maps, gridded, regridded
from reelmill.training.values import Text, Vis


class Window(Stage):
    """Cross-attention in windows of `k` x `k` patches; the query is their mean, and what is read is added to it.

    TokenPacker (arXiv 2407.02392) as LLaVA-ST uses it, with the query from linear interpolation. `k` must divide the
    grid.
    """

    def __init__(self, width: int, k: int, heads: int = 4) -> None:
        super().__init__()
        self.k, self.heads = k, heads
        self.norm_q, self.norm_kv = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """[n, rows * columns, C] to [n, rows / k * columns / k, C]."""
        rows, columns = self.shape(1, gridded(vis))[1]
        maps = as_maps(vis)
        query = F.interpolate(maps.float(), size=(rows, columns), mode="bilinear", antialias=True).to(maps.dtype)
        cells = F.unfold(maps, self.k, stride=self.k).unflatten(1, (maps.shape[1], self.k**2))
        coarse = query.flatten(2).transpose(1, 2)
        read = self._read(coarse, cells.permute(0, 3, 2, 1))
        return regridded(vis, (coarse + read).transpose(1, 2).unflatten(2, (rows, columns)))

    def _read(self, query: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """`query` [n, w, C], `cells` [n, w, k * k, C] to [n, w, C]."""
        n, w, c = query.shape
        q = self.q(self.norm_q(query)).view(n * w, 1, self.heads, -1).transpose(1, 2)
        k, v = self.kv(self.norm_kv(cells)).view(n * w, -1, 2, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        out: torch.Tensor = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, w, c))
        return out

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        """Raises ValueError for a grid that windows do not tile."""
        if grid[0] % self.k or grid[1] % self.k:
            raise ValueError(f"windows of {self.k} do not tile a grid of {grid[0]} x {grid[1]}")
        return frames, (grid[0] // self.k, grid[1] // self.k)


class TimeWindow(Stage):
    """The same along time: `k` frames become one, which reads them at each place. `k` must divide the frames."""

    def __init__(self, width: int, k: int, heads: int = 4) -> None:
        super().__init__()
        self.k, self.reads = k, Window(width, 1, heads)

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """[n, L, C] to [n / k, L, C]; frames keep the number and the mean time of those they stand for."""
        groups = vis.groups // self.k
        if groups * self.k != vis.groups or bool(
            (vis.sample.view(groups, self.k) != vis.sample[:: self.k, None]).any()
        ):
            raise ValueError(f"every sample needs a multiple of {self.k} frames")
        x = vis.x.view(groups, self.k, vis.tokens, -1)
        query = x.mean(1)
        read = self.reads._read(query, x.transpose(1, 2))
        return Vis(
            x=query + read,
            place=vis.place[:: self.k],
            frame=vis.frame[:: self.k] // self.k,
            time=vis.time.view(groups, self.k, -1).mean(1),
            sample=vis.sample[:: self.k],
            grid=vis.grid,
            size=vis.sizes().view(groups, self.k, -1).sum(1),
        )

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        """Raises ValueError for a number of frames that windows do not tile."""
        if frames % self.k:
            raise ValueError(f"every sample needs a multiple of {self.k} frames, not {frames}")
        return frames // self.k, grid


class Stack(Stage):
    """`k` x `k` neighbours side by side on the channels, L to L / k², C to C k² (pixel shuffle)."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        return regridded(vis, F.pixel_unshuffle(as_maps(vis), self.k))

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return frames, (grid[0] // self.k, grid[1] // self.k)
