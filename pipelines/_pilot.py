"""A pilot: a few rows of what is pending are really asked about, and what all of them would use is worked out.

The answers are kept, so they are paid for once: the run takes them from the cache.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from reelmill.annotators.asking import Asks
from reelmill.annotators.engines.spending import Usage
from reelmill.annotators.shown import evenly
from reelmill.pipelines._guard import run_step, with_outcome
from reelmill.pipelines._plan import Plan
from reelmill.pipelines._recipe import Place, Recipe, in_order
from reelmill.pipelines._run import Silent
from reelmill.pipelines._work import lent
from reelmill.pipelines.sources.rows import Rows, ready

_TWO_SIDED_95 = 1.96


@dataclass(frozen=True, slots=True)
class Pilot:
    """Of `pending` rows of a dataset those in `rows` were asked about, in `seconds`. Where the run will ask `by_batch`
    they were asked live all the same, at the price by batch."""

    label: str
    pending: int
    rows: tuple[Usage, ...]
    seconds: float
    by_batch: bool = False

    @property
    def total(self) -> Usage:
        """What all pending rows would use, at the pilot's mean."""
        share = self.pending / max(1, len(self.rows))
        whole = sum(self.rows, Usage())
        calls, cached = round(whole.calls * share), round(whole.cached * share)
        tokens_in, tokens_out = round(whole.tokens_in * share), round(whole.tokens_out * share)
        return Usage(calls, cached, tokens_in, tokens_out, whole.cost * share)

    @property
    def cost_error(self) -> float:
        """Half the width of the 95 % interval of the cost, from the spread of the pilot's rows; nan for one row."""
        if len(self.rows) < 2:
            return math.nan
        spread = statistics.stdev(one.cost for one in self.rows) / math.sqrt(len(self.rows))
        return _TWO_SIDED_95 * spread * self.pending


def pilots(recipe: Recipe, place: Place, count: int) -> list[Pilot]:
    """One for each dataset in whose steps a model is asked. Rows without their evidence do not count as pending.

    Raises what the engines raise.
    """
    asking = [one for one in in_order(recipe) if any(isinstance(step, Asks) for step in one.steps)]
    return [_pilot(one, place, count) for one in asking]


def _pilot(recipe: Recipe, place: Place, count: int) -> Pilot:
    dataset = place.dataset(recipe)
    entries = recipe.source.entries(place, Silent().listing(""))
    done = dataset.winners.numbered.numbers([e.key for e in entries]).tolist() if dataset.winners.commits else []
    keys = [e.key for e, there in zip(entries, done or [-1] * len(entries), strict=True) if there < 0]
    keys = ready(recipe.source, place, keys) if isinstance(recipe.source, Rows) and keys else keys
    chosen = [keys[i] for i in evenly(len(keys), count)]
    started = time.monotonic()
    by_batch = Plan.of(recipe, place.profile).by_batch
    rows = _asked(recipe, _live(place) if by_batch else place, chosen) if chosen else ()
    return Pilot(dataset.label, len(keys), tuple(rows), time.monotonic() - started, by_batch)


def _live(place: Place) -> Place:
    """A place where nothing waits for a batch, at the prices that the run will pay."""
    profile = place.profile
    prices = {name: price.by_batch for name, price in profile.prices.items()}
    return dataclasses.replace(place, profile=dataclasses.replace(profile, batch_api=None, prices=prices))


def _asked(recipe: Recipe, place: Place, keys: Sequence[str]) -> list[Usage]:
    """What each row used. One after the other, so that each is known by itself."""
    load, used = recipe.source.open(place, recipe), []
    with place.engines() as engines:
        steps = [lent(step, engines) for step in recipe.steps]
        with ExitStack() as held:
            for step in steps:
                step.setup()
                if hasattr(step, "close"):
                    held.callback(step.close)
            for key in keys:
                table = with_outcome(load([key]))
                for step in steps:
                    table = run_step(step, table)
                used.append(sum((step.spent() for step in steps if isinstance(step, Asks)), Usage()))
    return used
