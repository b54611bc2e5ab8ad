"""Visual tokens and words read one another before the language model (LLaVA-Mini)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel

from reelmill.training.attention import ROWS
from reelmill.training.documents import IGNORED
from reelmill.training.splice import placed
from reelmill.training.trunk import run
from reelmill.training.values import TEXT, Seq, Text, Vis


class Fused(nn.Module):
    """`layers` fresh decoder layers of the language model's form, causal over [patches | reduced tokens | prompt].

    `project` is the projector that the reduced tokens went through. No layers, nothing changes.
    """

    def __init__(self, project: nn.Module, lm: Any, layers: int) -> None:
        super().__init__()
        config = deepcopy(lm)
        config.num_hidden_layers, config.vocab_size, config.pad_token_id = layers, 1, None
        config._attn_implementation = ROWS
        if getattr(config, "layer_types", None) is not None:
            config.layer_types = ["full_attention"] * layers  # a model of fewer layers has too short a list
        self.layers, self.project = layers, project
        self.body = AutoModel.from_config(config, attn_implementation=ROWS)
        self.body.norm, self.body.embed_tokens = nn.Identity(), nn.Identity()  # neither is ever asked

    def forward(self, full: Vis, reduced: Vis, text: Text) -> tuple[Vis, Text]:
        """Reduced tokens [n, m, D] and the prompt's words, the mean over a document's frames."""
        if not self.layers:
            return reduced, text
        patches, m = self.project(full).x, reduced.tokens
        words, mask = text.h[full.sample], text.mask[full.sample]
        h = torch.cat([patches, reduced.x, words], 1)
        real = torch.cat([torch.ones(h.shape[:2], dtype=torch.bool, device=h.device)[:, : -mask.shape[1]], mask], 1)
        out = torch.zeros_like(h)
        out[real] = run(self.body, _row(h[real], real), documents=len(h)).h.to(h.dtype)
        seen, said = out[:, patches.shape[1] :].split([m, words.shape[1]], 1)
        return reduced.with_x(seen), replace(text, h=_mean(said, full.sample, text.h))


def _row(h: Tensor, real: Tensor) -> Seq:
    """A row in which each frame is a document of its own."""
    doc = real.nonzero()[:, 0]
    same = torch.zeros_like(doc)
    pos, before = placed(doc, same)
    kind, label, index = same + TEXT, same + IGNORED, torch.arange(len(doc), device=h.device)
    return Seq(h, pos, kind, doc, same, label, h.new_zeros(len(doc)), index, before)


def _mean(fused: Tensor, sample: Tensor, words: Tensor) -> Tensor:
    """Mean over the frames of each document; the words as they were for one without frames."""
    frames = torch.bincount(sample, minlength=len(words)).view(-1, 1, 1)
    total = torch.zeros_like(words).index_add_(0, sample, fused.to(words.dtype))
    return torch.where(frames > 0, total / frames.clamp(min=1), words)
