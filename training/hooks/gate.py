"""Learned keeping: a predictor says of every visual token whether it goes on (Dynamic-LLaVA, arXiv 2412.00876)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelmill.training.hooks.drop import best
from reelmill.training.objectives.lm import Auxiliary
from reelmill.training.values import Seq

_EPS = 1e-6


class Gate(Auxiliary):
    """Keeps about the `keep` share of visual tokens before layer `layer`.

    The predictor reads each token and, in half of its channels, the mean of its document's visual tokens. Training
    draws a hard mask (Gumbel softmax, straight through, temperature `tau`) that stays in the row as log(mask + eps) on
    attention, which is the paper's policy inside the softmax; `weight` * (keep - mean(mask))² is added to the loss.
    Answering drops all but the best. The paper's two encoder blocks in the predictor and its gate on answers of 50 and
    more tokens are left out.
    """

    def __init__(
        self, width: int, layer: int = 2, keep: float = 0.2, *, hidden: int = 512, weight: float = 100.0
    ) -> None:
        super().__init__()
        self.at, self.keep, self.weight, self.tau = (layer,), keep, weight, 1.0
        self.scored: Mapping[int, str] = {}
        self.enter = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU())
        self.decide = nn.Sequential(
            nn.Linear(hidden, hidden // 2),
            nn.GELU(),
            nn.Linear(hidden // 2, hidden // 4),
            nn.GELU(),
            nn.Linear(hidden // 4, 2),
        )

    def forward(self, layer: int, seq: Seq, scores: Mapping[int, Tensor]) -> Seq:
        """Nothing without visual tokens, as in the steps of an answer."""
        visual = seq.visual.nonzero().squeeze(1)
        if not len(visual):
            return seq
        logits = self.logits(seq.h[visual], seq.doc[visual])
        if not self.training:
            score = seq.h.new_full((seq.length,), -torch.inf).index_copy(
                0, visual, logits.log_softmax(-1)[:, 0].to(seq.h)
            )
            return seq.keep(best(seq, score, self.keep))
        mask = F.gumbel_softmax(logits, tau=self.tau, hard=True)[:, 0]
        self.aux = ("keeping", self.weight * (self.keep - mask.mean()) ** 2)
        return replace(seq, bias=torch.zeros_like(seq.h[:, 0]).index_copy(0, visual, (mask + _EPS).log().to(seq.h)))

    def logits(self, h: Tensor, doc: Tensor) -> Tensor:
        """[V, 2]: keep, drop."""
        x = self.enter(h.float())
        own, shared = x.chunk(2, -1)
        counts = torch.bincount(doc).clamp(min=1).unsqueeze(1)
        mean = shared.new_zeros(len(counts), shared.shape[1]).index_add(0, doc, shared) / counts
        out: Tensor = self.decide(torch.cat([own, mean[doc]], -1))
        return out


def annealed(step: int, steps: int, *, first: float = 1.0, last: float = 0.1) -> float:
    """Temperature that falls by the same factor every step."""
    return float(first * (last / first) ** (step / max(1, steps - 1)))
