"""Towers weighed against one another, video by video (MERV)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reelmill.training.reducers.combine import Grid, Stage
from reelmill.training.values import Vis


class Weigh(nn.Module):
    """Each view through a stage of its own, to the same tokens; then their weighted sum (MERV, arXiv 2501.01426).

    The weights are a softmax over the views: a learned query against each one's mean token, per video.
    """

    def __init__(self, width: int, *stages: Stage) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.query, self.key = nn.Parameter(torch.randn(width) * width**-0.5), nn.Linear(width, width)

    def forward(self, views: Sequence[Vis]) -> Vis:
        """Views to [n, L, D] each, and their sum."""
        seen = [stage(view) for stage, view in zip(self.stages, views, strict=True)]
        share = self.shares(seen).unsqueeze(-1).unsqueeze(-1)
        first: Vis = seen[0]
        return first.with_x(torch.stack([share[:, i] * view.x for i, view in enumerate(seen)]).sum(0))

    def shares(self, seen: Sequence[Vis]) -> Tensor:
        """[n, views]: the weight of each view in the video that a group is of; they sum to 1."""
        sample = seen[0].sample
        means = torch.stack([_mean(view.x.mean(1), sample) for view in seen], 1)
        fit = self.key(means) @ self.query * self.query.shape[0] ** -0.5
        return fit.softmax(1)[sample]

    def shape(self, frames: int, grid: Grid) -> tuple[int, Grid]:
        """That of the first view."""
        first: Stage = self.stages[0]
        return first.shape(frames, grid)


def _mean(x: Tensor, sample: Tensor) -> Tensor:
    """Means [samples, C] over the groups of each; zeros for one without any."""
    counts = torch.bincount(sample)
    return x.new_zeros(len(counts), x.shape[1]).index_add(0, sample, x) / counts.clamp(min=1).unsqueeze(1)
