"""Questions about rendered documents (charts, tables, receipts, forms ...), answered from what they were drawn from.

After CoSyn (Yang et al. 2025): question and answer are made from the source of a picture, so that truth is exact.
"""

from __future__ import annotations

from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.code_guided import CompileDocument
from reelmill.pipelines.views.worded import SAMPLES
from reelmill.schemas.errors import BadInput


def recipe(each_max: int = 2) -> Recipe:
    """One row per picture of `reelmill documents`, exploded into samples; other pictures are refused as `no_truth`.

    `each_max` is the most questions of one task (look up, sum, locate ...) per document.
    """
    if isinstance(each_max, bool) or not isinstance(each_max, int) or each_max < 1:
        raise BadInput(f"each_max={each_max}", seen="no such number", do="give a whole number of 1 or more")
    source = Rows(clips.recipe(), only="image")
    step = CompileDocument(each_max=each_max)
    return Recipe(name="code_guided", version="1", source=source, steps=(step,), explode=SAMPLES)
