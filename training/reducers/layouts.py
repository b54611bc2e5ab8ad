"""How image-text models of transformers bring patches to their words, so that their own checkpoints can be trained.

Each is held to the model's own forward pass (tests/training/test_backbones.py).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from reelmill.training.reducers.combine import Grid, Stage, by_sample
from reelmill.training.towers import laid
from reelmill.training.values import Text, Vis


class Film(Stage):
    """LLaVA-OneVision's way with a video (Li et al., arXiv 2408.03326): each frame is projected and halved each way by
    bilinear interpolation; one learned token stands behind the last frame."""

    def __init__(self, project: nn.Module, newline: nn.Parameter) -> None:
        super().__init__()
        self.project, self.newline = project, newline

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """[n, L, C] to one group a sample. Raises ValueError for tokens that are no grid."""
        if vis.grid is None:
            raise ValueError("a film is halved while its tokens stand in a grid")
        film = by_sample(_regridded(vis, _halved(self.project(vis.x), vis.grid), _half(vis.grid)))
        return _with_end(film, self.newline)

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        rows, columns = _half(grid)
        return 1, (1, frames * rows * columns + 1)


def _half(grid: Grid) -> Grid:
    return math.ceil(grid[0] / 2), math.ceil(grid[1] / 2)


def _halved(x: Tensor, grid: Grid) -> Tensor:
    picture = x.transpose(1, 2).unflatten(2, grid)
    return interpolate(picture, size=_half(grid), mode="bilinear").flatten(2).transpose(1, 2)


def _regridded(vis: Vis, x: Tensor, grid: Grid) -> Vis:
    """Other features on another grid over the same frames."""
    cells = x.shape[1]
    return Vis(
        x=x,
        place=laid(grid, len(x), x.device, vis.crop),
        frame=vis.frame[:, :1].expand(-1, cells),
        time=vis.time[:, :1].expand(-1, cells),
        sample=vis.sample,
        grid=grid,
        crop=vis.crop,
    )


def _with_end(vis: Vis, end: Tensor) -> Vis:
    """One more token behind each group, at the place of its last frame."""

    def longer(t: Tensor, last: Tensor) -> Tensor:
        return torch.cat([t, last], 1)

    one = torch.ones(vis.groups, 1, dtype=torch.bool, device=vis.x.device)
    return replace(
        vis,
        x=longer(vis.x, end.to(vis.x.dtype).expand(vis.groups, 1, -1)),
        place=longer(vis.place, vis.place[:, -1:]),
        frame=longer(vis.frame, vis.frame.amax(1, keepdim=True)),
        time=longer(vis.time, vis.time.amax(1, keepdim=True)),
        mask=None if vis.mask is None else longer(vis.mask, one),
        grid=None,
    )


class Shuffled(Stage):
    """Idefics3's connector (Laurencon et al., arXiv 2408.12637): `scale` x `scale` patches side by side become one
    token, and one linear layer follows."""

    def __init__(self, connector: nn.Module, scale: int) -> None:
        super().__init__()
        self.connector: Any = connector
        self.scale = scale

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """[n, L, C] to [n, L / scale^2, D]. Raises ValueError for tokens that are no grid."""
        if vis.grid is None:
            raise ValueError("patches are put side by side while they stand in a grid")
        return _regridded(vis, self.connector(vis.x), self._fewer(vis.grid))

    def _fewer(self, grid: Grid) -> Grid:
        return grid[0] // self.scale, grid[1] // self.scale

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return frames, self._fewer(grid)
