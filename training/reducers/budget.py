"""A budget of tokens shared out between the crops or frames of a sample by how much each is looked at (HiRED)."""

from __future__ import annotations

import torch

from reelmill.training.reducers.combine import Grid, Stage
from reelmill.training.reducers.select import best_of, from_class, shares
from reelmill.training.values import Text, Vis


class Shared(Stage):
    """Keeps the `keep` share of a sample's tokens: groups get theirs in proportion to the class token's attention to
    their patches in layer `first`, and keep the patches with most of it in layer `last` (HiRED, arXiv 2408.10945)."""

    def __init__(self, keep: float, first: int, last: int) -> None:
        super().__init__()
        self.keep, self.first, self.last = keep, first, last

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """A budget is tokens of the whole sample. Groups keep different numbers: the rest is masked."""
        if self.keep >= 1 and budget is None:
            return vis
        weight, score = from_class(self.first)(vis).sum(1), from_class(self.last)(vis)
        given = torch.zeros(vis.groups, dtype=torch.long, device=vis.x.device)
        for sample in torch.unique_consecutive(vis.sample):
            mine = vis.sample == sample
            total = budget or round(self.keep * int(mine.sum()) * vis.tokens)
            given[mine] = shares(weight[mine], total, vis.tokens)
        return best_of(vis, score, given)

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return 1, (1, budget or round(self.keep * frames * grid[0] * grid[1]))
