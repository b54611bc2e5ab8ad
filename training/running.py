"""From a plan to a run under way, and from a run's folder back to its model.

RUN/plan.json      what was asked for
tokenizer/         words of the training texts, with the marks and slots
checkpoints/       finished steps
log.jsonl          losses, one line a step: the same for the same plan
times.jsonl        seconds of each step
report.html        curves of both, and the scores where there are some
evaluation.json    what `reelmill eval` found
model/             the same as a checkpoint of transformers, where the trunk is one and the variant fits its layout
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from reelmill.schemas.errors import BadInput
from reelmill.schemas.points import reach
from reelmill.sinks.publishing.packed import PackedPreference, PackedStream
from reelmill.training import backbones, ladder, native, variants
from reelmill.training.assemble import Vocabulary, from_scratch, pretrained, writers
from reelmill.training.backbones import Backbone
from reelmill.training.data.form import PLAIN, Form
from reelmill.training.data.loader import Loader, Settings, Source
from reelmill.training.data.shards import Split, opened
from reelmill.training.data.tokenizer import grow, held, loaded, texts_of, trained, unread
from reelmill.training.data.tokens import Tokens
from reelmill.training.documents import Document
from reelmill.training.loop import checkpoint
from reelmill.training.loop.fit import Fit, Told, frozen_copy
from reelmill.training.loop.plan import Plan, planned
from reelmill.training.loop.ranks import Ranks
from reelmill.training.loop.stages import Stages
from reelmill.training.objectives.dpo import DPO
from reelmill.training.objectives.lm import LM, Nested, SampleBudget
from reelmill.training.objectives.streaming import Streaming
from reelmill.training.slicers.cut import tiles_of
from reelmill.training.streaming import frame_by_frame
from reelmill.training.towers import groups_of
from reelmill.training.variants.variant import On, Variant
from reelmill.training.vlm import VLM

TOKENIZER, NATIVE = "tokenizer", "model"
_OF_STREAMS = (LM, Nested, SampleBudget, Streaming)
"""Objectives that learn silence where labels say so."""


@dataclass(frozen=True, slots=True)
class Made:
    """A run's model, what it fills, and how samples are written for it. `base` is what it was before the run."""

    plan: Plan
    model: VLM
    variant: Variant
    tokens: Tokens
    base: Backbone | None = None


def begun(
    plan: Plan, run: Path, tell: Callable[[Told], object], store: Path | None = None, splits: Sequence[Split] = ()
) -> Fit:
    """A run at its first step, or where it was left; `splits` are what `checked` gave, where it was asked before.

    Raises as `checked` does, and BadInput where the folder holds another plan.
    """
    with Ranks.here().in_turn():
        splits = splits or checked(plan, store)
        plan.write(run)
        made = _made(plan, run, splits)
    objective: Any = made.variant.objective
    if plan.objective == "dpo":
        objective = DPO(frozen_copy(made.model).to(device()), plan.beta)
    stages = Stages.of(made.variant.phases) if plan.pretrained and plan.stages == "paper" else Stages()
    packs = _loader(plan, made, splits)
    fit = Fit(plan, made.model, objective, packs, run, tell, made.variant.schedule, device(), stages=stages)
    fit.resume()
    return fit


def checked(plan: Plan, store: Path | None = None) -> list[Split]:
    """The data of a plan, opened. Raises NotFound, BadInput and Corrupt for what cannot be; nothing is written."""
    if plan.objective not in ("variant", "dpo"):
        raise BadInput(f"objective {plan.objective!r}", seen="variant and dpo are known", do="choose one")
    trunk = None if plan.pretrained else _small(plan)  # a pretrained one is loaded once, when the run begins
    lean = None if trunk is None else _variant(plan, trunk)
    if lean is not None:
        _require_own_videos(plan, lean)
    if plan.start is not None:
        checkpoint.newest(Path(plan.start))
    splits = [opened(data.place, "train", store) for data in plan.data]
    if trunk is not None and lean is not None:
        _require_frames_alone(plan, lean, trunk, splits)
    _require_pairs(plan, splits)
    return splits


_LOOKED_AT = 2_000
"""Samples of a dataset in which words are looked for that a run cannot read: all of them would double its start."""


def unread_words(plan: Plan, run: Path, store: Path | None = None) -> list[str]:
    """Words of the data that a run from scratch reads as one unknown word, the most frequent first: those for which its
    vocabulary had no room."""
    tokenizer = None if plan.pretrained else held(run / TOKENIZER)
    if tokenizer is None or len(tokenizer) < plan.vocabulary:
        return []
    codecs = writers(_variant(plan, _small(plan)))
    splits = (opened(data.place, "train", store) for data in plan.data)
    texts = (text for split in splits for text in texts_of(split, codecs, _LOOKED_AT))
    return [word.strip() for word, _ in unread(tokenizer, texts).most_common()]


def finished(run: Path) -> Made:
    """The model of a run's newest checkpoint, ready to answer. Raises NotFound where there is none."""
    plan, last = planned(run), checkpoint.newest(run)
    made = _made(plan, run, [])
    last.weights_into(made.model)
    if plan.ema:
        made.model.load_state_dict(last.rest()["average"], strict=False)
    if made.variant.schedule is not None:
        made.model.told(made.variant.schedule(plan.steps - 1, plan.steps))
    made.model.to(device()).eval()
    return made


def written(run: Path) -> Path:
    """The model of a finished run as a checkpoint of transformers, in RUN/model.

    Raises BadInput where its trunk or its variant has no such layout.
    """
    made = finished(run)
    native.write(made.model, made.variant, made.base, made.tokens, run / NATIVE)
    return run / NATIVE


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _made(plan: Plan, run: Path, splits: Sequence[Split]) -> Made:
    """Tokenizer first, then the model over its words, then the weights that the run starts with."""
    base, size = _base(plan), ladder.LADDER[plan.size]
    trunk = base.on(plan.frames) if base else _small(plan)
    lean = _variant(plan, trunk)
    if splits:  # a run that was trained may be asked, also where such a one would not be begun today
        _require_own_videos(plan, lean)
        _require_frames_alone(plan, lean, trunk, splits)
    codecs, between = writers(lean), lean.slicer.separators if lean.slicer else ()
    slots = [name for codec in codecs.values() for name in codec.names]
    tokenizer, form = _tokenizer(plan, run, splits, codecs, slots, base, between)
    ids = {name: tokenizer.convert_tokens_to_ids(f"<{name}>") for name in slots}
    vocabulary = Vocabulary(len(tokenizer), tokenizer.convert_tokens_to_ids(form.visual), ids)
    more: dict[str, Any] = {"frames": plan.frames, "seed": plan.seed, "settings": plan.settings}
    if base is None:
        model, variant = from_scratch(plan.variant, size, vocabulary, **more)
    else:
        model, variant = pretrained(plan.variant, base, vocabulary, **more)
    if plan.start is not None:
        checkpoint.newest(Path(plan.start)).weights_into(model, longer=model.of_words())
    tokens = Tokens(tokenizer, variant.image_px or trunk.image_px, form, writers(variant), plan.frames, variant.slicer)
    return Made(plan, model, variant, tokens, base)


def _base(plan: Plan) -> Backbone | None:
    """What is pretrained of a run's model."""
    if plan.model is not None:
        return backbones.whole(plan.model, plan.image_px)
    return None if plan.tower is None or plan.lm is None else backbones.parts(plan.tower, plan.lm)


def _small(plan: Plan) -> On:
    """A trunk of the ladder, whose words are not known yet; no weights are drawn for it."""
    size = ladder.LADDER[plan.size]
    side = size.image // size.patch
    config = ladder.language_config(size, words=8)
    return On(size.vision, size.words, (side, side), plan.frames, config, size.vision_layers, size.image)


def _variant(plan: Plan, trunk: On) -> Variant:
    """The variant on a trunk whose words are not known yet: for what it fills, not for its weights. Raises BadInput on
    a setting that it does not take, or a value that it cannot be built with."""
    build = variants.named(plan.variant).build
    known = list(inspect.signature(build).parameters)[1:]
    if unknown := sorted(set(plan.settings) - set(known)):
        seen = f"it takes {', '.join(known) or 'none'}"
        raise BadInput(f"variant {plan.variant} has no setting {unknown[0]!r}", seen=seen, do="use one of these")
    try:
        made: Variant = build(trunk, **plan.settings)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        if not plan.settings:
            raise
        told = ", ".join(f"{k}={v!r}" for k, v in plan.settings.items())
        raise BadInput(f"{plan.variant} with {told}", seen=str(error), do="give other values") from error
    return made


def _require_own_videos(plan: Plan, variant: Variant) -> None:
    """Raises BadInput where prompts would share a video that each of them should see in its own way."""
    if not variant.sees_by_words:
        return
    what = f"variant {plan.variant} sees by the words of the prompt"
    if plan.objective == "dpo":
        raise BadInput(what, seen="pairs, whose sides share a video", do="choose a variant that does not")
    if shared := [data.place for data in plan.data if data.shared]:
        seen = f"several questions about one video share a row in {', '.join(shared)}"
        raise BadInput(what, seen=seen, do="give each its own: --no-shared, or shared = false in a flow")


def _require_pairs(plan: Plan, splits: Sequence[Split]) -> None:
    """Raises BadInput where nothing is preferred to anything. Other data beside pairs is replayed."""
    if plan.objective == "dpo" and not any(isinstance(split.sample(0), PackedPreference) for split in splits):
        seen = ", ".join(f"{split.sample(0).family} in {split.label}" for split in splits)
        raise BadInput("objective dpo wants pairs", seen=seen, do="name a dataset of pairs, such as dpo_perturb")


def _require_frames_alone(plan: Plan, variant: Variant, trunk: On, splits: Sequence[Split]) -> None:
    """Raises BadInput where dialogues that go on while the clip plays cannot be read, or not be learned, as such."""
    streams = [split.label for split in splits if isinstance(split.sample(0), PackedStream)]
    if streams:
        require_watching(plan, variant, trunk.grid, streams)


def require_watching(plan: Plan, variant: Variant, grid: tuple[int, int], streams: Sequence[str]) -> None:
    """Raises BadInput where a plan's model cannot read frames one by one or learns no silence; `streams` are labels."""
    frame_by_frame(variant.reducer, variant.hooks, grid, by_words=variant.sees_by_words)
    if plan.objective != "variant" or not isinstance(variant.objective, _OF_STREAMS):
        learned = plan.objective if plan.objective != "variant" else type(variant.objective).__name__
        do = "train videollm_online on it, or give this variant other data"
        raise BadInput(f"streams in {', '.join(streams)}", seen=f"objective {learned}, which has no silence", do=do)


def _tokenizer(
    plan: Plan,
    run: Path,
    splits: Sequence[Split],
    codecs: Any,
    slots: Sequence[str],
    base: Backbone | None,
    between: Sequence[str],
) -> tuple[Any, Form]:
    """The run's own; that of the run it starts from, with the words of the texts that it lacks; that of its language
    model; or one trained on the texts."""
    own = run / TOKENIZER
    start = None if plan.start is None else Path(plan.start) / TOKENIZER
    place: str | Path | None = own if own.exists() else start
    if base is not None and place is None:
        place = base.words
    form = base.written(held(place)) if base is not None and place is not None else PLAIN
    texts = chain(between, (text for split in splits for text in texts_of(split, codecs)))
    if place is None:
        made = trained(texts, slots=slots, kind=plan.words, vocabulary=plan.vocabulary)
    else:
        made = loaded(place, form, slots)
        if base is None and place == start:
            grow(made, texts, plan.vocabulary)
    if not own.exists():
        half = own.with_name(f".{TOKENIZER}")
        made.save_pretrained(half)
        reach("words.written")
        half.rename(own)
    return made, form


def _loader(plan: Plan, made: Made, splits: Sequence[Split]) -> Loader:
    sources = [Source(s, d.weight, shared=d.shared) for s, d in zip(splits, plan.data, strict=True)]
    settings = Settings(length=plan.tokens, seed=plan.seed, **({"shuffle": 0, "waiting": 1} if plan.in_order else {}))
    ranks, pin = Ranks.here(), device().type == "cuda"
    own = (ranks.rank, ranks.world)
    return Loader(sources, made.tokens, settings, counting(made.model), threads=decoders(), pin=pin, own=own)


_DECODERS, _BUSY = 16, 2
"""Threads that decode at most, and those of a process that have other work: one launches, one packs."""


def decoders() -> int:
    """Threads that decode for a process. A CPU's one core trains; a GPU learns from 1,000 frames a second, more than a
    core decodes, so there all of this process's cores but two do."""
    if device().type == "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(_DECODERS, cores - _BUSY))


def counting(model: VLM) -> Callable[[Document], int]:
    """Tokens that a document takes in a row of this model."""
    tower, reducer = model.tower, model.reducer

    def count(document: Document) -> int:
        tiles = tiles_of(None if document.crops is None else document.crops.tolist())
        marks = int((document.ids == model.visual_id).sum())
        groups = groups_of(tower, len(document.frames), film=document.film)
        return len(document.ids) - marks + int(reducer.count(groups, tower.grid, tiles=tiles))

    return count
