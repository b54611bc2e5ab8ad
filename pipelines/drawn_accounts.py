"""Evidence: several accounts of each clip's events by one model, for pairs that are ranked by a metric (`cotasks`)."""

from __future__ import annotations

from reelmill.annotators.sample_accounts import SampleAccounts
from reelmill.pipelines import clips, events
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas.errors import BadInput


def recipe(
    sample_engine: str = "", samples: int = 3, temperature: float = 0.8, agreement: bool = False, seed: int = 0
) -> Recipe:
    """One row per video clip. `sample_engine` (--engine sample=...) is asked `samples` times with nothing given, with
    the true times and with the true sentences; `agreement` as in `events`."""
    if not sample_engine:
        do = "give --engine sample=openai:MODEL@URL"
        raise BadInput("accounts are drawn from a model", seen="no engine", do=do)
    step = SampleAccounts(sample_engine, samples=samples, temperature=temperature, seed=seed)
    source = Rows(clips.recipe(), joined=(events.recipe(agreement),), only="video", with_frames=True)
    return Recipe(name="drawn_accounts", version="1", source=source, steps=(step,))
