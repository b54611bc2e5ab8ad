"""Evidence: who enters, leaves, moves and stops, read off tubes, with what an independent localiser says of each."""

from __future__ import annotations

from reelmill.annotators.events import EVENTS, EventRules, ReadEvents
from reelmill.pipelines import clips, tubes
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows


def recipe(agreement: bool = False) -> Recipe:
    """One row per video clip, exploded into events; rejected ones are kept with every proposal. With `agreement`
    the second localiser must place it too: on scenes that costs more right events than it stops wrong ones (0022)."""
    step = ReadEvents(rules=EventRules(agreement=agreement))
    source = Rows(clips.recipe(), joined=(tubes.recipe(),), only="video")
    name = "events_agreed" if agreement else "events"  # views with and without may stand in one store
    return Recipe(name=name, version="1", source=source, steps=(step,), explode=EVENTS)
