"""A second look at the whole video: some frames side by side in one picture, through the same tower."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelmill.training.documents import Pack
from reelmill.training.reducers.combine import Grid, Stage, by_sample, evenly
from reelmill.training.towers import HFTower
from reelmill.training.values import Text, Vis


class Mosaic(nn.Module):
    """A tower that also sees `rows` x `columns` frames of each video tiled in one picture: `Vis.other[0]`."""

    def __init__(self, tower: HFTower, rows: int, columns: int) -> None:
        super().__init__()
        self.tower, self.rows, self.columns = tower, rows, columns

    @property
    def width(self) -> int:
        return self.tower.width

    @property
    def grid(self) -> Grid:
        return self.tower.grid

    def forward(self, pack: Pack) -> Vis:
        """Tokens of every frame, and of one mosaic a sample."""
        samples = torch.unique_consecutive(pack.sample)
        pixels = torch.stack([self._tiled(pack.pixels[pack.sample == s]) for s in samples])
        none = torch.zeros_like(samples)
        whole = replace(pack, pixels=pixels, sample=samples, frame=none, time_s=none.float())
        return replace(self.tower(pack), other=(self.tower(whole),))

    def _tiled(self, frames: Tensor) -> Tensor:
        """[T, 3, H, W] to one picture [3, H, W]; a short video repeats its last frame."""
        wanted = self.rows * self.columns
        at = list(evenly(wanted)(len(frames)))
        at += at[-1:] * (wanted - len(at))
        rows = frames[at].unflatten(0, (self.rows, self.columns)).permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
        size = frames.shape[-2:]
        small = F.interpolate(rows.unsqueeze(0).float(), size=size, mode="bilinear", antialias=True)
        return small[0].round().clamp(0, 255).to(frames.dtype)


class Other(Stage):
    """The other view, in place of the first."""

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """Raises ValueError where the tower gives one view only."""
        if not vis.other:
            raise ValueError("the tower gives no second view")
        return vis.other[0]

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return 1, grid


class Sampled(Stage):
    """`tokens` of all tokens of a sample, at even steps from the first to the last."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        whole = by_sample(vis)
        counts = whole.counts()
        wanted = int(counts.max().clamp(max=self.tokens))
        step = torch.linspace(0, 1, wanted, device=vis.x.device, dtype=torch.float64)
        at = (step * (counts - 1).unsqueeze(1)).long()
        masked = whole if whole.mask is None else replace(whole, mask=torch.ones_like(whole.mask))
        return masked.take(at)

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return 1, (1, min(self.tokens, frames * grid[0] * grid[1]))
