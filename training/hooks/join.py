"""Drops visual tokens and leaves what they held with the ones that are most like them (HoliTom's inner part)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reelmill.training.hooks.drop import Drop, best
from reelmill.training.values import Seq


@dataclass
class Join(Drop):
    """As `Drop`, but each dropped token is averaged into the kept token of its document with the largest cosine.

    The mean is over the kept token and all that join it, so it does not depend on their order; the released code
    averages in pairs, one after the other.
    """

    def __call__(self, layer: int, seq: Seq, scores: Mapping[int, Tensor]) -> Seq:
        kept = best(seq, scores[layer - 1], self.keep)
        stays = torch.zeros(seq.length, dtype=torch.bool, device=kept.device)
        stays[kept] = True
        into, gone = (seq.visual & stays).nonzero().squeeze(1), (~stays).nonzero().squeeze(1)
        if not len(gone):
            return seq
        like = F.normalize(seq.h[gone].float(), dim=-1) @ F.normalize(seq.h[into].float(), dim=-1).T
        other = seq.doc[gone].unsqueeze(1) != seq.doc[into]
        partner = into[like.masked_fill(other, -torch.inf).argmax(1)]
        total = seq.h.index_add(0, partner, seq.h[gone])
        counts = torch.ones_like(seq.h[:, 0]).index_add(0, partner, torch.ones_like(seq.h[gone, 0]))
        return seq.with_h(total / counts.unsqueeze(1)).keep(kept)
