"""A variant on a trunk: the model that is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from reelmill.training import ladder, variants
from reelmill.training.backbones import Backbone
from reelmill.training.codecs.text import Text
from reelmill.training.qwen import QwenTower
from reelmill.training.towers import HFTower
from reelmill.training.variants.variant import On, Variant
from reelmill.training.vlm import VLM


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How many ids there are, which stands for a document's media, and that of each slot's name."""

    words: int
    visual_id: int
    slot_ids: Mapping[str, int] = field(default_factory=dict)


def on(tower: HFTower, lm: Any, frames: int) -> On:
    """What a variant is told of its trunk."""
    seen = tower.width, lm.config.hidden_size, tower.grid
    return On(*seen, frames, lm.config, tower.depth, tower.image_px)


def writers(variant: Variant) -> dict[str, nn.Module]:
    """Who writes times and boxes: the variant's codecs, and digits where it has none."""
    return {"time": Text(1), "box": Text(0), **variant.codecs}


def assembled(variant: Variant, tower: HFTower | QwenTower, lm: Any, vocabulary: Vocabulary) -> VLM:
    """Tower and language model with all seams of a variant filled. Adapters are put into `lm` before."""
    axes = None
    if isinstance(tower, QwenTower):
        axes = tower.axes
    else:
        tower.want(variant.scores, variant.levels)
    return VLM(
        variant.sees(tower) if variant.sees else tower,
        variant.reducer,
        lm,
        visual_id=vocabulary.visual_id,
        slot_ids=vocabulary.slot_ids,
        codecs=writers(variant),
        prefusion=variant.prefusion,
        hooks=variant.hooks,
        policy=variant.policy,
        by_words=variant.sees_by_words,
        objective=variant.objective if isinstance(variant.objective, nn.Module) else None,
        axes=axes,
    )


def from_scratch(
    name: str,
    size: ladder.Size,
    vocabulary: Vocabulary,
    *,
    frames: int,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> tuple[VLM, Variant]:
    """A variant by name on a ladder's model. `settings` are arguments of its `build`.

    A model without pretrained weights has nothing that adapters could keep: all weights learn, and adapters are left
    out.
    """
    torch.manual_seed(seed)
    tower, lm = ladder.tower(size), ladder.language(size, vocabulary.words)
    variant: Variant = variants.named(name).build(on(tower, lm, frames), **(settings or {}))
    if variant.adapter is not None and variant.adapter.from_scratch:
        lm = variant.adapter.put_in(lm)
    return assembled(variant, tower, lm, vocabulary), variant


def pretrained(
    name: str,
    base: Backbone,
    vocabulary: Vocabulary,
    *,
    frames: int,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> tuple[VLM, Variant]:
    """A variant by name on pretrained weights. With an adapter, the language model's own weights are frozen, all but
    the words where some are new."""
    torch.manual_seed(seed)
    made: Variant = variants.named(name).build(base.on(frames), **(settings or {}))
    base.require(made)
    variant = replace(made, reducer=base.reducer(made.reducer))
    lm = base.language(vocabulary.words)
    if variant.adapter is not None:
        lm = variant.adapter.put_in(lm.requires_grad_(False))
        for table in (lm.get_input_embeddings(), lm.get_output_embeddings()):
            table.requires_grad_(base.grown)
    return assembled(variant, base.tower, lm, vocabulary), variant
