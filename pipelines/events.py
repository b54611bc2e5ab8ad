"""Evidence: who enters, leaves, moves and stops, read off tubes and checked against an independent localiser."""

from __future__ import annotations

from reelmill.annotators.events import EVENTS, EventRules, ReadEvents
from reelmill.pipelines import clips, tubes
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows


def recipe(agreement: bool = True) -> Recipe:
    """One row per video clip, exploded into events; rejected ones are kept with every proposal. `agreement` of a second
    localiser is asked for: on real film it takes out more wrong events than right ones, on clean scenes it does not."""
    step = ReadEvents(rules=EventRules(agreement=agreement))
    source = Rows(clips.recipe(), joined=(tubes.recipe(),), only="video")
    return Recipe(name="events", version="1", source=source, steps=(step,), explode=EVENTS)
