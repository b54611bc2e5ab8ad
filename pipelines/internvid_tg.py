"""Temporally grounded events: when does it happen, what happens then, everything in order, what does not happen.

After InternVid-TG (DisTime, Zeng et al. 2025): events, several localisers, one accepted interval, templates. Here every
proposal is kept, agreement of two can be asked for, and there are ten forms. Events are read by rules from motion,
listed by a model and placed by localisers, or stated by people.
"""

from __future__ import annotations

from reelmill.pipelines import clips, events, listed_events
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines._truth import true_clips
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.grounding import CompileGrounding, CompileListed
from reelmill.pipelines.views.worded import SAMPLES
from reelmill.schemas.errors import BadInput


def recipe(
    evidence: str = "rules",
    agreement: bool = False,
    list_engine: str = "",
    localise_engine: str = "",
    embed_engine: str = "",
    model_revision: str = "",
    list_revision: str = "",
) -> Recipe:
    """One row per video clip, exploded into samples. `evidence` is rules; listed, for events as a model lists them and
    localisers agree (engines as in `listed_events`); human:SET:PATH for what the annotated set in PATH says; or truth
    for rendered scenes. `agreement` as in `events`."""
    if evidence == "truth":
        return Recipe(
            name="internvid_tg_truth", version="1", source=true_clips(), steps=(CompileGrounding(),), explode=SAMPLES
        )
    if evidence.startswith("human:"):
        return _from_people(evidence)
    if evidence == "listed":
        found = listed_events.recipe(list_engine, localise_engine, embed_engine, model_revision, list_revision)
        source = Rows(clips.recipe(), joined=(found,), only="video")
        return Recipe(name="internvid_tg_listed", version="1", source=source, steps=(CompileListed(),), explode=SAMPLES)
    if evidence != "rules":
        raise BadInput(f"evidence={evidence}", seen="an unknown kind", do="use rules, listed, truth or human:SET:PATH")
    source = Rows(clips.recipe(), joined=(events.recipe(agreement),), only="video")
    return Recipe(name="internvid_tg", version="1", source=source, steps=(CompileGrounding(),), explode=SAMPLES)


def _from_people(evidence: str) -> Recipe:
    from reelmill.pipelines import witnessed
    from reelmill.pipelines.sources.annotated.reading import is_dense
    from reelmill.pipelines.views.stated import CompileStated

    said = witnessed.stated(evidence)
    source = Rows(clips.recipe(), joined=(said,), only="video")
    step = CompileStated(dense=is_dense(evidence.split(":")[1]))
    own = said.name.replace("witnessed", "internvid_tg_human", 1)
    return Recipe(name=own, version="1", source=source, steps=(step,), explode=SAMPLES)
