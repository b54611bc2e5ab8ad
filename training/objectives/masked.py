"""Part of the video is hidden, and what is left must mean what it meant in the whole (ST-LLM, arXiv 2404.00308)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelmill.training.documents import Pack
from reelmill.training.objectives.lm import of_row
from reelmill.training.values import Loss, Seq
from reelmill.training.vlm import VLM


class Masked(nn.Module):
    """Next-token loss on a row that lost a drawn share of its visual tokens, plus `weight` times the mean of 2 - 2 cos
    between what a decoder makes of the states of the kept ones and their states in the whole row.

    The share is drawn for each pack from N(`rate`, `spread`²), within [`least`, `most`]. The decoder starts as the
    identity, so nothing hidden costs nothing.
    """

    def __init__(
        self,
        width: int,
        *,
        rate: float = 0.5,
        spread: float = 0.1,
        least: float = 0.1,
        most: float = 0.7,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.rate, self.spread, self.least, self.most, self.weight = rate, spread, least, most, weight
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, model: VLM, pack: Pack) -> Loss:
        """A sum over tokens."""
        row = model.row(pack)
        read = model.read(row.keep(self.kept(row)), pack.documents)
        with torch.no_grad():
            whole = model.read(row, pack.documents)
        loss = of_row(model, read)
        apart = self.apart(read, whole) * self.weight * loss.weight
        return Loss(loss.total + apart, loss.weight, {**loss.parts, "masked": apart})

    def kept(self, row: Seq) -> Tensor:
        """int64 [S']: all words and the visual tokens that are left."""
        share = (self.rate + self.spread * float(torch.randn(()))) if self.spread else self.rate
        hidden = row.visual & (torch.rand(row.length, device=row.h.device) < min(max(share, self.least), self.most))
        return (~hidden).nonzero().squeeze(1)

    def apart(self, read: Seq, whole: Seq) -> Tensor:
        """Mean over kept visual tokens, 0 where they are as in the whole row."""
        seen = read.h[read.visual]
        said = seen + self.outer(F.gelu(self.inner(seen)))
        true = whole.h[whole.rows(read.index[read.visual])]
        return (2 - 2 * F.cosine_similarity(said.float(), true.float(), dim=-1)).mean()
