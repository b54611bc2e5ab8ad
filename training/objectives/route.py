"""Learns which reducer a sample needs from how well each of them does (AVG-LLaVA, arXiv 2410.02745)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reelmill.training.documents import Pack
from reelmill.training.objectives.lm import auxiliary
from reelmill.training.reducers.combine import Route, Stage
from reelmill.training.values import Loss
from reelmill.training.vlm import VLM


@dataclass
class RankRoute:
    """Mean loss over all branches, which teaches the model, and a router loss from the losses of each document.

    Router: `cross` * cross-entropy to the best branch, plus a hinge for every pair of branches in the order of their
    losses: max(0, log p of the worse - log p of the better + margin * places between * difference of losses). Losses
    are constants here. `before` is what stands in front of the route.
    """

    before: Stage
    route: Route
    cross: float = 0.1
    margin: float = 1.0

    @property
    def passes(self) -> Sequence[int]:
        """Branches that a pack is read with."""
        return range(len(self.route.branches))

    def __call__(self, model: VLM, pack: Pack) -> Loss:
        """A sum over tokens."""
        each, total, tokens = [], [], torch.zeros(())
        for branch in self.passes:
            seq = model(pack, branch)
            found = model.said(seq)
            weight = seq.weight[found.at]
            tokens = weight.sum()
            total.append((found.nll * weight).sum())
            each.append(_by_document(found.nll.detach(), seq.doc[found.at], pack.documents))
        auxiliary(model)
        said = torch.stack(total).mean()
        seen = pack.sample.unique()  # documents without media have nothing to choose
        if not len(seen):
            return Loss(said, tokens, {"lm": said})
        router = self.router_loss(self.logits(model, pack), torch.stack(each, 1)[seen])
        return Loss(said + router * tokens, tokens, {"lm": said, "router": router * tokens})

    def logits(self, model: VLM, pack: Pack) -> Tensor:
        """[documents with media, branches]."""
        text = model.prompts(pack, model.words(pack))
        out: Tensor = self.route.router(self.before(model.tower(pack)), text)
        return out

    def router_loss(self, logits: Tensor, losses: Tensor) -> Tensor:
        """Mean over documents; `losses` [documents, branches]."""
        logs = logits.float().log_softmax(-1)
        order = losses.argsort(dim=1, stable=True)
        logs_in, losses_in = logs.gather(1, order), losses.gather(1, order)
        rank = logits.new_zeros(())
        branches = logs.shape[1]
        for apart in range(1, branches):
            better, worse = logs_in[:, :-apart], logs_in[:, apart:]
            gap = losses_in[:, apart:] - losses_in[:, :-apart]
            rank = rank + (worse - better + self.margin * apart * gap).clamp(min=0).sum(1).mean()
        return self.cross * F.nll_loss(logs, order[:, 0]) + rank


def _by_document(nll: Tensor, doc: Tensor, documents: int) -> Tensor:
    """Mean loss of each document."""
    total = nll.new_zeros(documents).index_add(0, doc, nll)
    return total / torch.bincount(doc, minlength=documents).clamp(min=1)
