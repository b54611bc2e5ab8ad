"""Models from scratch, small enough to learn on a CPU: XS in minutes, S to L for a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from reelmill.training.attention import ROWS
from reelmill.training.reducers.combine import Project
from reelmill.training.towers import ConvTower, HFTower
from reelmill.training.vlm import VLM


@dataclass(frozen=True, slots=True)
class Size:
    """Widths, layers and heads of tower and language model; `image` and `patch` in pixels."""

    vision: int
    vision_layers: int
    vision_heads: int
    image: int
    patch: int
    words: int
    layers: int
    heads: int
    difference: bool = True


XS = Size(64, 2, 4, 24, 6, 96, 3, 4)
S = Size(128, 4, 4, 64, 8, 256, 6, 8)
M = Size(256, 8, 8, 128, 16, 512, 8, 8)
L = Size(384, 12, 6, 224, 16, 512, 12, 8)
LADDER = {"XS": XS, "S": S, "M": M, "L": L}

_PLACES_STD = 0.5
"""Spread of learned places: with .02 a tiny model stays at the answers' prior (measured, docs/decisions)."""

_PATCH_GAIN = 4.0
"""Factor of the patch embedding, so that what a patch shows is as large as its place (0.6 against 0.5 on micro clips;
0.15 without): else what changes from frame to frame is lost beside what does not (docs/decisions/0046)."""


_SHARP = 3.0
"""Factor of the language model's queries and keys, so that fresh attention tells tokens apart: with torch's own start
it is all but even, and what few tokens show is lost in the mean of many (docs/decisions/0046)."""


def tower(size: Size) -> HFTower:
    """A vision transformer from scratch, CLIP's form."""
    config = CLIPVisionConfig(
        hidden_size=size.vision,
        intermediate_size=4 * size.vision,
        num_hidden_layers=size.vision_layers,
        num_attention_heads=size.vision_heads,
        image_size=size.image,
        patch_size=size.patch,
        num_channels=6 if size.difference else 3,
    )
    model = CLIPVisionModel(config)
    model.apply(_spread)
    nn.init.normal_(model.embeddings.position_embedding.weight, std=_PLACES_STD)
    with torch.no_grad():
        model.embeddings.patch_embedding.weight.mul_(_PATCH_GAIN)
    return HFTower(model, layer=-1, normed=True, difference=size.difference)


def conv(width: int, image_px: int, patch: int, stages: int) -> ConvTower:
    """A small ConvNeXt from scratch: patches, then `stages` of which each but the first halves the map."""
    sizes = [width // 2 ** (stages - 1 - i) for i in range(stages)]
    shape = {"hidden_sizes": sizes, "depths": [1] * stages, "num_stages": stages}
    model = ConvNextModel(ConvNextConfig(patch_size=patch, layer_scale_init_value=1.0, **shape))
    model.apply(_spread)
    return ConvTower(model, image_px)


def language(size: Size, words: int) -> Any:
    """A language model from scratch, over `words` ids."""
    model = LlamaForCausalLM(language_config(size, words))
    model.apply(_spread)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.q_proj.weight.mul_(_SHARP)
            layer.self_attn.k_proj.weight.mul_(_SHARP)
    return model


def language_config(size: Size, words: int) -> LlamaConfig:
    """Llama's form."""
    return LlamaConfig(
        hidden_size=size.words,
        intermediate_size=3 * size.words,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        vocab_size=words,
        tie_word_embeddings=True,
        attn_implementation=ROWS,
    )


def _spread(module: nn.Module) -> None:
    """Linear layers as torch begins them; transformers' .02 is made for wide ones."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        module.reset_parameters()
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)


def trunk(size: Size, words: int, *, seed: int = 0) -> VLM:
    """A plain model, as LLaVA-1.5: every patch, a projector, no codec. The last id stands for the media."""
    torch.manual_seed(seed)
    return VLM(tower(size), Project(size.vision, size.words), language(size, words), visual_id=words - 1)
