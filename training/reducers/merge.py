"""Joins tokens that are alike: bipartite matching (ToMe), density peaks (DPC-kNN), and still stretches of a video.

Every token carries how many patches it stands for, and a joined one is their mean by that: nothing is lost from the
mean of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from reelmill.training.reducers.combine import Grid, Stage, by_sample, valid
from reelmill.training.values import Text, Vis


class Tome(Stage):
    """Token merging (Bolya et al., arXiv 2210.09461) in each group: every second token may join the token of the other
    half that it is most like, the `steps[i]` most alike do in step i."""

    def __init__(self, steps: Sequence[int]) -> None:
        super().__init__()
        self.steps = tuple(steps)

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """[n, L, C] to [n, L - sum(steps), C]. Raises ValueError for a step that joins more than half."""
        for r in self.steps:
            vis = _matched(vis, r)
        return vis

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        left = grid[0] * grid[1] - sum(self.steps)
        return frames, (1, left) if self.steps else grid


def _matched(vis: Vis, r: int) -> Vis:
    """One step of bipartite soft matching."""
    if r == 0:
        return vis
    if 2 * r > vis.tokens:
        raise ValueError(f"{r} of {vis.tokens} tokens cannot join others: at most half of them can")
    like = F.normalize(vis.x, dim=-1)
    even = torch.arange(0, vis.tokens, 2, device=vis.x.device)
    odd = torch.arange(1, vis.tokens, 2, device=vis.x.device)
    near, partner = (like[:, even] @ like[:, odd].mT).max(-1)
    order = near.argsort(dim=1, descending=True, stable=True)
    going, staying = even[order[:, :r]], even[order[:, r:].sort(1).values]
    into = odd[partner.gather(1, order[:, :r])]
    kept = torch.cat([staying, odd.expand(vis.groups, -1)], 1).sort(1).values
    place = torch.zeros(vis.groups, vis.tokens, dtype=torch.long, device=vis.x.device)
    place.scatter_(1, kept, torch.arange(kept.shape[1], device=kept.device).expand_as(kept))
    place.scatter_(1, going, place.gather(1, into))
    return assigned(vis, place, kept)


def assigned(vis: Vis, place: Tensor, kept: Tensor) -> Vis:
    """Joins tokens by size: `place` int64 [n, L] says which of the k new tokens each goes into, `kept` [n, k] whose
    place and time the new ones have."""
    size = vis.sizes() * valid(vis)
    total = torch.zeros(kept.shape, dtype=size.dtype, device=size.device).scatter_add_(1, place, size)
    zeros = torch.zeros(*kept.shape, vis.x.shape[-1], dtype=vis.x.dtype, device=vis.x.device)
    x = zeros.scatter_add(1, place.unsqueeze(-1).expand_as(vis.x), vis.x * size.unsqueeze(-1).to(vis.x.dtype))
    mean = x / total.clamp(min=1e-9).unsqueeze(-1).to(x.dtype)
    return replace(vis.take(kept), x=mean, size=total, mask=None if vis.mask is None else total > 0)


class PerSegment(Stage):
    """A reducer on stretches of `frames` frames, each one group of all its tokens; the last may be shorter."""

    def __init__(self, frames: int, inner: Stage) -> None:
        super().__init__()
        self.frames, self.inner = frames, inner

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """Raises ValueError for a video that stretches do not tile."""
        n = self.frames
        starts = torch.bincount(vis.sample)
        if bool((starts % n).any()):
            raise ValueError(f"every sample needs a multiple of {n} frames")
        cut = replace(vis, sample=torch.arange(vis.groups, device=vis.sample.device) // n)
        whole = self.inner(by_sample(cut), text, budget)
        return replace(whole, sample=vis.sample[::n])

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        """Raises ValueError for a video that stretches do not tile."""
        if frames % self.frames:
            raise ValueError(f"every sample needs a multiple of {self.frames} frames, not {frames}")
        _, left = self.inner.shape(1, (1, self.frames * grid[0] * grid[1]), budget)
        return frames // self.frames, left


def density_peaks(x: Tensor, keep: int, k: int = 7) -> tuple[Tensor, Tensor]:
    """Centres int64 [keep], rising, and the centre of each token int64 [L], of [L, C] (DPC-kNN, Du et al. 2016).

    Density is exp of minus the mean squared distance to the `k` nearest; a centre is dense and far from any denser one.
    Ties go to the earlier token.
    """
    far = torch.cdist(x.float(), x.float()) / x.shape[1] ** 0.5
    near = far.topk(min(k, len(x)), largest=False).values
    density = (-near.square().mean(1)).exp()
    density = density - torch.arange(len(x), device=x.device) * 1e-7
    denser = density.unsqueeze(0) > density.unsqueeze(1)
    reach = torch.where(denser, far, far.max()).min(1).values
    centres = (density * reach).topk(keep).indices.sort().values
    nearest = far[:, centres].argmin(1)
    nearest[centres] = torch.arange(keep, device=x.device)
    return centres, nearest


def still_stretches(alike: Tensor, threshold: float) -> list[tuple[int, int]]:
    """Cuts T frames into stretches [start, end) so that most tokens are saved (HoliTom, arXiv 2505.21334).

    `alike` [T - 1, N] compares each place with the next frame's. A place is still in a stretch where all of its
    similarities lie above the threshold; a stretch of n frames saves n - 1 tokens for each still place. Dynamic
    programming over ends; among equals the shorter last stretch wins.
    """
    frames = len(alike) + 1
    best, cut = [0] * (frames + 1), [0] * (frames + 1)
    for end in range(1, frames + 1):
        still = torch.ones(alike.shape[1], dtype=torch.bool, device=alike.device)
        best[end] = -1
        for start in range(end - 1, -1, -1):
            if start + 1 < end:
                still = still & (alike[start] > threshold)
            saved = best[start] + int(still.sum()) * (end - start - 1)
            if saved > best[end]:
                best[end], cut[end] = saved, start
    found, end = [], frames
    while end:
        found.append((cut[end], end))
        end = cut[end]
    return found[::-1]
