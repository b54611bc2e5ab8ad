"""Direct preference optimisation of pairs that share their beginning in one document (arXiv 2305.18290)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reelmill.training.documents import Pack
from reelmill.training.values import Loss
from reelmill.training.vlm import VLM

CHOSEN, REJECTED = 1, 2
"""Branches of a pair's document."""


@dataclass
class DPO:
    """-log sigmoid(beta * (chosen's gain over the reference - rejected's)). `reference` is the model before the first
    step, frozen.

    `normalised` divides each side's log-probability by its tokens, so that a longer side has no larger say. `sft` adds
    that share of the chosen side's cross-entropy, which keeps what the model could say before.
    """

    reference: VLM
    beta: float = 0.1
    normalised: bool = False
    sft: float = 0.0

    def __post_init__(self) -> None:
        self.reference.eval().requires_grad_(False)

    def __call__(self, model: VLM, pack: Pack) -> Loss:
        """A sum over pairs. Raises ValueError for a document that is no pair."""
        ours, tokens = sides(model, pack)
        with torch.no_grad():
            theirs, _ = sides(self.reference, pack)
        gain = ours - theirs
        if self.normalised:
            gain = gain / tokens
        margin = self.beta * (gain[:, 0] - gain[:, 1])
        loss = -F.logsigmoid(margin) - self.sft * ours[:, 0] / tokens[:, 0]
        parts = {"dpo": loss.sum(), "accuracy": (margin > 0).float().sum(), "margin": margin.sum()}
        return Loss(loss.sum(), loss.new_tensor(float(len(loss))), parts)


def sides(model: VLM, pack: Pack) -> tuple[Tensor, Tensor]:
    """Log-probability of both sides of every pair and their tokens, float32 [documents, 2] each."""
    seq = model(pack)
    found = model.said(seq, numbers=False)
    doc, branch = seq.doc[found.at], seq.branch[found.at]
    forked = branch >= CHOSEN
    at = doc[forked] * 2 + branch[forked] - CHOSEN
    if int(pack.branch.max()) != REJECTED or len(at.unique()) != 2 * pack.documents:
        raise ValueError("every document must be a pair: branches 1 (chosen) and 2 (rejected), both with an answer")
    zeros = found.nll.new_zeros(2 * pack.documents)
    logs = zeros.index_add(0, at, -found.nll[forked])
    counts = zeros.index_add(0, at, torch.ones_like(found.nll[forked]))
    return logs.view(-1, 2), counts.view(-1, 2)
