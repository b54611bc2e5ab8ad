"""Drops visual tokens at a layer, by a score of each document's own (FastV, arXiv 2403.06764)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reelmill.training.share import rounded_up
from reelmill.training.values import Seq


@dataclass
class Drop:
    """Keeps the `keep` share of each document's visual tokens before layer `layer`, by what they get in the one before.

    `of="last"` scores by the prompt's last token, as the released code does; "all" by the mean over all words, as the
    paper says. Kept tokens keep their positions. A layer behind the last one drops nothing.
    """

    layer: int
    keep: float
    of: str = "last"
    at: tuple[int, ...] = field(init=False)
    scored: Mapping[int, str] = field(init=False)

    def __post_init__(self) -> None:
        self.at, self.scored = (self.layer,), {self.layer - 1: self.of}

    def __call__(self, layer: int, seq: Seq, scores: Mapping[int, Tensor]) -> Seq:
        """Raises KeyError where no layer was scored: there is none before the first."""
        return seq.keep(best(seq, scores[layer - 1], self.keep))


def best(seq: Seq, score: Tensor, keep: float, of: Tensor | None = None) -> Tensor:
    """int64 [S'], rising: all words, and the `keep` share (rounded up) of visual tokens, best first, of each document
    or of each group: `of` int64 [S] numbers them."""
    visual = seq.visual.nonzero().squeeze(1)
    group = (seq.doc if of is None else of)[visual]
    order = score[visual].argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    counts = torch.bincount(group, minlength=1)
    rank = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[group[order]]
    wanted = torch.tensor([rounded_up(keep, n) for n in counts.tolist()], device=order.device)
    kept = visual[order[rank < wanted[group[order]]]]
    return torch.cat([(~seq.visual).nonzero().squeeze(1), kept]).sort().values
