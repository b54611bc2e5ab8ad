"""Every listed file: what it is, whether it can be used, and the units of work (at most 60 s) that it gives."""

from __future__ import annotations

from reelmill.annotators.identify import UNITS, Identify
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.files import Files


def recipe() -> Recipe:
    """One row per distinct file, exploded into units."""
    return Recipe(name="media", version="1", source=Files(), steps=(Identify(),), explode=UNITS)
