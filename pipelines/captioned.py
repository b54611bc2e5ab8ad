"""Captions as one question and answer per clip or picture: by rules (videos only), or by a model behind an engine."""

from __future__ import annotations

from reelmill.annotators.caption import CLIP
from reelmill.pipelines import captions, clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.captioned import CompileCaption
from reelmill.pipelines.views.worded import SAMPLES


def recipe(
    caption_engine: str = "embedded", prompt: str = "caption", form: str = CLIP, model_revision: str = ""
) -> Recipe:
    """One row per clip or picture, exploded into samples. Options as in `captions`."""
    made = captions.recipe(caption_engine, prompt, form, model_revision)
    rules = caption_engine == "embedded"
    source = Rows(clips.recipe(), joined=(made,), only="video" if rules else "")
    name = "captioned_by_rules" if rules else "captioned"
    step = CompileCaption(method="rules" if rules else "model")
    return Recipe(name=name, version="1", source=source, steps=(step,), explode=SAMPLES)
