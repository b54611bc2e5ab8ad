"""One tower over a finer square in two ways, crops and strides, and what each way asks of the other (INF-LLaVA)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelmill.training.documents import Pack
from reelmill.training.reducers.pool import as_maps, gridded, regridded
from reelmill.training.second import Beside, sized
from reelmill.training.towers import HFTower
from reelmill.training.values import Vis

_CROPS, _STRIDES = (0, 2, 4, 3, 5, 1), (0, 3, 5, 2, 4, 1)
"""Axes of a divided map, as (frame, part's row, part's column, row, column, channel)."""


def parted(maps: Tensor, k: int, *, strides: bool = False) -> Tensor:
    """[n, C, k r, k c] to [n, k, k, r, c, C]: k x k crops, or k x k parts of every k-th row and column."""
    n, channels, rows, columns = maps.shape
    r, c = rows // k, columns // k
    shape = (n, channels, r, k, c, k) if strides else (n, channels, k, r, k, c)
    return maps.reshape(shape).permute(_STRIDES if strides else _CROPS)


def whole(parts: Tensor, *, strides: bool = False) -> Tensor:
    """Parts back to their map."""
    n, k, _, r, c, channels = parts.shape
    axes = _STRIDES if strides else _CROPS
    back = [axes.index(i) for i in range(len(axes))]
    return parts.permute(back).reshape(n, channels, k * r, k * c)


class Crossed(Beside):
    """A tower that also sees a square `k` times finer each way, once as crops and once as pictures of every k-th pixel:
    two more views of k times its grid, in 2 k² + 1 passes."""

    def __init__(self, tower: HFTower, k: int) -> None:
        super().__init__(tower)
        self.k = k

    def forward(self, pack: Pack) -> Vis:
        """Tokens of every frame; `other` are the map of crops and that of strides."""
        px = self.tower.image_px
        fine = sized(pack, self.k * px).pixels
        vis: Vis = self.tower(sized(pack, px))
        views = [regridded(vis, self._map(pack, vis, fine, strides=strides)) for strides in (False, True)]
        return replace(vis, other=tuple(views))

    def _map(self, pack: Pack, vis: Vis, fine: Tensor, *, strides: bool) -> Tensor:
        """One map of all parts; each is seen frame by frame, as the frames themselves are."""
        parts = parted(fine, self.k, strides=strides)
        seen = [
            as_maps(self.tower(replace(pack, pixels=parts[:, a, b].permute(0, 3, 1, 2)))).permute(0, 2, 3, 1)
            for a in range(self.k)
            for b in range(self.k)
        ]
        return whole(torch.stack(seen, 1).unflatten(1, (self.k, self.k)), strides=strides)


class Dual(nn.Module):
    """The map of strides asks that of crops within each crop, the map of crops asks that of strides within each stride,
    by one shared cross-attention. Both answers go through a bottleneck to half the width, side by side and added to the
    mean of the maps (ours: what the sum goes with was not told), normed, brought to the coarse grid, and averaged with
    the tower's own tokens."""

    def __init__(self, width: int, k: int) -> None:
        super().__init__()
        self.k = k
        self.norm_q, self.norm_kv = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.halves = nn.ModuleList(_bottleneck(width) for _ in range(2))
        self.norm = nn.LayerNorm(width)

    def forward(self, views: Sequence[Vis]) -> Vis:
        """The tower's own view, that of crops and that of strides."""
        own, crops, strides = views
        local, spread = as_maps(crops), as_maps(strides)
        answers = self.asked(spread, local, strides=False), self.asked(local, spread, strides=True)
        halves = [half(a.permute(0, 2, 3, 1)) for half, a in zip(self.halves, answers, strict=True)]
        fused = self.norm(torch.cat(halves, -1) + ((local + spread) / 2).permute(0, 2, 3, 1))
        coarse = F.interpolate(fused.permute(0, 3, 1, 2), size=gridded(own), mode="bilinear", antialias=True)
        return own.with_x((own.x + coarse.flatten(2).transpose(1, 2)) / 2)

    def asked(self, query: Tensor, key: Tensor, *, strides: bool) -> Tensor:
        """What a map reads of another in the same part, [n, C, k r, k c]."""
        asks, told = (parted(maps, self.k, strides=strides) for maps in (query, key))
        q = self.q(self.norm_q(asks)).flatten(3, 4)
        k, v = self.kv(self.norm_kv(told)).flatten(3, 4).chunk(2, -1)
        read = self.out(F.scaled_dot_product_attention(q, k, v)).view(asks.shape)
        return whole(read, strides=strides)


def _bottleneck(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width // 2))
