"""A video's still places once for each stretch, its moving ones frame by frame (HoliTom, arXiv 2505.21334)."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional as F

from reelmill.training.reducers.combine import Grid, Stage, by_sample
from reelmill.training.reducers.merge import density_peaks, still_stretches
from reelmill.training.reducers.select import Score
from reelmill.training.share import exact, rounded_up
from reelmill.training.values import Text, Vis


class Still(Stage):
    """Keeps the `keep` share of a video's tokens, shared out after still ones were counted once a stretch.

    Places whose cosine to the next frame lies above `threshold` all through a stretch are averaged over it; these are
    then joined to their density peaks (`mix` of the peak, the rest the mean of those that join it). Of the moving
    places of each frame the best by `score` stay. The share r' of both is r / (1 - saved share), at most 1.
    """

    def __init__(
        self, score: Score, keep: float = 0.1, threshold: float = 0.65, *, mix: float = 0.6, k: int = 7
    ) -> None:
        super().__init__()
        self.score, self.keep, self.threshold, self.mix, self.k = score, keep, threshold, mix, k

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """[n, L, C] to one group a sample; shorter ones are masked."""
        if self.keep >= 1:
            return by_sample(vis)
        score = self.score(vis)
        parts = [self._sample(vis, score, int(s)) for s in torch.unique_consecutive(vis.sample)]
        longest = max(len(at) for at, _ in parts)
        whole = replace(by_sample(vis), mask=None)
        rows = [F.pad(at, (0, longest - len(at))) for at, _ in parts]
        mask = torch.stack([torch.arange(longest, device=vis.x.device) < len(at) for at, _ in parts])
        x = torch.stack([F.pad(x, (0, 0, 0, longest - len(x))) for _, x in parts])
        return replace(whole.take(torch.stack(rows)), x=x, mask=None if bool(mask.all()) else mask, size=None)

    def _sample(self, vis: Vis, score: Tensor, sample: int) -> tuple[Tensor, Tensor]:
        """Places of kept tokens in the sample's row of tokens, rising, and their features."""
        mine = (vis.sample == sample).nonzero().squeeze(1)
        x, tokens = vis.x[mine], vis.tokens
        alike = F.cosine_similarity(x[1:].float(), x[:-1].float(), dim=-1)
        stretches = still_stretches(alike, self.threshold)
        stills = [self._still(alike, start, end) for start, end in stretches]
        saved = sum(int(s.sum()) * (end - start - 1) for s, (start, end) in zip(stills, stretches, strict=True))
        all_tokens = x.shape[0] * tokens
        share = min(Fraction(1), exact(self.keep) * all_tokens / (all_tokens - saved))
        found: list[tuple[Tensor, Tensor]] = []
        for (start, end), still in zip(stretches, stills, strict=True):
            found.append(self._peaks(x[start:end].mean(0), still, share, start * tokens))
            for frame in range(start, end):
                found.append(self._moving(x[frame], score[mine[frame]], ~still, share, frame * tokens))
        at = torch.cat([a for a, _ in found])
        order = at.argsort()
        return at[order], torch.cat([f for _, f in found])[order]

    def _still(self, alike: Tensor, start: int, end: int) -> Tensor:
        """bool [N]: places that do not change in a stretch; none in one of a single frame."""
        if end - start < 2:
            return torch.zeros(alike.shape[1], dtype=torch.bool, device=alike.device)
        return (alike[start : end - 1] > self.threshold).all(0)

    def _peaks(self, mean: Tensor, still: Tensor, share: Fraction, offset: int) -> tuple[Tensor, Tensor]:
        at = still.nonzero().squeeze(1)
        kept = rounded_up(share, len(at))
        if not kept:
            return at, mean[at]
        centres, nearest = density_peaks(mean[at], kept, self.k)
        joined = torch.zeros_like(mean[at][centres]).index_add(0, nearest, mean[at])
        members = torch.bincount(nearest, minlength=kept).unsqueeze(1)
        mixed = self.mix * mean[at][centres] + (1 - self.mix) * joined / members
        return at[centres] + offset, mixed

    def _moving(self, x: Tensor, score: Tensor, moving: Tensor, share: Fraction, offset: int) -> tuple[Tensor, Tensor]:
        at = moving.nonzero().squeeze(1)
        kept = at[score[at].topk(rounded_up(share, len(at))).indices.sort().values]
        return kept + offset, x[kept]

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        """An upper bound: that of a video in which nothing is still."""
        return 1, (1, frames * rounded_up(min(1.0, self.keep), grid[0] * grid[1]))
