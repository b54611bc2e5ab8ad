"""Direct preference optimisation of pairs that share their beginning in one document (arXiv 2305.18290)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reelmill.training.documents import Pack
from reelmill.training.head import Said
from reelmill.training.values import Loss, Seq
from reelmill.training.vlm import VLM

CHOSEN, REJECTED = 1, 2
"""Branches of a pair's document."""


@dataclass
class DPO:
    """-log sigmoid(beta * (chosen's gain over the reference - rejected's)). `reference` is the model before the first
    step, frozen.

    A document that is no pair is replayed: the mean of its tokens' cross-entropy counts as much as a pair's loss, so
    that what the model could do before is kept (the mix is that of the datasets). `normalised` divides each side's
    log-probability by its tokens, so that a longer side has no larger say. `sft` adds that share of the chosen side's
    cross-entropy.
    """

    reference: VLM
    beta: float = 0.1
    normalised: bool = False
    sft: float = 0.0

    def __post_init__(self) -> None:
        self.reference.eval().requires_grad_(False)

    def __call__(self, model: VLM, pack: Pack) -> Loss:
        """A sum over documents; what is told of pairs is a mean of pairs, and of the others one of the others."""
        seq = model(pack)
        found = model.worded(seq)
        ours, tokens = sides(seq, found, pack)
        gain = ours - self._before(pack)
        if self.normalised:
            gain = gain / tokens
        margin = self.beta * (gain[:, 0] - gain[:, 1])
        loss = (-F.logsigmoid(margin) - self.sft * ours[:, 0] / tokens[:, 0]).sum()
        pairs, every = (loss.new_tensor(float(n)) for n in (len(margin), pack.documents))
        parts = {"dpo": loss, "accuracy": (margin > 0).float().sum(), "margin": margin.sum()}
        counts = dict.fromkeys(parts, pairs)
        if pack.pair.all():
            return Loss(loss, every, parts, counts)
        again = replayed(seq, model.numbered(seq, found), pack).sum()
        return Loss(loss + again, every, parts | {"replay": again}, counts | {"replay": every - pairs})

    def _before(self, pack: Pack) -> Tensor:
        """The reference's log-probabilities, [pairs, 2]."""
        if not pack.pair.any():
            return torch.zeros((0, 2), device=pack.ids.device)
        with torch.no_grad():
            seq = self.reference(pack)
            return sides(seq, self.reference.worded(seq), pack)[0]


def sides(seq: Seq, found: Said, pack: Pack) -> tuple[Tensor, Tensor]:
    """Log-probability of both sides of every pair and their tokens, float32 [pairs, 2] each.

    Raises ValueError where a side of a pair has no answer.
    """
    number = pack.pair.cumsum(0) - 1
    doc, branch = seq.doc[found.at], seq.branch[found.at]
    forked = (branch >= CHOSEN) & pack.pair[doc]
    at = number[doc[forked]] * 2 + branch[forked] - CHOSEN
    count = 2 * int(pack.pair.sum())
    if len(at.unique()) != count:
        raise ValueError("every pair has branches 1 (chosen) and 2 (rejected), both with an answer")
    zeros = found.nll.new_zeros(count)
    logs = zeros.index_add(0, at, -found.nll[forked])
    counts = zeros.index_add(0, at, torch.ones_like(found.nll[forked]))
    return logs.view(-1, 2), counts.view(-1, 2)


def replayed(seq: Seq, found: Said, pack: Pack) -> Tensor:
    """Mean cross-entropy of the learned tokens of every document that is no pair, float32 [documents - pairs]."""
    doc = seq.doc[found.at]
    weight = seq.weight[found.at]
    zeros = found.nll.new_zeros(pack.documents)
    total = zeros.index_add(0, doc, found.nll * weight)
    return (total / zeros.index_add(0, doc, weight).clamp(min=1e-6))[~pack.pair]
