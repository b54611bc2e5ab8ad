"""Preference pairs out of one model's own answers: chosen is one without a false statement, rejected one with some.

After RLAIF-V (Yu et al. 2024): answers are split into statements, each is checked by itself, and two answers make a
pair where they differ in how many are false. Here the chosen answer has none.
"""

from __future__ import annotations

from reelmill.pipelines import clips, sampled_answers
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.fact_pairs import PAIRS, CompareFacts


def recipe(
    answer_engine: str = "",
    judge_engine: str = "",
    samples: int = 10,
    temperature: float = 0.7,
    least_gap: int = 1,
    most_pairs: int = 2,
    seed: int = 0,
) -> Recipe:
    """One row per clip or picture, exploded into at most `most_pairs` pairs that differ by `least_gap` false statements
    or more. Engines and sampling as in `sampled_answers`."""
    checked = sampled_answers.recipe(answer_engine, judge_engine, samples, temperature, seed)
    source = Rows(clips.recipe(), joined=(checked,))
    step = CompareFacts(least_gap=least_gap, most_pairs=most_pairs, seed=seed)
    return Recipe(name="fact_pairs", version="1", source=source, steps=(step,), explode=PAIRS)
