"""What joins reducers: one after another, side by side, a choice, one for each segment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from reelmill.training.values import Text, Vis

Grid = tuple[int, int]


class Stage(nn.Module):
    """What every reducer is: a module that says how many tokens it gives. By itself it passes all through."""

    def __call__(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        out: Vis = super().__call__(vis, text, budget)
        return out

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """Same tokens."""
        return vis

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        """Groups of a sample of so many frames, and the grid of each; (1, k) where k tokens are no grid."""
        return frames, grid

    def count(self, frames: int, grid: Grid, budget: int | None = None, tiles: Grid | None = None) -> int:
        """Tokens of a sample of so many frames, or of a picture and its `tiles`."""
        groups, (rows, columns) = self.shape(frames, grid, budget)
        return groups * rows * columns


class Project(Stage):
    """LLaVA-1.5's projector: two linear layers with GELU between, C to D (arXiv 2310.03744)."""

    def __init__(self, width: int, out: int, hidden: int | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden or out), nn.GELU(), nn.Linear(hidden or out, out))

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """[n, L, C] to [n, L, D]."""
        return vis.with_x(self.layers(vis.x))


class Apply(Stage):
    """Any module on the features alone, as a projector that a checkpoint brings."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        return vis.with_x(self.module(vis.x))


class Chain(Stage):
    """One after another. A budget goes to each stage that can be asked for one."""

    def __init__(self, *stages: Stage) -> None:
        super().__init__()
        self.stages: Any = nn.ModuleList(stages)

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        for stage in self.stages:
            vis = stage(vis, text, budget)
        return vis

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        for stage in self.stages:
            frames, grid = stage.shape(frames, grid, budget)
        return frames, grid

    def count(self, frames: int, grid: Grid, budget: int | None = None, tiles: Grid | None = None) -> int:
        *first, last = self.stages
        for stage in first:
            frames, grid = stage.shape(frames, grid, budget)
        return int(last.count(frames, grid, budget, tiles))


class Branch(Stage):
    """Side by side: tokens of each branch, one branch after the other, for each sample."""

    def __init__(self, *branches: Stage) -> None:
        super().__init__()
        self.branches: Any = nn.ModuleList(branches)

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        return joined([by_sample(branch(vis, text, budget)) for branch in self.branches])

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return 1, (1, sum(branch.count(frames, grid, budget) for branch in self.branches))


class Select(Stage):
    """Some frames of every sample: `choose(frames)` gives their numbers."""

    def __init__(self, choose: Callable[[int], Sequence[int]]) -> None:
        super().__init__()
        self.choose = choose

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        counts = torch.bincount(vis.sample).tolist()
        starts = [0, *torch.tensor(counts).cumsum(0).tolist()]
        kept = [starts[i] + j for i, n in enumerate(counts) if n for j in self.choose(n)]
        return groups(vis, torch.tensor(kept, device=vis.x.device))

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return len(self.choose(frames)), grid


def evenly(wanted: int) -> Callable[[int], Sequence[int]]:
    """Chooses `wanted` frames from the first to the last at even steps; all where there are fewer."""
    return lambda frames: torch.linspace(0, frames - 1, min(wanted, frames)).long().tolist()


class Route(Stage):
    """One of several reducers for each sample: `logits` [samples, k] of a router, the largest is taken.

    Training multiplies by (1 + p - p.detach()), so that the router learns from what was chosen.
    """

    def __init__(self, router: nn.Module, *branches: Stage) -> None:
        super().__init__()
        self.router = router
        self.branches: Any = nn.ModuleList(branches)

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """`budget` is the number of a branch that all samples take, in place of the router's choice.

        `logits` has a row for each sample that has tokens; documents without media have none.
        """
        if budget is not None:
            out: Vis = self.branches[budget](vis, text, None)
            return out
        share = self.router(vis, text).softmax(-1)
        chosen = share.argmax(-1)
        views = [by_sample(branch(vis, text, None)) for branch in self.branches]
        whole = joined(views)
        of = torch.cat([torch.full((v.tokens,), k, device=chosen.device) for k, v in enumerate(views)])
        picked = share.gather(1, chosen.unsqueeze(1)).unsqueeze(2)
        mask = (of.unsqueeze(0) == chosen.unsqueeze(1)) & valid(whole)
        return replace(whole, x=whole.x * (1 + picked - picked.detach()), mask=mask)

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        """The largest of the branches, as the router decides later."""
        asked = self.branches if budget is None else [self.branches[budget]]
        return 1, (1, max(branch.count(frames, grid) for branch in asked))


def valid(vis: Vis) -> Tensor:
    """bool [n, L]: tokens that count."""
    if vis.mask is not None:
        return vis.mask
    return torch.ones(vis.x.shape[:2], dtype=torch.bool, device=vis.x.device)


def groups(vis: Vis, kept: Tensor) -> Vis:
    """Some groups of all, in that order."""

    def of(t: Tensor | None) -> Tensor | None:
        return None if t is None else t[kept]

    return replace(
        vis,
        x=vis.x[kept],
        place=vis.place[kept],
        frame=vis.frame[kept],
        time=vis.time[kept],
        sample=vis.sample[kept],
        mask=of(vis.mask),
        size=of(vis.size),
        cls=of(vis.cls),
        scores={layer: s[kept] for layer, s in vis.scores.items()},
        levels={layer: x[kept] for layer, x in vis.levels.items()},
        classes={layer: x[kept] for layer, x in vis.classes.items()},
        crop=of(vis.crop),
    )


def by_sample(vis: Vis) -> Vis:
    """One group a sample, its frames' tokens in order; shorter ones are masked behind their end."""
    counts = torch.bincount(vis.sample)
    present = counts.nonzero().squeeze(1)
    longest = int(counts.max())
    starts = counts.cumsum(0) - counts
    slot = torch.arange(longest, device=counts.device)
    real = slot.unsqueeze(0) < counts[present].unsqueeze(1)
    at = (starts[present].unsqueeze(1) + slot).clamp(max=vis.groups - 1)

    def of(t: Tensor) -> Tensor:
        return t[at].flatten(1, 2)

    keeps = valid(vis)[at] & real.unsqueeze(2)
    whole = bool(real.all()) and vis.mask is None
    return Vis(
        x=of(vis.x),
        place=of(vis.place),
        frame=of(vis.frame),
        time=of(vis.time),
        sample=present,
        mask=None if whole else keeps.flatten(1),
        size=None if vis.size is None else of(vis.size),
        scores={layer: of(s) for layer, s in vis.scores.items()},
    )


def joined(views: Sequence[Vis]) -> Vis:
    """Views of the same groups, tokens of the first, then of the second ..."""
    masked = any(v.mask is not None for v in views)
    sized = any(v.size is not None for v in views)
    return Vis(
        x=torch.cat([v.x for v in views], 1),
        place=torch.cat([v.place for v in views], 1),
        frame=torch.cat([v.frame for v in views], 1),
        time=torch.cat([v.time for v in views], 1),
        sample=views[0].sample,
        mask=torch.cat([valid(v) for v in views], 1) if masked else None,
        size=torch.cat([v.sizes() for v in views], 1) if sized else None,
    )
