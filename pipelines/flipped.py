"""Flipped views: samples of another view turned round, from the answer back to the question (Flipped-VQA).

Only samples whose answer determines their question are turned; the others are rejected as `not_invertible`.
"""

from __future__ import annotations

import importlib
from typing import Any

from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.flipped import CompileFlipped
from reelmill.pipelines.views.worded import SAMPLES
from reelmill.schemas.errors import BadInput


def recipe(of: str = "internvid_tg", options: Any = None, frame_order: bool = False) -> Recipe:
    """One row per accepted sample of the view `of`, exploded into what it gives when turned round.

    `options` are those of the view (--set options='{"evidence": "truth"}'). `frame_order` adds samples whose answer is
    the order of the frames, for trainers with that objective. Raises BadInput on a recipe that makes no dialogues.
    """
    base = _view(of, options or {})
    if base.explode is None or base.explode.hint != SAMPLES.hint:
        raise BadInput(f"of={of}", seen="a recipe without plain dialogues", do="name a view, such as internvid_tg")
    step = CompileFlipped(frame_order=frame_order)
    return Recipe(name=f"flipped_{base.name}", version="1", source=Rows(base), steps=(step,), explode=SAMPLES)


def _view(name: str, options: dict[str, Any]) -> Recipe:
    if not (isinstance(name, str) and name.isidentifier() and not name.startswith("_")):
        raise BadInput(f"of={name}", seen="no name of a recipe", do="run `reelmill list`")
    try:
        made = importlib.import_module(f"reelmill.pipelines.{name}").recipe(**options)
    except (ModuleNotFoundError, AttributeError, TypeError) as error:
        raise BadInput(f"of={name} with options {options}", seen=str(error), do="see `reelmill explain`") from error
    if not isinstance(made, Recipe):
        raise BadInput(f"of={name}", seen="a recipe over whole datasets", do="name a view, such as internvid_tg")
    return made
