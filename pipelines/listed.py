"""Evidence: the events of a clip as a model lists them, and when each happens as a model says that is asked of it."""

from __future__ import annotations

from reelmill.annotators.ask_spans import AskSpans
from reelmill.annotators.list_events import ListEvents
from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas.errors import BadInput


def recipe(list_engine: str = "", localise_engine: str = "", model_revision: str = "") -> Recipe:
    """One row per video clip. `list_engine` (--engine list=...) lists, `localise_engine` (else the same) localises."""
    if not list_engine:
        do = "give --engine list=openai:MODEL@URL; `events` reads events off motion without one"
        raise BadInput("events are listed by a model", seen="no engine", do=do)
    steps = (
        ListEvents(list_engine, model_revision=model_revision),
        AskSpans(localise_engine or list_engine, model_revision=model_revision),
    )
    source = Rows(clips.recipe(), only="video", with_frames=True)
    return Recipe(name="listed", version="1", source=source, steps=steps)
