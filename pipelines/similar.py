"""Evidence: when a clip looks like what is said of it: similarity of its frames to phrases, yours or listed ones."""

from __future__ import annotations

from typing import Any

from reelmill.annotators.localise import ListedPhrases, Localise, SamePhrases
from reelmill.pipelines import clips, embeddings, listed
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas.errors import BadInput


def recipe(
    embed_engine: str = "",
    phrases: Any = (),
    list_engine: str = "",
    model_revision: str = "",
    list_revision: str = "",
    localise_engine: str = "",
) -> Recipe:
    """One row per video clip. `embed_engine` (--engine embed=...) is transformers:MODEL, a dual encoder. `phrases`
    (--set phrases="a dog jumps; a car stops", or a list) are asked of every clip; with `list_engine` (--engine
    list=...) each clip's own listed events are; `localise_engine` is that of `listed`, where it has one of its own."""
    if not embed_engine:
        do = "give --engine embed=transformers:MODEL, a CLIP or SigLIP checkpoint"
        raise BadInput("phrases are compared by a model", seen="no engine", do=do)
    asked = _phrases(phrases)
    if bool(asked) == bool(list_engine):
        do = 'give --set phrases="a dog jumps", or --engine list=openai:MODEL@URL for what is listed of each'
        raise BadInput("similar wants phrases", seen="both ways" if asked else "none", do=do)
    vectors = embeddings.recipe(embed_engine, model_revision)
    evidence = (listed.recipe(list_engine, localise_engine, list_revision),) if list_engine else ()
    words = ListedPhrases() if list_engine else SamePhrases(asked)
    source = Rows(clips.recipe(), joined=(vectors, *evidence), only="video")
    steps = (words, Localise(embed_engine, model_revision=model_revision))
    return Recipe(name="similar", version="1", source=source, steps=steps)


def _phrases(given: Any) -> tuple[str, ...]:
    """One phrase, or several, without those that say nothing. Raises BadInput for anything else."""
    several = given.split(";") if isinstance(given, str) else given
    if not isinstance(several, list | tuple) or not all(isinstance(p, str) for p in several):
        raise BadInput(f"phrases={given!r}", seen="no phrases", do='give --set phrases="a dog jumps; a car stops"')
    return tuple(dict.fromkeys(p.strip() for p in several if p.strip()))
