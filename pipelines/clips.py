"""Clips: units cut at shot changes, judged, with their shown frames stored once. A picture is a clip of one frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reelmill.annotators.cut import CLIPS, CutClips
from reelmill.annotators.cutting.shots import ShotRules
from reelmill.annotators.cutting.shown import ShownRules
from reelmill.pipelines import media
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas.clip import UNIT_MAX_S
from reelmill.schemas.errors import BadInput

DEFAULT = ShownRules()
UNCUT = ShotRules(same=2.0, black_luma=0.0, mix_total=2.0)
"""No difference of frames is over 1 and no luma under 0: no cut holds, nothing is black and nothing a dissolve."""


def recipe(short_side_px: int = DEFAULT.side_px, every_s: float = DEFAULT.every_s, whole: bool = False) -> Recipe:
    """One row per unit, exploded into clips.

    `short_side_px` and `every_s` say how large and how often the frames of a video are stored. `whole` takes each unit
    as one clip, shot changes and all: labels that somebody made of a whole video want that. Other options than the
    default's are another dataset, with its rule in its name, so that both can stand in one store.
    """
    shown = replace(DEFAULT, side_px=_whole(short_side_px), every_s=_seconds(every_s))
    name = "clips" if shown == DEFAULT else f"clips_{shown.side_px}px_{round(shown.every_s * 1000)}ms"
    step = CutClips(shots=UNCUT if _flag(whole) else ShotRules(), shown=shown)
    name = f"{name}_whole" if whole else name
    return Recipe(name=name, version="1", source=Rows(media.recipe()), steps=(step,), explode=CLIPS)


def _flag(whole: Any) -> bool:
    if not isinstance(whole, bool):
        raise BadInput(f"whole={whole}", seen="neither true nor false", do="give true or false")
    return whole


def _whole(short_side_px: Any) -> int:
    if isinstance(short_side_px, bool) or not isinstance(short_side_px, int) or not 16 <= short_side_px <= 4096:
        raise BadInput(f"short_side_px={short_side_px}", seen="no such size", do="give a whole number, 16 to 4096")
    return short_side_px


def _seconds(every_s: Any) -> float:
    """At whole milliseconds, which a name can say."""
    number = isinstance(every_s, int | float) and not isinstance(every_s, bool)
    if not number or not 0.01 <= every_s <= UNIT_MAX_S or round(every_s, 3) != every_s:
        raise BadInput(f"every_s={every_s}", seen="no such time", do=f"give 0.01 to {UNIT_MAX_S:g}, at most 3 decimals")
    return float(every_s)
