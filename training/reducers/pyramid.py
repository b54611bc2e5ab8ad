"""Few tokens for a whole picture: maps of growing size, each read by one kernel; and class tokens of layers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from reelmill.training.reducers.combine import Grid, Stage
from reelmill.training.reducers.pool import as_maps
from reelmill.training.reducers.query import grouped
from reelmill.training.values import Text, Vis


class Pyramid(Stage):
    """One token a size: the grid pooled to each of `sides`, then a convolution as large as the map (LLaVA-SP)."""

    def __init__(self, width: int, out: int, sides: tuple[int, ...], channels: int = 512) -> None:
        super().__init__()
        self.sides = sides
        self.kernels = nn.ModuleList(nn.Conv2d(width, channels, side) for side in sides)
        self.out = nn.Sequential(nn.GELU(), nn.Linear(channels, out))

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """[n, rows * columns, C] to [n, sizes, out]."""
        maps = as_maps(vis)
        parts = [
            kernel(F.adaptive_avg_pool2d(maps, side)) for side, kernel in zip(self.sides, self.kernels, strict=True)
        ]
        tokens = torch.cat([p.flatten(2) for p in parts], 2).transpose(1, 2)
        return grouped(vis, self.out(tokens), tokens.new_full((len(self.sides), 2), 0.5))

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return frames, (1, len(self.sides))


class Classes(Stage):
    """One token a layer: its class token, the mean over a sample's frames (LongVLM's global tokens)."""

    def __init__(self, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """Raises ValueError for a tower without class tokens of these layers."""
        missing = [layer for layer in self.layers if layer not in vis.classes]
        if missing:
            raise ValueError(f"the tower gives no class token of layers {missing}")
        samples, counts = torch.unique_consecutive(vis.sample, return_counts=True)
        at = torch.repeat_interleave(torch.arange(len(samples), device=counts.device), counts)
        stacked = torch.stack([vis.classes[layer] for layer in self.layers], 1)
        mean = torch.zeros(len(samples), *stacked.shape[1:], dtype=stacked.dtype, device=stacked.device)
        mean = mean.index_add(0, at, stacked) / counts.view(-1, 1, 1)
        first = counts.cumsum(0) - counts
        return Vis(
            mean,
            mean.new_full((len(samples), len(self.layers), 2), 0.5),
            vis.frame[first, :1].expand(-1, len(self.layers)),
            vis.time[first, :1].expand(-1, len(self.layers)),
            samples,
        )

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return 1, (1, len(self.layers))
