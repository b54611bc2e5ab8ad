"""Evidence: the text that can be read in a clip's shown frames and in pictures."""

from __future__ import annotations

from reelmill.annotators.text import ReadText
from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows


def recipe() -> Recipe:
    """One row per clip or picture, with its lines of text."""
    return Recipe(name="text", version="1", source=Rows(clips.recipe(), with_frames=True), steps=(ReadText(),))
