"""Grounded dialogues in space and time: content, boxes, intervals, and tubes within intervals, in fifteen forms.

After ST-Align (LLaVA-ST, Li et al. 2025). The evidence is that of `tubes` and `events`; see decision 0032.
"""

from __future__ import annotations

from typing import Any

from reelmill.pipelines import clips, detections, events, tubes
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines._truth import true_clips
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.st_align import SAMPLES, CompileDetected, CompileStAlign
from reelmill.schemas.errors import BadInput


def recipe(
    evidence: str = "rules", agreement: bool = False, per_form: int = 2, detect_engine: str = "", phrases: Any = ""
) -> Recipe:
    """One row per clip, exploded into samples. `evidence` is rules; truth for rendered scenes; or detections for the
    forms about one frame, of pictures too, where `detect_engine` and `phrases` are those of `detections`. `agreement`
    as in `events`; `per_form` is the most accepted samples of one form and clip."""
    if isinstance(per_form, bool) or not isinstance(per_form, int) or per_form < 1:
        raise BadInput(f"per_form={per_form}", seen="no such number", do="give a whole number of at least 1")
    if evidence == "truth":
        exact = CompileStAlign(per_form=per_form)
        return Recipe(
            name="st_align_truth", version="1", source=true_clips(tubes=True), steps=(exact,), explode=SAMPLES
        )
    if evidence == "detections":
        source = Rows(clips.recipe(), joined=(detections.recipe(detect_engine, phrases),))
        step = CompileDetected(per_form=per_form)
        return Recipe(name="st_align_detected", version="1", source=source, steps=(step,), explode=SAMPLES)
    if evidence != "rules":
        raise BadInput(f"evidence={evidence}", seen="an unknown kind", do="use rules, truth or detections")
    source = Rows(clips.recipe(), joined=(tubes.recipe(), events.recipe(agreement)), only="video")
    compiled = CompileStAlign(per_form=per_form)
    return Recipe(name="st_align", version="1", source=source, steps=(compiled,), explode=SAMPLES)
