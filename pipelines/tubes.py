"""Evidence: what moves in a clip, followed through every frame, and a coarse map of change beside it."""

from __future__ import annotations

from reelmill.annotators.tubes import FollowTubes
from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows


def recipe() -> Recipe:
    """One row per video clip, with its tubes."""
    return Recipe(name="tubes", version="1", source=Rows(clips.recipe(), only="video"), steps=(FollowTubes(),))
