"""Evidence: whether a clip has sound, how loud it is and from when to when, and where something sets in."""

from __future__ import annotations

from reelmill.annotators.hear import Hear
from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows


def recipe() -> Recipe:
    """One row per clip or picture; those without sound say so."""
    return Recipe(name="sound", version="1", source=Rows(clips.recipe()), steps=(Hear(),))
