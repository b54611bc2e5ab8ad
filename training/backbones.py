"""Models of Hugging Face as a trunk: a vision tower and a language model, or an image-text model taken apart.

    base = parts("siglip-folder", "smollm2-folder")     a variant brings the projector between them
    base = whole("llava-folder")                        the checkpoint's own projector is kept where a variant has none
    base = whole("qwen-folder", image_px=448)           a tower that sees squares of any size

Checkpoints are folders, or names that this machine's cache holds: nothing is downloaded. Weights are float32; on a GPU
the loop computes in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from reelmill.schemas.errors import BadInput, NotFound
from reelmill.training.data.form import CHATML, LLAVA_1_5, PLAIN, QWEN_VL, Form
from reelmill.training.qwen import Merger, QwenTower
from reelmill.training.reducers.combine import Apply, Project, Stage
from reelmill.training.reducers.layouts import Film, Shuffled
from reelmill.training.towers import ConvTower, HFTower, groups_of
from reelmill.training.trunk import body_of
from reelmill.training.variants.variant import On, Variant

Three = tuple[float, float, float]

_TOWERS = {
    "clip": "CLIPVisionModel",
    "clip_vision_model": "CLIPVisionModel",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
}
CONVOLUTIONAL = {"convnext": "ConvNextModel", "convnextv2": "ConvNextV2Model"}
"""Towers that may stand beside the first."""
_LAYER = -2
"""LLaVA-1.5 (arXiv 2310.03744) takes the second last layer, whose patches still say where they are."""
_SIDE_PX = 336
"""Of squares that a tower of any size sees where nobody says it: 12 x 12 words of Qwen-VL, of LLaVA-1.5's pixels."""


class Speaker(nn.Module):
    """The language model of an image-text model, in the shape of a causal one: the same modules, not copies."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.model: Any = body
        self.lm_head = head
        self.config = self.model.config

    def get_input_embeddings(self) -> nn.Module:
        """The table of words."""
        out: nn.Module = self.model.embed_tokens
        return out

    def get_output_embeddings(self) -> nn.Module:
        """The rows that states are compared with."""
        return self.lm_head


@dataclass
class Backbone:
    """What is pretrained. `model` is the checkpoint of the words or of the whole, `config` the language model's;
    `own` the way from patches to words that a whole model brings, `lend` gives a projector of a variant what it holds;
    `form` is how dialogues are written for it, None where the tokenizer tells."""

    words: str
    tower: HFTower | QwenTower
    model: Any
    config: Any
    speaker: Callable[[Any], Any]
    own: Stage | None = None
    lend: Callable[[Project], None] | None = None
    form: Form | None = None
    grown: bool = False

    @property
    def whole(self) -> bool:
        """Whether tower and words come from one image-text model."""
        return self.own is not None

    @property
    def image_px(self) -> int:
        """Side of the square that the tower sees."""
        return self.tower.image_px

    def on(self, frames: int) -> On:
        """What a variant is told of this trunk."""
        seen = self.tower.width, self.config.hidden_size, self.tower.grid
        shown = groups_of(self.tower, frames, film=True)
        return On(*seen, shown, self.config, self.tower.depth, self.image_px)

    def require(self, variant: Variant) -> None:
        """Raises BadInput for a variant that reads of a tower what this one does not have."""
        if isinstance(self.tower, QwenTower) and (variant.sees or variant.scores or variant.levels):
            what = "layers inside the tower" if variant.scores or variant.levels else "its own way round the tower"
            do = "choose one that reads the tower's last layer"
            raise BadInput("a variant on Qwen-VL's tower", seen=f"it wants {what}", do=do)

    def written(self, tokenizer: Any) -> Form:
        """How dialogues are written for it."""
        return self.form or form_of(tokenizer, whole=self.whole)

    def language(self, rows: int) -> Any:
        """The causal language model, with an embedding for each of `rows` words; it never loses any.

        New rows are drawn round the mean of the old ones (transformers' own way).
        """
        self.grown = rows > self.model.get_input_embeddings().weight.shape[0]
        if self.grown:
            self.model.resize_token_embeddings(rows)
        return self.speaker(self.model)

    def reducer(self, made: Stage) -> Stage:
        """A variant's reducer on this trunk: the checkpoint's own where the variant reduces nothing, else the
        variant's, whose projectors of the same widths begin with the checkpoint's weights."""
        if self.own is not None and type(made) is Project:
            return self.own
        if self.lend is not None:
            for project in [m for m in made.modules() if isinstance(m, Project)]:
                self.lend(project)
        return made


def _lend(projector: Any, project: Project) -> None:
    """Weights of LLaVA's two linear layers, where the shapes are the same."""
    first, _, last = project.layers
    pairs = ((first, projector.linear_1), (last, projector.linear_2))
    if all(ours.weight.shape == theirs.weight.shape for ours, theirs in pairs):
        for ours, theirs in pairs:
            ours.load_state_dict(theirs.state_dict())


# ---- loading ---------------------------------------------------------------------------------------------------------


def loaded(load: Callable[..., Any], place: str, **options: Any) -> Any:
    """What a `from_pretrained` gives, without the network.

    Raises NotFound where this machine has no such checkpoint, BadInput where it is of another kind.
    """
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        return load(place, local_files_only=True, **options)
    except OSError as error:
        do = "give a folder that holds it, or fetch it first (hf download)"
        raise NotFound(f"checkpoint {place}", seen=_brief(error), do=do) from error
    except (ValueError, KeyError, RuntimeError) as error:
        raise BadInput(f"checkpoint {place}", seen=_brief(error), do="name one that transformers can load") from error


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _configured(place: str) -> Any:
    from transformers import AutoConfig

    return loaded(AutoConfig.from_pretrained, place)


def parts(tower: str, words: str) -> Backbone:
    """A tower of one checkpoint and a language model of another. Raises as `loaded`, and BadInput for a kind of either
    that cannot read packed rows or is unknown."""
    from transformers import AutoModelForCausalLM

    _require_words(words, _configured(words))
    lm = loaded(AutoModelForCausalLM.from_pretrained, words, dtype=torch.float32)
    body_of(lm)
    return Backbone(words, seen_by(tower), lm, lm.config, lambda model: model)


def _require_words(place: str, config: Any) -> None:
    """Raises BadInput for a language model whose layers see a window: packed rows are seen in full."""
    window = getattr(config, "sliding_window", None)
    if window is not None:
        do = "choose one with full attention, or set sliding_window to null where its rows are shorter"
        raise BadInput(f"checkpoint {place}", seen=f"layers that see {window} tokens back", do=do)


def seen_by(place: str) -> HFTower:
    """The vision tower of a checkpoint: CLIP, SigLIP (SigLIP 2 of fixed size too) or DINOv2.

    Raises as `loaded`, and BadInput for others.
    """
    model = _weights(place, _TOWERS)  # first: what is no tower has no colours
    mean, std = colours(place)
    return HFTower(model, layer=_LAYER, mean=mean, std=std)


def convolving(place: str, image_px: int) -> ConvTower:
    """A ConvNeXt of a checkpoint at a square of another size. Raises as `seen_by`."""
    return ConvTower(_weights(place, CONVOLUTIONAL), image_px, *colours(place))


def tower_config(place: str) -> Any:
    """What a checkpoint says of its tower, without weights. Raises as `seen_by`."""
    config = _configured(place)
    _require_kind(place, config.model_type, _TOWERS | CONVOLUTIONAL)
    return getattr(config, "vision_config", config)


def _weights(place: str, kinds: dict[str, str]) -> Any:
    import transformers

    kind = _configured(place).model_type
    _require_kind(place, kind, kinds)
    return loaded(getattr(transformers, kinds[kind]).from_pretrained, place, dtype=torch.float32)


def _require_kind(place: str, kind: str, kinds: dict[str, str]) -> None:
    if kind not in kinds:
        do = f"choose one of {', '.join(sorted(kinds))}"
        raise BadInput(f"tower {place}", seen=f"model type {kind!r}", do=do)


def colours(place: str) -> tuple[Three, Three]:
    """Mean and spread of the three colours that a checkpoint's pictures are normalised with."""
    from transformers.image_processing_base import ImageProcessingMixin

    said, _ = loaded(ImageProcessingMixin.get_image_processor_dict, place)
    return tuple(said["image_mean"]), tuple(said["image_std"])


# ---- whole models ----------------------------------------------------------------------------------------------------


def whole(place: str, image_px: int | None = None) -> Backbone:
    """An image-text model taken apart: LLaVA-1.5, LLaVA-OneVision (as it sees videos), Idefics3 and SmolVLM (the whole
    picture, no crops), Qwen2-VL and Qwen2.5-VL on squares of `image_px`.

    Raises as `loaded`, and BadInput for others, or for a size that the tower does not see.
    """
    config = _configured(place)
    kind = config.model_type
    if kind not in _APART:
        seen = f"model type {kind!r}{_REFUSED.get(kind, '')}"
        raise BadInput(f"image-text model {place}", seen=seen, do=f"choose one of {', '.join(_APART)}")
    if image_px is not None and kind not in _ANY_SIZE:
        seen = f"{kind}, whose tower sees squares of one size"
        raise BadInput(f"frames of {image_px} pixels", seen=seen, do="leave the size out")
    from transformers import AutoModelForImageTextToText

    _require_words(place, config.get_text_config())
    apart = partial(_qwen, image_px=_sized(config.vision_config, image_px)) if kind in _ANY_SIZE else _APART[kind]
    return apart(place, loaded(AutoModelForImageTextToText.from_pretrained, place, dtype=torch.float32))


def _sized(vision: Any, image_px: int | None) -> int:
    """Side of the squares that a tower of any size is to see: what is asked for, or the largest up to `_SIDE_PX`.

    Raises BadInput for one that its cells do not tile.
    """
    cell = int(vision.patch_size * vision.spatial_merge_size)
    if image_px is None:
        return max(cell, _SIDE_PX // cell * cell)
    if image_px < cell or image_px % cell:
        do = f"give a multiple of {cell}"
        raise BadInput(f"frames of {image_px} pixels", seen=f"a tower whose cells have {cell}", do=do)
    return image_px


def _llava(place: str, model: Any) -> Backbone:
    inner = model.model
    made = _base(place, model, _tower_of(place, model), Apply(inner.multi_modal_projector))
    made.lend = _lender(inner.multi_modal_projector, model.config)
    return made


def _onevision(place: str, model: Any) -> Backbone:
    inner = model.model
    made = _base(place, model, _tower_of(place, model), Film(inner.multi_modal_projector, inner.image_newline))
    made.lend = _lender(inner.multi_modal_projector, model.config)
    return made


def _idefics(place: str, model: Any) -> Backbone:
    inner = model.model
    mean, std = colours(place)
    tower = HFTower(inner.vision_model, layer=-1, normed=True, mean=mean, std=std)
    return _base(place, model, tower, Shuffled(inner.connector, model.config.scale_factor))


def _qwen(place: str, model: Any, image_px: int = _SIDE_PX) -> Backbone:
    visual = model.model.visual
    merger = Merger(visual.merger, visual.config.spatial_merge_size**2)
    made = _base(place, model, QwenTower(visual, image_px, *colours(place)), Apply(merger))
    made.lend, made.form = merger.lend, QWEN_VL
    return made


_APART: dict[str, Callable[[str, Any], Backbone]] = {
    "llava": _llava,
    "llava_onevision": _onevision,
    "idefics3": _idefics,
    "smolvlm": _idefics,
    "qwen2_vl": _qwen,
    "qwen2_5_vl": _qwen,
}
_ANY_SIZE = {kind for kind, apart in _APART.items() if apart is _qwen}
_DEEP = ", whose first layers are given visual features too (DeepStack)"
_REFUSED = {"qwen3_vl": _DEEP, "qwen3_vl_moe": _DEEP}
"""Why some others are not taken."""


def _base(place: str, model: Any, tower: HFTower | QwenTower, own: Stage) -> Backbone:
    def speaker(model: Any) -> Speaker:
        inner = model.model
        return Speaker(getattr(inner, "language_model", None) or inner.text_model, model.lm_head)

    body_of(speaker(model))
    return Backbone(place, tower, model, model.config.get_text_config(), speaker, own)


def _tower_of(place: str, model: Any) -> HFTower:
    """The tower with the layer that the model reads. Raises BadInput for several layers, or for a class token among the
    patches: neither is a grid."""
    config, mean_std = model.config, colours(place)
    layer, kept = config.vision_feature_layer, config.vision_feature_select_strategy
    has_class = "siglip" not in config.vision_config.model_type
    if not isinstance(layer, int) or (kept == "default") != has_class:
        seen = f"layer {layer} of {config.vision_config.model_type}, {kept!r}"
        raise BadInput(f"image-text model {place}", seen=seen, do="choose one that reads the patches of one layer")
    return HFTower(model.model.vision_tower, layer=layer, mean=mean_std[0], std=mean_std[1])


def _lender(projector: Any, config: Any) -> Callable[[Project], None] | None:
    """What gives the projector's weights to ours, where it is two linear layers with biases and GELU between."""
    plain = config.projector_hidden_act == "gelu" and projector.linear_1.bias is not None
    return partial(_lend, projector) if plain else None


# ---- words -----------------------------------------------------------------------------------------------------------


def form_of(tokenizer: Any, *, whole: bool) -> Form:
    """How dialogues are written for a checkpoint: by the marks of turns that it knows (ours, or ChatML), else as
    LLaVA-1.5 for a whole model, else with marks of our own."""
    known = set(tokenizer.get_vocab())
    if "<|im_start|>" in known:
        return CHATML
    return LLAVA_1_5 if whole and not known.issuperset(PLAIN.marks) else PLAIN
