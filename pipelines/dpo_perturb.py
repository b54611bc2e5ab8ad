"""Preference pairs about time: a true account of a clip and a perturbed one, both checked against the same events.

After TEMPLE (arXiv 2503.16929): the list of what happens is perturbed (dropped, shuffled, reversed ...), one writer
tells both lists, and the trainer sees the clean frames with either. Here events stand for its clip captions, every
claim of both sides is checked, and stages that would coincide for a short list are made once.
"""

from __future__ import annotations

from reelmill.pipelines import clips, events, listed_events, witnessed
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines._truth import true_clips
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.preference import PAIRS, STATED_ORDER_S, CompareListed, ComparePerturbed
from reelmill.schemas.errors import BadInput


def recipe(
    evidence: str = "rules",
    agreement: bool = False,
    seed: int = 0,
    captions: str = "events",
    even: bool = True,
    list_engine: str = "",
    localise_engine: str = "",
    embed_engine: str = "",
    model_revision: str = "",
    list_revision: str = "",
) -> Recipe:
    """One row per video clip, exploded into pairs. `evidence`, `agreement` and engines as in `internvid_tg`; `seed`
    draws other perturbations and wordings; `captions` is what the lists are made of, so far events alone. `even=false`
    keeps pairs that a reader without the video sorts out, too (more stages and kinds), as a dataset of another name."""
    if captions != "events":
        raise BadInput(f"captions={captions}", seen="an unknown kind", do="use events")
    if not isinstance(even, bool):
        raise BadInput(f"even={even}", seen="neither true nor false", do="give true or false")
    form = "" if even else "_uneven"
    if evidence == "rules":
        found, own, step = events.recipe(agreement), "", ComparePerturbed(seed=seed, even=even)
    elif evidence == "truth":
        return _recipe(f"{form}_truth", true_clips(), ComparePerturbed(seed=seed, even=even))
    elif evidence == "listed":
        found = listed_events.recipe(list_engine, localise_engine, embed_engine, model_revision, list_revision)
        own, step = "_listed", CompareListed(seed=seed, even=even)
    elif evidence.startswith("human:"):
        found = witnessed.stated(evidence)
        own = found.name.replace("witnessed", "_human", 1)
        step = ComparePerturbed(seed=seed, even=even, order_s=STATED_ORDER_S)
    else:
        raise BadInput(f"evidence={evidence}", seen="an unknown kind", do="use rules, listed, truth or human:SET:PATH")
    return _recipe(form + own, Rows(clips.recipe(), joined=(found,), only="video"), step)


def _recipe(form: str, source: Rows, step: ComparePerturbed) -> Recipe:
    return Recipe(name=f"dpo_perturb{form}", version="1", source=source, steps=(step,), explode=PAIRS)
