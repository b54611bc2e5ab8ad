"""Evidence: a caption of each clip or picture by a model behind an engine, with the times of the frames that it saw."""

from __future__ import annotations

from reelmill.annotators.caption import Caption
from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas.errors import BadInput


def recipe(caption_engine: str = "", prompt: str = "caption") -> Recipe:
    """One row per clip or picture. `caption_engine` (--engine caption=...) is openai:MODEL@URL or replay:FILE; `prompt`
    a prompt that ships, or package:name of your own."""
    if not caption_engine:
        raise BadInput("captions are made by a model", seen="no engine", do="give --engine caption=openai:MODEL@URL")
    source = Rows(clips.recipe(), with_frames=True)
    return Recipe(name="captions", version="1", source=source, steps=(Caption(caption_engine, prompt=prompt),))
