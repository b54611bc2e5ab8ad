"""Learned queries that read the patches by cross-attention."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelmill.training.reducers.combine import Grid, Stage, by_sample, valid
from reelmill.training.towers import within
from reelmill.training.values import Text, Vis

Keys = Literal["content", "position"]


class Query(Stage):
    """`queries` learned tokens, each reading a group's patches in one layer of cross-attention.

    `keys="position"` makes keys of the places alone, so that each query is a learned fixed pooling (as MQT's released
    code does); "content" makes them of features and places. Queries do not see one another: the first m of them alone,
    which a budget asks for, are what they would be among all.
    """

    def __init__(
        self, width: int, queries: int, *, heads: int = 8, out: int | None = None, keys: Keys = "content"
    ) -> None:
        super().__init__()
        self.heads, self.keys, self.queries = heads, keys, queries
        side = math.isqrt(queries - 1) + 1
        at = torch.arange(queries)
        place = torch.stack([(at // side + 0.5) / side, (at % side + 0.5) / side], 1)
        self.register_buffer("place", place, persistent=False)
        self.query = nn.Parameter(torch.randn(queries, width) * width**-0.5)
        self.norm_q, self.norm_kv = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, out or width)

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """[n, L, C] to [n, m, out]."""
        return self._read(vis, None if vis.mask is None else vis.mask.unsqueeze(1), self._asked(budget))

    def _read(self, vis: Vis, sees: Tensor | None, m: int) -> Vis:
        """What the first m queries read; `sees` bool [n, m or 1, L], None for all."""
        width, place = vis.x.shape[-1], self.get_buffer("place")[:m]
        code, seen = sincos(vis.place, width), self.norm_kv(vis.x)
        q = self._split(self.q(self.norm_q(self.query[:m]) + sincos(place, width)).expand(vis.groups, -1, -1))
        k = self._split(self.k(code if self.keys == "position" else seen + code))
        mask = None if sees is None else sees.unsqueeze(1)
        read = F.scaled_dot_product_attention(q, k, self._split(self.v(seen)), attn_mask=mask)
        return grouped(vis, self.out(read.transpose(1, 2).flatten(2)), place)

    def _asked(self, budget: int | None) -> int:
        """Raises ValueError for more queries than there are."""
        if budget is not None and not 0 < budget <= self.queries:
            raise ValueError(f"{self.queries} queries cannot give {budget} tokens")
        return budget or self.queries

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return frames, (1, self._asked(budget))


class VideoQuery(Query):
    """Queries that read a whole video. `causal` lets group g of `parts` see frames up to its share of the video alone
    (the causal cross-attention mask of Video-CCAM, arXiv 2408.14023)."""

    def __init__(
        self, width: int, queries: int, *, parts: int = 1, causal: bool = False, heads: int = 8, out: int | None = None
    ) -> None:
        super().__init__(width, queries, heads=heads, out=out)
        self.parts, self.causal = parts, causal

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        whole = by_sample(vis)
        if not self.causal:
            return super().forward(whole, text, budget)
        m = self._asked(budget)
        last = torch.where(valid(whole), whole.frame, 0).amax(1, keepdim=True) + 1
        group = torch.arange(m, device=vis.x.device) * self.parts // m
        until = ((group + 1) * last / self.parts).ceil()
        sees = (whole.frame.unsqueeze(1) < until.unsqueeze(2)) & valid(whole).unsqueeze(1)
        return self._read(whole, sees, m)

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return 1, (1, self._asked(budget))


def grouped(vis: Vis, x: Tensor, place: Tensor) -> Vis:
    """Tokens [n, m, C] that each stand for a whole group; of its first frame and mean time."""
    n, m = x.shape[:2]
    counted = valid(vis).float()
    time_s = (vis.time * counted).sum(1, keepdim=True) / counted.sum(1, keepdim=True).clamp(min=1)
    return Vis(
        x=x,
        place=within(place.expand(n, -1, -1), vis.crop),
        frame=vis.frame[:, :1].expand(-1, m),
        time=time_s.expand(-1, m),
        sample=vis.sample,
        size=((vis.sizes() * counted).sum(1, keepdim=True) / m).expand(-1, m),
        cls=vis.cls,
        crop=vis.crop,
    )


def sincos(place: Tensor, width: int, longest: float = 10_000.0) -> Tensor:
    """2-D sine and cosine code of places [..., 2] in shares of the frame, to [..., width]: half rows, half columns.

    Places are scaled to 100 cells a side, so that neighbouring patches of common grids differ.
    """
    quarter = width // 4
    rate = longest ** (-torch.arange(quarter, device=place.device, dtype=torch.float32) / quarter)
    angle = (place.float() * 100).unsqueeze(-1) * rate
    code = torch.cat([angle.sin(), angle.cos()], -1).flatten(-2)
    return F.pad(code, (0, width - code.shape[-1]))
