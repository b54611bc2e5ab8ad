"""Evidence: unit vectors of each clip's shown frames and of the clip, by CLIP or SigLIP, or by a fixed descriptor."""

from __future__ import annotations

from reelmill.annotators.embed import DESCRIPTOR, Embed
from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows


def recipe(embed_engine: str = "embedded", model_revision: str = "") -> Recipe:
    """One row per clip or picture. `embed_engine` (--engine embed=...) is embedded (colours and edges: no meaning, no
    texts) or transformers:MODEL, a dual encoder such as CLIP or SigLIP."""
    step = Embed(embed_engine, model_revision=model_revision)
    name = "embeddings_by_looks" if step.model == DESCRIPTOR else "embeddings"
    return Recipe(name=name, version="1", source=Rows(clips.recipe(), with_frames=True), steps=(step,))
