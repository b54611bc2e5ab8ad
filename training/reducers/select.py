"""Keeps the tokens that score highest: nothing is learned, kept ones stay as and where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from reelmill.training.reducers.combine import Grid, Stage, by_sample, valid
from reelmill.training.share import rounded_up
from reelmill.training.values import Text, Vis

Score = Callable[[Vis], Tensor]
"""[n, L], larger is kept sooner."""


def from_class(layer: int) -> Score:
    """The tower's attention from its class token in a layer (FasterVLM, arXiv 2412.01818; HiRED, arXiv 2408.10945)."""

    def score(vis: Vis) -> Tensor:
        if layer not in vis.scores:
            raise ValueError(f"the tower gives no attention of layer {layer}: it has {sorted(vis.scores)}")
        return vis.scores[layer]

    return score


def changed(vis: Vis) -> Tensor:
    """1 - cosine to the same patch of the frame before; a sample's first frame is all new (EVS in transformers)."""
    before = torch.cat([vis.x[:1], vis.x[:-1]])
    new = 1 - F.cosine_similarity(vis.x, before, dim=-1)
    first = torch.cat([vis.sample.new_tensor([True], dtype=torch.bool), vis.sample[1:] != vis.sample[:-1]])
    return torch.where(first.unsqueeze(1), torch.inf, new)


class TopK(Stage):
    """The `keep` share of each group's tokens that score highest, in their order. A budget asks for a number."""

    def __init__(self, score: Score, keep: float) -> None:
        super().__init__()
        self.score, self.keep = score, keep

    def _kept(self, tokens: int, budget: int | None) -> int:
        return min(tokens, budget or max(1, rounded_up(self.keep, tokens)))

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        kept = self._kept(vis.tokens, budget)
        if kept == vis.tokens:
            return vis
        score = self.score(vis)
        if vis.mask is not None:
            score = score.masked_fill(~vis.mask, -torch.inf)
        return vis.take(score.topk(kept, dim=1).indices.sort(1).values)

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        tokens = grid[0] * grid[1]
        kept = self._kept(tokens, budget)
        return frames, grid if kept == tokens else (1, kept)


class Changed(Stage):
    """The first frame whole and, of all later tokens of a sample, those that changed most: the `keep` share in all."""

    def __init__(self, keep: float) -> None:
        super().__init__()
        self.keep = keep

    def _kept(self, frames: int, tokens: int) -> int:
        return max(tokens, round(self.keep * frames * tokens))

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """One group a sample; shorter ones are masked."""
        whole, score = by_sample(vis), by_sample(replace(vis, scores={0: changed(vis)})).scores[0]
        frames = torch.bincount(vis.sample)
        wanted = torch.tensor([self._kept(n, vis.tokens) for n in frames[frames > 0].tolist()], device=score.device)
        return best_of(whole, score.masked_fill(~valid(whole), -torch.inf), wanted)

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return 1, (1, self._kept(frames, grid[0] * grid[1]))


def best_of(vis: Vis, score: Tensor, wanted: Tensor) -> Vis:
    """The `wanted` int64 [n] best tokens of each group, in their order; groups with fewer than others are masked."""
    order = score.argsort(dim=1, descending=True, stable=True)[:, : max(1, int(wanted.max()))]
    short = torch.arange(order.shape[1], device=order.device) >= wanted.unsqueeze(1)
    at, back = order.masked_fill(short, vis.tokens).sort(1)
    out = replace(vis, mask=None).take(at.clamp(max=vis.tokens - 1))
    return replace(out, mask=~short.gather(1, back) if bool(short.any()) else None)


def shares(weights: Tensor, total: int, most: int) -> Tensor:
    """Whole numbers in proportion to `weights` [k], none over `most`, that sum to `total` (largest remainders).

    Raises ValueError where the total does not fit.
    """
    if total > most * len(weights):
        raise ValueError(f"{total} tokens do not fit into {len(weights)} groups of {most}")
    given = torch.zeros(len(weights), dtype=torch.long, device=weights.device)
    left = total
    while left > 0:
        room = (most - given).clamp(min=0)
        open_weights = torch.where(room > 0, weights.double().clamp(min=1e-12), 0.0)
        exact = open_weights / open_weights.sum() * left
        whole = torch.minimum(exact.floor().long(), room)
        if int(whole.sum()) == 0:
            best = torch.where(room > 0, exact - exact.floor(), -1.0).topk(min(left, int((room > 0).sum()))).indices
            whole[best] = 1
        given, left = given + whole, left - int(whole.sum())
    return given
