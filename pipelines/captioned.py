"""Captions by a model behind any OpenAI-compatible server, as one question and answer per clip or picture."""

from __future__ import annotations

from reelmill.pipelines import captions, clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.captioned import CompileCaption
from reelmill.pipelines.views.worded import SAMPLES


def recipe(caption_engine: str = "", prompt: str = "caption") -> Recipe:
    """One row per clip or picture, exploded into samples. Options as in `captions`."""
    source = Rows(clips.recipe(), joined=(captions.recipe(caption_engine, prompt),))
    return Recipe(name="captioned", version="1", source=source, steps=(CompileCaption(),), explode=SAMPLES)
