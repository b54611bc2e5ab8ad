"""Evidence: several answers of one model about each clip or picture, every statement of each checked by another."""

from __future__ import annotations

from reelmill.annotators.check_facts import CheckFacts
from reelmill.annotators.sample_answers import SampleAnswers
from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas.errors import BadInput


def recipe(
    answer_engine: str = "", judge_engine: str = "", samples: int = 10, temperature: float = 0.7, seed: int = 0
) -> Recipe:
    """One row per clip or picture. `answer_engine` (--engine answer=...) is asked `samples` times, `judge_engine`
    (--engine judge=...) checks."""
    if not answer_engine or not judge_engine:
        do = "give --engine answer=openai:MODEL@URL and --engine judge=openai:MODEL@URL"
        raise BadInput("answers are given and checked by models", seen="an engine is missing", do=do)
    asked = SampleAnswers(answer_engine, samples=samples, temperature=temperature, seed=seed)
    source = Rows(clips.recipe(), with_frames=True)
    return Recipe(name="sampled_answers", version="1", source=source, steps=(asked, CheckFacts(judge_engine)))
