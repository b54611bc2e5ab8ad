"""Evidence: how sharp each shown frame of a video clip is, for views that choose key frames."""

from __future__ import annotations

from reelmill.annotators.sharpness import Sharpness
from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows


def recipe() -> Recipe:
    """One row per video clip."""
    source = Rows(clips.recipe(), only="video", with_frames=True)
    return Recipe(name="sharpness", version="1", source=source, steps=(Sharpness(),))
