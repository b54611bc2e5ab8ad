"""Questions about text in video with times: when is it on screen, what is, what comes next, for how long."""

from __future__ import annotations

from reelmill.pipelines import clips, text
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.ocr_rich import text_truth, truth_wanted
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.text_times import CompileTextTimes
from reelmill.pipelines.views.worded import SAMPLES


def recipe(text_engine: str = "rapidocr", evidence: str = "rules", whole: bool = True) -> Recipe:
    """One row per video clip, exploded into samples. `text_engine` as in `text`; `evidence` is rules, or truth for
    rendered scenes. `whole` asks about units of up to 60 s, shot changes and all: within one shot text hardly changes.
    """
    true = truth_wanted(evidence)
    made = text_truth(whole) if true else text.recipe(text_engine, whole)
    source = Rows(clips.recipe(whole=whole), joined=(made,), only="video")
    name = f"{'text_times' if whole else 'text_times_of_shots'}{'_truth' if true else ''}"
    return Recipe(name=name, version="1", source=source, steps=(CompileTextTimes(),), explode=SAMPLES)
