"""`explain --cost`: what models would use and cost on what is pending, from a pilot of a few rows."""

from __future__ import annotations

import dataclasses
import math

from rich.console import Console
from rich.table import Table

from reelmill.annotators.engines.profile import EngineProfile
from reelmill.pipelines._pilot import Pilot, pilots
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines._table import TableRecipe
from reelmill.schemas.errors import BadInput
from reelmill.sinks.state.place import Folder


def estimate(
    recipe: Recipe | TableRecipe, media: tuple[str, ...], store: Folder, name: str, profile: EngineProfile, count: int
) -> None:
    """A line for each dataset that asks a model. Raises BadInput where none does or nothing is there to ask about."""
    if isinstance(recipe, TableRecipe):
        raise BadInput(f"--cost of {recipe.name}", seen="a recipe over whole datasets", do="it asks no model")
    place = dataclasses.replace(place_of(store, media, name), profile=profile)
    found = pilots(recipe, place, count)
    if not found:
        raise BadInput(f"--cost of {recipe.name}", seen="no step asks a model", do="give --engine ABILITY=ENGINE")
    table = Table("dataset", "pending", "asked now", "calls", "tokens in", "tokens out", "cost", "seconds, one by one")
    for one in found:
        table.add_row(one.label, str(one.pending), str(len(one.rows)), *_numbers(one, profile))
    Console().print(table)
    if not any(one.pending for one in found):
        what = recipe.source.upstreams[0].name if recipe.source.upstreams else "its source"
        Console().print(f"nothing is pending here: run {what} with the same --media and --store first", highlight=False)


def _numbers(one: Pilot, profile: EngineProfile) -> tuple[str, ...]:
    total = one.total
    if not one.rows:
        return ("", "", "", "", "")
    error = "" if math.isnan(one.cost_error) else f" ± {one.cost_error:.4f}"
    cost = f"{total.cost:.4f}{error}{' by batch' * one.by_batch}" if profile.prices else "no price known"
    seconds = one.seconds / len(one.rows) * one.pending
    return f"{total.calls}", f"{total.tokens_in}", f"{total.tokens_out}", cost, f"{seconds:.0f}"
