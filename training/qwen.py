"""The vision tower of Qwen2-VL (arXiv 2409.12191) and Qwen2.5-VL (arXiv 2502.13923), and the way from it to words.

A cell is 2 x 2 patches side by side, of one picture (shown twice) or of two frames of a film. The tower gives cells as
they come out of its last layer; the merger, which makes a word's embedding of each, is the projector behind it. So a
reducer may stand before or behind it, as with any other projector.
"""

from __future__ import annotations

from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from reelmill.training.documents import Pack
from reelmill.training.mrope import Axes
from reelmill.training.reducers.combine import Project
from reelmill.training.towers import frames_of
from reelmill.training.values import Vis


class Cells(nn.Module):
    """In the merger's place: the patches of each cell one behind the other, [N, C] to [N / k, k C]."""

    def __init__(self, patches: int) -> None:
        super().__init__()
        self.patches = patches

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, self.patches * x.shape[-1])


class Merger(nn.Module):
    """A checkpoint's merger on cells: [..., k C] to [..., D]."""

    def __init__(self, merger: nn.Module, patches: int) -> None:
        super().__init__()
        self.merger, self.patches = merger, patches

    def forward(self, cells: Tensor) -> Tensor:
        merged: Tensor = self.merger(cells.reshape(-1, cells.shape[-1] // self.patches))
        return merged.view(*cells.shape[:-1], -1)

    def lend(self, project: Project) -> None:
        """A projector from cells to words becomes a copy of the merger; one of other widths stays."""
        of, to = project.layers[0].in_features, project.layers[-1].out_features
        mlp: Any = self.merger.mlp
        if (of, to) == (mlp[0].in_features, mlp[-1].out_features):
            project.layers = nn.Sequential(deepcopy(self))


class QwenTower(nn.Module):
    """A checkpoint's own tower, without its merger, on squares of one size: `image_px` a side, which cells tile.

    Frames of a film go in twos, at the time of the first; the last of an odd number is shown twice, as a picture and
    each frame of a stream are. Windows of attention are the tower's own matter (Qwen2.5-VL).
    """

    def __init__(
        self, visual: Any, image_px: int, mean: tuple[float, float, float], std: tuple[float, float, float]
    ) -> None:
        super().__init__()
        config = visual.config
        self.patch, self.side = int(config.patch_size), int(config.spatial_merge_size)
        self.joins = int(config.temporal_patch_size)
        self.per_second = getattr(config, "tokens_per_second", None)
        self.image_px = image_px
        self.model: Any = copy(visual)  # the same modules; the merger stays where the checkpoint is written from
        self.model._modules = dict(visual._modules)
        self.model.merger = Cells(self.side**2)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def width(self) -> int:
        """Channels of a cell."""
        return int(self.model.patch_embed.embed_dim) * self.side**2

    @property
    def depth(self) -> int:
        """Its layers."""
        return len(self.model.blocks)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        cells = self.image_px // (self.patch * self.side)
        return cells, cells

    @property
    def axes(self) -> Axes:
        """How its tokens are placed in a row."""
        return Axes(self.grid, self.joins, self.per_second)

    def __call__(self, pack: Pack) -> Vis:
        vis: Vis = super().__call__(pack)
        return vis

    def forward(self, pack: Pack) -> Vis:
        """Cells of every picture and of every two frames of a film. Raises ValueError for frames of another size."""
        if pack.pixels.shape[2:] != (self.image_px, self.image_px):
            raise ValueError(f"frames of {tuple(pack.pixels.shape[2:])}, this tower sees squares of {self.image_px}")
        seen, of = self._joined(pack)
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        pixels = (pack.pixels.to(mean.dtype) / 255 - mean) / std
        rows, columns = (cells * self.side for cells in self.grid)
        grids = torch.tensor([[1, rows, columns]], device=pixels.device).expand(len(of), -1)
        cells = self.model(self._patches(pixels[of]), grid_thw=grids).pooler_output
        return frames_of(seen, cells.view(len(of), -1, self.width), self.grid)

    def _joined(self, pack: Pack) -> tuple[Pack, Tensor]:
        """A pack with one frame for those that are joined, and their numbers in this one, int64 [n, joins]."""
        film = pack.film[pack.sample]
        shown = torch.bincount(pack.sample, minlength=pack.documents)
        start = (shown.cumsum(0) - shown)[pack.sample]
        nth = torch.arange(len(film), device=film.device) - start
        first = (~film | (nth % self.joins == 0)).nonzero().squeeze(1)
        last = torch.where(film, start + shown[pack.sample] - 1, start + nth)[first]
        of = (first.unsqueeze(1) + torch.arange(self.joins, device=film.device)).minimum(last.unsqueeze(1))
        seen = replace(
            pack,
            sample=pack.sample[first],
            frame=torch.where(film, nth // self.joins, pack.frame)[first],
            time_s=pack.time_s[first],
            crop=None if pack.crop is None else pack.crop[first],
        )
        return seen, of

    def _patches(self, pixels: Tensor) -> Tensor:
        """[n, joins, 3, H, W] to [n * patches, 3 * joins * patch * patch], cell by cell, as its processor lays them."""
        cut = pixels.transpose(1, 2).unflatten(4, (-1, self.side, self.patch)).unflatten(3, (-1, self.side, self.patch))
        return cut.permute(0, 3, 6, 4, 7, 1, 2, 5, 8).reshape(-1, 3 * self.joins * self.patch**2)
