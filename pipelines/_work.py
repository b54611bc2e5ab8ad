"""One worker: loads a group of keys, runs the guarded chain of steps over it, and commits what came out.

Both back ends do exactly this; they differ in how many workers there are and who starts them again.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from reelmill.annotators.annotator import Annotator, step_name
from reelmill.annotators.asking import Asks
from reelmill.annotators.engines.opening import Engines
from reelmill.annotators.engines.spending import Usage
from reelmill.annotators.pulse import Pulse, told_to
from reelmill.pipelines._guard import run_step, with_outcome
from reelmill.pipelines._plan import Plan
from reelmill.pipelines._recipe import Load, Place
from reelmill.schemas.errors import GuardBroken
from reelmill.schemas.verdict import State
from reelmill.sinks.ledger import KeyOutcome
from reelmill.sinks.parts import has_new_frames, part_files, table_files
from reelmill.sinks.state.lease import Lease


def lent(step: Annotator, engines: Engines) -> Annotator:
    """A worker's own copy of a step; one that asks a model is lent the engines that all workers share."""
    if hasattr(step, "engines"):
        return cast(Annotator, dataclasses.replace(cast(Any, step), engines=engines))
    return copy.copy(step)


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one group of keys, by count; `fault` is the last line on the last row that failed."""

    accepted: int
    rejected: int
    faults: int
    children: int
    accepted_children: int
    seconds: dict[str, float]
    fault: str = ""
    usage: dict[str, Usage] = field(default_factory=dict)


class Worker:
    """Steps that are set up once and used for many groups. Not shared between threads; `load` and `engines` may be."""

    def __init__(
        self,
        plan: Plan,
        place: Place,
        lease: Lease,
        engines: Engines,
        load: Load | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        self.plan, self.lease, self.pulse = plan, lease, pulse or Pulse()
        self.pulse.at("open")
        self.ledger = place.dataset(plan.recipe).ledger
        self.load = load or plan.recipe.source.open(place, plan.recipe)
        self.steps = tuple(lent(step, engines) for step in plan.recipe.steps)
        for step in self.steps:
            self.pulse.at(f"setup of {step_name(step)}")
            step.setup()
        self.pulse.at("")

    def close(self) -> None:
        """End what steps hold (decode children, for example)."""
        for step in self.steps:
            if hasattr(step, "close"):
                step.close()

    def do(self, keys: Sequence[str]) -> Done:
        """Work on a group of keys and commit it. Rows with a fault are not committed: they stay pending."""
        with told_to(self.pulse):
            try:
                return self._done(keys)
            finally:
                # Arrow keeps what each thread freed, by which memory between groups of unlike size went up by 100 MB.
                pa.default_memory_pool().release_unused()
                self.pulse.at("")

    def _done(self, keys: Sequence[str]) -> Done:
        seconds: dict[str, float] = {}
        self.pulse.at("load", keys)
        table = self._timed("load", seconds, lambda: self._loaded(keys))
        for step, edge in zip(self.steps, self.plan.edges, strict=True):
            self.pulse.at(edge.step, keys)
            table = self._timed(edge.step, seconds, lambda s=step, t=table: run_step(s, t))
            table = table.select(["key", *edge.alive, "verdict", "fault"])
        self.pulse.at("commit", keys)
        return self._commit(table, seconds)

    def _loaded(self, keys: Sequence[str]) -> pa.Table:
        table = self.load(keys)
        if table["key"].to_pylist() != list(keys):
            raise GuardBroken(
                f"the source of {self.plan.recipe.name} was asked for {len(keys)} keys",
                seen=f"{table.num_rows} rows",
                do="return each key once, in order",
            )
        return with_outcome(table)

    def _commit(self, table: pa.Table, seconds: dict[str, float]) -> Done:
        usage = {
            step_name(step): used for step in self.steps if isinstance(step, Asks) and (used := step.spent()).calls
        }
        failed = table.select(["key", "fault"]).filter(pc.is_valid(table["fault"])).to_pylist()
        faults = {r["key"]: r["fault"] for r in failed}
        if faults:
            self.ledger.record_faults(self.lease, faults)
            table = table.filter(pc.is_null(table["fault"]))
        outcomes, files = self._files(table)
        if outcomes:
            self.ledger.commit(self.lease, outcomes, files, seconds, {k: asdict(v) for k, v in usage.items()})
        states = Counter(o.state for o in outcomes)
        return Done(
            accepted=states[State.ACCEPTED],
            rejected=states[State.REJECTED],
            faults=len(faults),
            children=sum(o.children for o in outcomes),
            accepted_children=sum(o.accepted_children for o in outcomes),
            seconds=seconds,
            usage=usage,
            fault=next((f"{k}: {v.strip().splitlines()[-1]}" for k, v in reversed(faults.items())), ""),
        )

    def _files(self, good: pa.Table) -> tuple[list[KeyOutcome], dict[str, bytes]]:
        recipe = self.plan.recipe
        if has_new_frames(recipe.keeps, recipe.explode):
            return part_files(good.to_pylist(), recipe.keeps, recipe.explode)
        return table_files(good, recipe.keeps, recipe.explode)

    def _timed(self, name: str, seconds: dict[str, float], work: Any) -> pa.Table:
        before_s = self.pulse.cpu_s
        out = work()
        seconds[name] = round(seconds.get(name, 0.0) + self.pulse.cpu_s - before_s, 6)
        return out
