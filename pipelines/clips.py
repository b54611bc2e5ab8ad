"""Clips: units cut at shot changes, judged, with their shown frames stored once. A picture is a clip of one frame."""

from __future__ import annotations

from reelmill.annotators.cut import CLIPS, CutClips
from reelmill.pipelines import media
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows


def recipe() -> Recipe:
    """One row per unit, exploded into clips."""
    return Recipe(name="clips", version="1", source=Rows(media.recipe()), steps=(CutClips(),), explode=CLIPS)
