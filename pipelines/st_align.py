"""Grounded dialogues in space and time: content, boxes, intervals, and tubes within intervals, in fifteen forms.

After ST-Align (LLaVA-ST, Li et al. 2025). The evidence is that of `tubes` and `events`; see decision 0032.
"""

from __future__ import annotations

from reelmill.pipelines import clips, events, media, tubes
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.st_align import SAMPLES, CompileStAlign
from reelmill.schemas.errors import BadInput


def recipe(evidence: str = "rules", agreement: bool = True, per_form: int = 2) -> Recipe:
    """One row per video clip, exploded into samples. `evidence` is rules, or truth for rendered scenes; `agreement` as
    in `events`; `per_form` is the most samples of one form and clip."""
    if isinstance(per_form, bool) or not isinstance(per_form, int) or per_form < 1:
        raise BadInput(f"per_form={per_form}", seen="no such number", do="give a whole number of at least 1")
    step = CompileStAlign(per_form=per_form)
    if evidence == "truth":
        return _from_truth(step)
    if evidence != "rules":
        raise BadInput(f"evidence={evidence}", seen="an unknown kind", do="use rules or truth")
    source = Rows(clips.recipe(), joined=(tubes.recipe(), events.recipe(agreement)), only="video")
    return Recipe(name="st_align", version="1", source=source, steps=(step,), explode=SAMPLES)


def _from_truth(step: CompileStAlign) -> Recipe:
    from reelmill.annotators.cut import CLIPS
    from reelmill.pipelines.scenes.evidence import EVENTS, CutAtTruth, TrueEvents, TrueTubes

    cut = Recipe(
        name="clips_truth", version="1", source=Rows(media.recipe(), only="video"), steps=(CutAtTruth(),), explode=CLIPS
    )
    followed = Recipe(name="tubes_truth", version="1", source=Rows(cut), steps=(TrueTubes(),))
    happened = Recipe(name="events_truth", version="1", source=Rows(cut), steps=(TrueEvents(),), explode=EVENTS)
    source = Rows(cut, joined=(followed, happened), only="video")
    return Recipe(name="st_align_truth", version="1", source=source, steps=(step,), explode=SAMPLES)
