"""Visual tokens that pass a layer by: each frame sends its best ones through (VideoLLM-MoD, arXiv 2408.16730)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reelmill.training.hooks.drop import best
from reelmill.training.values import Seq


class Bypass(nn.Module):
    """In each of `around`, a linear expert scores the tokens of every frame; the `keep` share (rounded up) goes in.

    What the layer changes of a visual token is multiplied by 2 sigmoid(score), from which the expert learns; a score of
    0 leaves a layer as it is. The others pass by bitwise unchanged and may go into the next layer. Words always go in.
    A frame's choice does not look at other frames, so it is the same in a stream. The expert reads normed states: those
    of trained models differ by orders of magnitude between layers.
    """

    def __init__(self, width: int, layers: tuple[int, ...], keep: float = 0.2) -> None:
        super().__init__()
        self.around, self.keep = layers, keep
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.experts = nn.ModuleDict({str(layer): nn.Linear(width, 1) for layer in layers})

    def inside(self, layer: int, seq: Seq) -> tuple[Tensor, Tensor | None]:
        """Which tokens enter, int64 [k] rising, and the weights of their changes [k], 1 for words."""
        if not bool(seq.visual.any()):
            return torch.arange(seq.length, device=seq.h.device), None
        score = self.scores(layer, seq.h)
        frames = int(seq.kind.max()) + 1
        kept = best(seq, score, self.keep, seq.doc * frames + seq.kind.clamp(min=0))
        weight = 2 * score[kept].sigmoid()
        return kept, torch.where(seq.visual[kept], weight, 1.0)

    def scores(self, layer: int, h: Tensor) -> Tensor:
        """float32 [S]."""
        out: Tensor = self.experts[str(layer)](self.norm(h.float())).squeeze(-1)
        return out
