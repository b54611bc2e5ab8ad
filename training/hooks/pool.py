"""Pools visual tokens inside the language model: along the row (LLaVolta), or by a learned choice (DPN-LLaVA)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from reelmill.training.attention import asking
from reelmill.training.objectives.lm import Auxiliary
from reelmill.training.values import Seq


@dataclass
class Pool1d:
    """Means of `stride` neighbours in raster order, row ends included, before layer `layer`; positions are means too,
    cut to whole ones (LLaVolta's released code). A stride of 1 changes nothing."""

    layer: int
    stride: int
    scored: Mapping[int, str] = field(default_factory=dict)

    @property
    def at(self) -> tuple[int, ...]:
        """The layer, while there is something to pool."""
        return (self.layer,) if self.stride > 1 else ()

    def __call__(self, layer: int, seq: Seq, scores: Mapping[int, Tensor]) -> Seq:
        visual = seq.visual.nonzero().squeeze(1)
        if not len(visual):
            return seq
        first = torch.ones(len(visual), dtype=torch.bool, device=visual.device)
        first[1:] = seq.doc[visual[1:]] != seq.doc[visual[:-1]]
        at = torch.arange(len(visual), device=visual.device)
        nth = at - torch.where(first, at, 0).cummax(0).values
        return merged(seq, visual, nth % self.stride == 0)


def merged(seq: Seq, visual: Tensor, leads: Tensor) -> Seq:
    """Visual tokens `visual` int64 [V], rising, joined to the last one before them that leads; means of states and
    positions."""
    group = leads.long().cumsum(0) - 1
    groups = int(group[-1]) + 1
    counts = torch.bincount(group, minlength=groups)
    zeros = seq.h.new_zeros(groups, seq.h.shape[1])
    mean = zeros.index_add(0, group, seq.h[visual]) / counts.unsqueeze(1).to(seq.h.dtype)
    axes = seq.pos.shape[1:]
    total = seq.pos.new_zeros(groups, *axes).index_add(0, group, seq.pos[visual])
    pos = total // counts.view(-1, *(1 for _ in axes))
    stays = torch.ones(seq.length, dtype=torch.bool, device=visual.device)
    stays[visual[~leads]] = False
    h, positions = seq.h.index_copy(0, visual[leads], mean), seq.pos.index_copy(0, visual[leads], pos)
    return replace(seq, h=h, pos=positions).keep(stays.nonzero().squeeze(1))


class PoolRoute(Auxiliary):
    """Before each of `layers`, an expert pools a document's frames: 1 x 1, 2 x 2 or 4 x 4, the largest of each cell.

    A router reads the prompt's last token (the paper has a token of its own for this), softmax of its logits over
    `temperature`; training draws, answering takes the best; pooled tokens are multiplied by the choice's probability.
    Frames never fall below `least` tokens. Each layer adds max(0, `goal` - mean(index of the expert * probability)).
    """

    def __init__(
        self,
        width: int,
        layers: tuple[int, ...],
        experts: tuple[tuple[int, ...], ...],
        *,
        least: int = 18,
        temperature: float = 10.0,
        goal: float = 1.5,
    ) -> None:
        super().__init__()
        self.at, self.experts, self.least = layers, dict(zip(layers, experts, strict=True)), least
        self.temperature, self.goal = temperature, goal
        self.scored: Mapping[int, str] = {}
        self.routers = nn.ModuleDict(
            {
                str(layer): nn.Sequential(
                    nn.LayerNorm(width),
                    nn.Linear(width, max(1, width // 4)),
                    nn.GELU(),
                    nn.Linear(max(1, width // 4), len(of)),
                )
                for layer, of in self.experts.items()
            }
        )

    def forward(self, layer: int, seq: Seq, scores: Mapping[int, Tensor]) -> Seq:
        """Nothing without visual tokens, as in the steps of an answer."""
        if not bool(seq.visual.any()):
            return seq
        asks = asking(seq).nonzero().squeeze(1)
        share = (self.routers[str(layer)](seq.h[asks]) / self.temperature).softmax(-1)
        chosen = share.multinomial(1) if self.training else share.argmax(-1, keepdim=True)
        picked = share.gather(1, chosen).squeeze(1)
        self._charge((chosen.squeeze(1) * picked).mean())
        return self._pooled(
            seq, seq.doc[asks].tolist(), [self.experts[layer][i] for i in chosen[:, 0].tolist()], picked
        )

    def _charge(self, reward: Tensor) -> None:
        before = self.aux[1] if self.aux is not None else reward.new_zeros(())
        self.aux = ("pooling", before + (self.goal - reward).clamp(min=0))

    def _pooled(self, seq: Seq, documents: list[int], sides: list[int], share: Tensor) -> Seq:
        h, stays = seq.h, torch.ones(seq.length, dtype=torch.bool, device=seq.h.device)
        for document, side, picked in zip(documents, sides, share, strict=True):
            mine = (seq.visual & (seq.doc == document)).nonzero().squeeze(1)
            for frame in seq.kind[mine].unique().tolist():
                at = mine[seq.kind[mine] == frame]
                cells = self._cells(len(at), side, at.device)
                pooled = torch.stack([seq.h[at[cells == c]].amax(0) for c in range(int(cells.max()) + 1)])
                lead = torch.stack([at[cells == c][0] for c in range(len(pooled))])
                h = h.index_copy(0, lead, pooled * picked)
                stays[at] = False
                stays[lead] = True
        return replace(seq, h=h).keep(stays.nonzero().squeeze(1))

    def _cells(self, tokens: int, side: int, device: torch.device) -> Tensor:
        """Which cell each token of a frame is in, row-major; a frame that is no square, or too small, is left alone."""
        rows = math.isqrt(tokens)
        if rows * rows != tokens or rows % side or (rows // side) ** 2 < min(self.least, tokens):
            return torch.arange(tokens, device=device)
        at = torch.arange(rows, device=device) // side
        return (at.unsqueeze(1) * (rows // side) + at).flatten()
