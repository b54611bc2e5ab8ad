"""Grid pools: average, maximum, adaptive, and the low corner of a cosine transform, over space or over time too."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelmill.training.reducers.combine import Grid, Stage
from reelmill.training.towers import laid, places
from reelmill.training.values import Text, Vis

Resize = Callable[[Tensor, Grid], Tensor]
"""[n, C, rows, columns] to another grid."""


def average(x: Tensor, size: Grid) -> Tensor:
    """Adaptive average pooling; exact block means where the size divides the grid."""
    return F.adaptive_avg_pool2d(x, size)


def maximum(x: Tensor, size: Grid) -> Tensor:
    """Adaptive maximum pooling."""
    return F.adaptive_max_pool2d(x, size)


def cosine(x: Tensor, size: Grid) -> Tensor:
    """The low-frequency corner of the 2-D DCT-II, transformed back at that size (Fourier-VLM, arXiv 2508.06038).

    Scaled so that the mean of a channel stays: each orthonormal transform of n points divides it by sqrt(n).
    """
    rows, columns = x.shape[-2:]
    down = dct(size[0], x.device).T @ dct(rows, x.device)[: size[0]] * math.sqrt(size[0] / rows)
    across = dct(size[1], x.device).T @ dct(columns, x.device)[: size[1]] * math.sqrt(size[1] / columns)
    return down.to(x.dtype) @ x @ across.to(x.dtype).T


def dct(n: int, device: torch.device | str = "cpu") -> Tensor:
    """Orthonormal DCT-II matrix [n, n], float32; row k is frequency k."""
    k, i = torch.arange(n, dtype=torch.float64).unsqueeze(1), torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi / n * (i + 0.5) * k) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix.float().to(device)


class GridPool(Stage):
    """Each frame's grid to `size` (rows, columns). A budget of k tokens asks for a square of side sqrt(k)."""

    def __init__(self, size: Grid | None = None, op: Resize = average) -> None:
        super().__init__()
        self.size, self.op = size, op

    def _size(self, grid: Grid, budget: int | None) -> Grid:
        if budget is None:
            return self.size or grid
        side = math.isqrt(budget)
        if side * side != budget:
            raise ValueError(f"a grid pool gives square numbers of tokens, asked for {budget}")
        return side, side

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """[n, rows * columns, C] to [n, k, C]. Raises ValueError for tokens that are no grid."""
        size = self._size(gridded(vis), budget)
        return regridded(vis, self.op(as_maps(vis), size))

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return frames, self._size(grid, budget)


class VideoPool(Stage):
    """Adaptive average pooling of each video to (frames, rows, columns) (PLLaVA, arXiv 2404.16994).

    A video of fewer frames, as a picture, repeats them as adaptive pooling does.
    """

    def __init__(self, size: tuple[int, int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        frames, *cells = self.size
        grid = gridded(vis)
        counts = torch.bincount(vis.sample)
        counts = counts[counts > 0].tolist()
        maps = as_maps(vis).split(counts)
        pooled = [F.adaptive_avg_pool3d(m.transpose(0, 1), (frames, *cells)).transpose(0, 1) for m in maps]
        times = [_shrunk(t, frames) for t in vis.time[:, 0].split(counts)]
        x = torch.cat(pooled).flatten(2).transpose(1, 2)
        tokens = cells[0] * cells[1]
        number = torch.arange(frames, device=x.device).repeat(len(counts))
        per = vis.sizes().sum(1)[0] if grid else 1
        return Vis(
            x=x,
            place=places((cells[0], cells[1]), x.device).expand(len(x), -1, -1),
            frame=number.unsqueeze(1).expand(-1, tokens),
            time=torch.cat(times).unsqueeze(1).expand(-1, tokens),
            sample=torch.unique_consecutive(vis.sample).repeat_interleave(frames),
            grid=(cells[0], cells[1]),
            size=torch.full((len(x), tokens), 1.0, device=x.device) * per / tokens,
        )

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return self.size[0], (self.size[1], self.size[2])


def _shrunk(times: Tensor, frames: int) -> Tensor:
    """Mean times of the frames that each pooled frame stands for."""
    return F.adaptive_avg_pool1d(times.unsqueeze(0), frames)[0]


class RasterMax(Stage):
    """Largest of each `k` neighbours in raster order, row ends included (the slow path of SlowFast-LLaVA's code)."""

    def __init__(self, k: int = 2) -> None:
        super().__init__()
        self.k = k

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        x = F.max_pool1d(vis.x.transpose(1, 2), self.k).transpose(1, 2)
        at = torch.arange(x.shape[1], device=x.device).expand(len(x), -1) * self.k
        return replace(vis.take(at), x=x, size=None)

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return frames, (1, grid[0] * grid[1] // self.k)


class WeightedPool(Stage):
    """Average over each cell of the video's (frames, rows, columns), weighted by how well a patch fits the words.

    PPLLaVA (arXiv 2411.02327): weights are the softmax over all patches of a video of their similarity to the prompt.
    The paper compares in CLIP's shared space; here two linear maps learn one, as a language model brings none.
    """

    def __init__(
        self, size: tuple[int, int, int], width: int, words: int, shared: int = 64, temperature: float = 0.1
    ) -> None:
        super().__init__()
        self.pool, self.temperature = VideoPool(size), temperature
        self.see, self.say = nn.Linear(width, shared, bias=False), nn.Linear(words, shared, bias=False)

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """Raises ValueError without words."""
        if text is None:
            raise ValueError("a pool by words needs the prompt")
        said = F.normalize(self.say(text.mean()), dim=-1)[vis.sample]
        fit = (F.normalize(self.see(vis.x), dim=-1) * said.unsqueeze(1)).sum(-1) / self.temperature
        most = fit.new_full((len(text.mask),), -torch.inf).scatter_reduce(0, vis.sample, fit.detach().amax(1), "amax")
        weight = (fit - most[vis.sample].unsqueeze(1)).exp().unsqueeze(-1)
        above, below = self.pool(vis.with_x(vis.x * weight)), self.pool(vis.with_x(weight))
        return above.with_x(above.x / below.x.clamp(min=1e-9))

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return self.pool.shape(frames, grid, budget)


def gridded(vis: Vis) -> Grid:
    """The grid of a view. Raises ValueError where its tokens are no grid any more."""
    if vis.grid is None:
        raise ValueError("a grid pool needs tokens in a grid: put it before selections and merges")
    return vis.grid


def as_maps(vis: Vis) -> Tensor:
    """[n, rows * columns, C] to [n, C, rows, columns]."""
    rows, columns = gridded(vis)
    return vis.x.transpose(1, 2).reshape(vis.groups, -1, rows, columns)


def regridded(vis: Vis, maps: Tensor) -> Vis:
    """The same frames with other maps [n, C, rows, columns]."""
    grid = (int(maps.shape[2]), int(maps.shape[3]))
    tokens = grid[0] * grid[1]
    return Vis(
        x=maps.flatten(2).transpose(1, 2),
        place=laid(grid, vis.groups, maps.device, vis.crop),
        frame=vis.frame[:, :1].expand(-1, tokens),
        time=vis.time[:, :1].expand(-1, tokens),
        sample=vis.sample,
        grid=grid,
        size=(vis.sizes().sum(1, keepdim=True) / tokens).expand(-1, tokens),
        cls=vis.cls,
        classes=vis.classes,
        other=vis.other,
        crop=vis.crop,
    )
