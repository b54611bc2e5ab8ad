"""Curated clips without words: shown frames, motion, sharpness and a hash of each clip, for captioners of your own."""

from __future__ import annotations

import math
from typing import Any

from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.curated import SAMPLES, CompileCurated
from reelmill.schemas.errors import BadInput


def recipe(
    short_side_px: int = clips.DEFAULT.side_px,
    every_s: float = clips.DEFAULT.every_s,
    min_motion: float = 0.0,
    min_sharpness: float = 0.0,
) -> Recipe:
    """One sample per clip or picture. The first two options are those of `clips`; below `min_motion` (videos) or
    `min_sharpness` a clip is rejected here, and its dataset of clips stays as it is."""
    step = CompileCurated(
        min_motion=_least("min_motion", min_motion), min_sharpness=_least("min_sharpness", min_sharpness)
    )
    source = Rows(clips.recipe(short_side_px, every_s))
    return Recipe(name="curated", version="1", source=source, steps=(step,), explode=SAMPLES)


def _least(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise BadInput(f"{name}={value}", seen="no such threshold", do="give a number from 0 up")
    return float(value)
