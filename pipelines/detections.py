"""Evidence: things named by phrases, found in shown frames and pictures by an open-vocabulary detector."""

from __future__ import annotations

from typing import Any

from reelmill.annotators.detect import Detect
from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas.errors import BadInput


def recipe(detect_engine: str = "", phrases: Any = "", least_score: float = 0.3, model_revision: str = "") -> Recipe:
    """One row per clip or picture. `detect_engine` (--engine detect=...) is transformers:MODEL; `phrases` is
    "a dog; a red car", or a list; `model_revision` a commit. A good `least_score` differs from model to model."""
    if not detect_engine:
        seen, do = "no engine", "give --engine detect=transformers:MODEL; without weights, `tubes` says what moves"
        raise BadInput("things are detected by a model", seen=seen, do=do)
    asked = phrases.split(";") if isinstance(phrases, str) else list(phrases)
    wanted = tuple(p.strip() for p in asked if p.strip())
    if not wanted:
        raise BadInput("detection needs phrases", seen="none", do='give --set phrases="a dog; a red car"')
    step = Detect(detect_engine, wanted, model_revision=model_revision, least_score=least_score)
    return Recipe(name="detections", version="1", source=Rows(clips.recipe(), with_frames=True), steps=(step,))
