"""Evidence: scores of clips and pictures: motion, sharpness, light, text; looks and safety by models of your own."""

from __future__ import annotations

from reelmill.annotators.score import Score, found_check
from reelmill.pipelines import clips, embeddings, text
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas.errors import BadInput


def recipe(
    aesthetic_head: str = "", embed_engine: str = "", safety: str = "", safety_revision: str = "", revision: str = ""
) -> Recipe:
    """One row per clip or picture. `aesthetic_head`: linear layers in a safetensors file, over the vectors of
    `embed_engine` (--engine embed=transformers:MODEL, `revision` its weights); `safety`: a function of yours as
    package.module:function, and what you call its revision. Both are left out, and null, where they are not given."""
    if aesthetic_head and not embed_engine.startswith("transformers:"):
        do = "give --engine embed=transformers:MODEL, the CLIP that the head was trained on"
        raise BadInput("an aesthetic head needs embeddings", seen=embed_engine or "no engine", do=do)
    if safety:
        found_check(safety)  # said before a dataset is begun, not by its first worker
    joined = (text.recipe(), *((embeddings.recipe(embed_engine, revision),) if aesthetic_head else ()))
    step = Score(aesthetic_head, safety=safety, safety_revision=safety_revision)
    source = Rows(clips.recipe(), joined=joined, with_frames=bool(safety))
    return Recipe(name="scores", version="1", source=source, steps=(step,))
