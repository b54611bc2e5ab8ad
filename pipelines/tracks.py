"""Evidence: detected things followed through every frame by SAM 2, and which of them the motion tubes confirm."""

from __future__ import annotations

from typing import Any

from reelmill.annotators.track import CompareTracks, Track, TrackRules
from reelmill.pipelines import clips, detections, tubes
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas.errors import BadInput


def recipe(
    track_engine: str = "",
    detect_engine: str = "",
    phrases: Any = "",
    least_score: float = 0.3,
    model_revision: str = "",
    detect_revision: str = "",
    most_things: int = 8,
) -> Recipe:
    """One row per video clip. `track_engine` (--engine track=...) is transformers:MODEL, a SAM 2 video checkpoint, with
    its commit `model_revision`; at most `most_things` of a clip are followed, each at the same cost. The other options
    are those of `detections`, whose boxes they are, with `detect_revision` for its commit."""
    if not track_engine:
        seen, do = "no engine", "give --engine track=transformers:MODEL; without weights, `tubes` says what moves"
        raise BadInput("detected things are tracked by a model", seen=seen, do=do)
    found = detections.recipe(detect_engine, phrases, least_score, detect_revision)
    source = Rows(clips.recipe(), joined=(found, tubes.recipe()), only="video")
    rules = TrackRules(most_things=most_things)
    steps = (Track(track_engine, model_revision=model_revision, rules=rules), CompareTracks())
    return Recipe(name="tracks", version="1", source=source, steps=steps)
