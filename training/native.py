"""A trained model as a checkpoint of transformers: weights, tokenizer, processor and chat template in one folder.

    native.write(model, variant, base, tokens, folder)
    AutoModelForImageTextToText.from_pretrained(folder)      says what our model says

What has a layout there: a whole model whose own reducer was kept, and a tower and language model with LLaVA-1.5's
projector between them. A variant that puts anything else in between is not written, and it is said what that is.
"""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from reelmill.schemas.errors import BadInput
from reelmill.training.backbones import Backbone
from reelmill.training.data.form import Form
from reelmill.training.data.tokens import Tokens
from reelmill.training.qwen import QwenTower
from reelmill.training.reducers.combine import Project
from reelmill.training.towers import HFTower
from reelmill.training.trunk import Causal
from reelmill.training.variants.variant import Variant
from reelmill.training.vlm import VLM

_A_LEVEL_MORE = ("clip_vision_model", "siglip_vision_model")
_PROCESSOR = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")


def write(model: VLM, variant: Variant, base: Backbone | None, tokens: Tokens, folder: Path) -> None:
    """Beside first, then renamed. Adapters are merged into the weights, so the model is plain afterwards.

    Raises BadInput where transformers has no layout for it.
    """
    held = _layout(model, variant, base, tokens)
    half = folder.with_name(f".{folder.name}")
    shutil.rmtree(half, ignore_errors=True)
    held.save_pretrained(half, state_dict=_published(held))
    _write_words(held, base, model.tower, tokens, half)
    shutil.rmtree(folder, ignore_errors=True)
    half.rename(folder)


def _layout(model: VLM, variant: Variant, base: Backbone | None, tokens: Tokens) -> Any:
    """The transformers model of the same modules."""
    from transformers import PreTrainedConfig

    more = _beyond(model, base, tokens)
    if base is None or more:
        seen = more or "a trunk from scratch, whose first norm and frame differences have no layout"
        do = "train llava15 on a model of transformers; RUN/checkpoints holds the weights as they are"
        raise BadInput("this run as a checkpoint of transformers", seen=seen, do=do)
    if variant.adapter is not None:
        variant.adapter.merge(model.lm)
    held = base.model if base.whole else _llava(model, tokens)
    held.config.image_token_id = tokens.visual_id
    for config in (held.config, *vars(held.config).values()):
        if isinstance(config, PreTrainedConfig):
            config.name_or_path = ""  # where this machine had the parts
    held.generation_config.eos_token_id = tokens.tokenizer.convert_tokens_to_ids(tokens.form.end)
    held.generation_config.pad_token_id = tokens.tokenizer.pad_token_id
    return held


def _beyond(model: VLM, base: Backbone | None, tokens: Tokens) -> str:
    """What the layout has no place for; "" where it has one for all."""
    own = base is not None and (model.reducer is base.own if base.whole else type(model.reducer) is Project)
    codecs = [name for name, codec in model.codecs.items() if any(True for _ in codec.parameters())]
    found = {
        f"the reducer {type(model.reducer).__name__}": base is not None and not own,
        "crops of pictures": tokens.slicer is not None,
        f"the tower {type(model.tower).__name__}": not isinstance(model.tower, HFTower | QwenTower),
        "registers among the patches": "registers" in base.tower.model.config.model_type if base else False,
        "a fusion before the language model": model.prefusion is not None,
        "hooks between its layers": bool(model.hooks),
        f"the positions {type(model.policy).__name__}": type(model.policy) is not Causal,
        f"codecs {', '.join(codecs)}": bool(codecs),
    }
    return ", ".join(what for what, there in found.items() if there)


def _llava(model: VLM, tokens: Tokens) -> Any:
    """LLaVA's layout round a tower, a projector and a language model that stand for themselves."""
    from transformers import GenerationConfig, LlavaConfig, LlavaForConditionalGeneration

    tower: Any = model.tower
    lm: Any = model.lm
    config = LlavaConfig(
        vision_config=deepcopy(tower.model.config),
        text_config=deepcopy(lm.config),
        image_token_id=tokens.visual_id,
        projector_hidden_act="gelu",
        vision_feature_layer=tower.layer,
        vision_feature_select_strategy="default" if _lead(tower) else "full",
        image_seq_length=tower.grid[0] * tower.grid[1],
        tie_word_embeddings=lm.config.tie_word_embeddings,
    )
    with torch.device("meta"):
        made = LlavaForConditionalGeneration(config)
    made.model.vision_tower, made.model.language_model, made.lm_head = tower.model, lm.model, lm.lm_head
    project: Any = model.reducer
    first, _, last = project.layers
    made.model.multi_modal_projector.linear_1, made.model.multi_modal_projector.linear_2 = first, last
    made.generation_config = GenerationConfig()
    return made


def _published(held: Any) -> dict[str, torch.Tensor]:
    """Weights by the names of published checkpoints: transformers 5 left a level out of those of CLIP and SigLIP, and
    reads both; vLLM 0.32 reads the older alone."""
    tower = getattr(held.model, "vision_tower", None)
    weights: dict[str, torch.Tensor] = held.state_dict()
    if tower is None or tower.config.model_type not in _A_LEVEL_MORE or hasattr(tower, "vision_model"):
        return weights
    begin = "model.vision_tower."
    return {
        f"{begin}vision_model.{name.removeprefix(begin)}" if name.startswith(begin) else name: weight
        for name, weight in weights.items()
    }


def _lead(tower: Any) -> int:
    """Tokens before the patches: a class token where the tower has one."""
    return 0 if "siglip" in tower.model.config.model_type else 1


def _write_words(held: Any, base: Backbone | None, tower: Any, tokens: Tokens, folder: Path) -> None:
    """Tokenizer, template and what pictures become."""
    tokenizer = tokens.tokenizer
    template = _template(tokenizer, tokens.form)
    if getattr(tokenizer, "image_token", tokens.form.visual) != tokens.form.visual:
        tokenizer.image_token = tokens.form.visual  # it goes before what a processor is told
    if held.config.model_type != "llava":
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
        _copy_processor(base, folder)
        return
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    side = {"height": tokens.size_px, "width": tokens.size_px}
    colours = {name: getattr(tower, name).flatten().tolist() for name in ("mean", "std")}
    pictures = CLIPImageProcessorPil(
        size=side, crop_size=side, do_center_crop=False, image_mean=colours["mean"], image_std=colours["std"]
    )
    LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=tower.model.config.patch_size,
        vision_feature_select_strategy=held.config.vision_feature_select_strategy,
        chat_template=template,
        image_token=tokens.form.visual,
        num_additional_image_tokens=_lead(tower),
    ).save_pretrained(folder)


def _template(tokenizer: Any, form: Form) -> str:
    """The form's own, without the mark that the tokenizer puts first by itself."""
    begins = tokenizer("x")["input_ids"][:1] == [tokenizer.convert_tokens_to_ids(form.begin)] if form.begin else False
    return (replace(form, begin="") if begins else form).chat_template()


def _copy_processor(base: Backbone | None, folder: Path) -> None:
    """What the checkpoint says of pictures, as it came: crops and all."""
    from transformers.utils import cached_file

    for name in _PROCESSOR:
        found = base and cached_file(
            base.words, name, local_files_only=True, _raise_exceptions_for_missing_entries=False
        )
        if found:
            shutil.copy(found, folder / name)
