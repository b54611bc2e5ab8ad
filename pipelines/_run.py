"""Running a recipe and everything it is fed from, dataset by dataset: list, lease, work on what is pending, record."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from reelmill.pipelines import _local
from reelmill.pipelines._plan import Plan
from reelmill.pipelines._recipe import Place, Recipe, in_order
from reelmill.pipelines._work import Done
from reelmill.pipelines.sources.rows import Rows, ready
from reelmill.schemas.errors import Drift, OverBudget
from reelmill.schemas.keys import canonical_json
from reelmill.sinks.dataset import Counts, Dataset
from reelmill.sinks.state.lease import Lease, held
from reelmill.sinks.state.points import reach
from reelmill.sinks.state.snapshot import Change

LIBRARIES = (
    "reelmill",
    "ray",
    "pyarrow",
    "duckdb",
    "av",
    "opencv-python-headless",
    "scenedetect",
    "rapidocr",
    "numpy",
    "pillow",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much trouble a run bears, and how much work it may do. Execution, not identity."""

    fault_share: float = 0.01
    fault_floor: int = 200
    max_rows: int | None = None
    wait_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Report:
    """What one run did to one dataset: `cached` rows were done before, `worked` now."""

    label: str
    folder: Path
    change: Change
    cached: int
    worked: int
    faults: int
    counts: Counts
    seconds: float
    step_seconds: dict[str, float] = field(default_factory=dict)


class Watcher(Protocol):
    """Somebody who shows progress."""

    def listing(self, label: str) -> Callable[[int, int], None]: ...

    def started(self, label: str, total: int, cached: int) -> None: ...

    def advanced(self, label: str, done: Done) -> None: ...

    def finished(self, report: Report) -> None: ...

    def waiting(self, label: str, holder: dict[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Silent:
    """Shows nothing."""

    def listing(self, label: str) -> Callable[[int, int], None]:
        del label
        return _unseen

    def started(self, label: str, total: int, cached: int) -> None: ...

    def advanced(self, label: str, done: Done) -> None: ...

    def finished(self, report: Report) -> None: ...

    def waiting(self, label: str, holder: dict[str, Any]) -> None: ...


def _unseen(done: int, total: int) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class Local:
    """Run in this process, `workers` threads wide (default: one per CPU that this process may use)."""

    workers: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    def run(self, plan: Plan, place: Place, lease: Lease, keys: list[str]) -> Iterator[Done]:
        groups = grouped(keys, plan.group_size(len(keys), self.workers))
        return _local.run_groups(plan, place, lease, groups, self.workers)


@dataclass(frozen=True, slots=True)
class OnRay:
    """Run on the Ray that this process is connected to."""

    def run(self, plan: Plan, place: Place, lease: Lease, keys: list[str]) -> Iterator[Done]:
        from reelmill.pipelines import _ray

        width = _ray.cluster_width(plan)
        return _ray.run_groups(plan, place, lease, grouped(keys, plan.group_size(len(keys), width.workers)), width)


Backend = Local | OnRay


def grouped(keys: list[str], size: int) -> list[list[str]]:
    return [keys[i : i + size] for i in range(0, len(keys), size)]


def run(
    recipe: Recipe,
    place: Place,
    backend: Backend | None = None,
    *,
    limits: Limits = Limits(),
    watcher: Watcher = Silent(),
) -> list[Report]:
    """Bring a recipe's dataset and all it is fed from up to date. Returns one report per dataset, sources first.

    Raises Drift before any work where a dataset was made by another recipe than today's, Busy where another run holds
    it longer than `limits.wait_s`, OverBudget where faults pass the budget, and what the source or the store raise.
    """
    recipes = in_order(recipe)
    plans = [Plan.of(one) for one in recipes]
    _require_no_drift(recipes, place)
    return [_run_one(plan, place, backend or Local(), limits, watcher) for plan in plans]


def identity(recipe: Recipe, place: Place) -> dict[str, Any]:
    """What dataset.json says of a dataset."""
    dataset = place.dataset(recipe)
    return {
        "name": dataset.name,
        "version": dataset.version,
        "recipe": recipe.name,
        "fingerprint": recipe.fingerprint(),
    }


def _require_no_drift(recipes: tuple[Recipe, ...], place: Place) -> None:
    for one in recipes:
        dataset = place.dataset(one)
        if dataset.ledger.identity() is not None:
            dataset.ledger.begin(identity(one, place))


def drifted(recipe: Recipe, place: Place) -> list[str]:
    """Names of the recipes whose datasets here were made by another form of them (or are fed by such)."""
    names = []
    for one in in_order(recipe):
        try:
            _require_no_drift((one,), place)
        except Drift:
            names.append(one.name)
    return names


def _run_one(plan: Plan, place: Place, backend: Backend, limits: Limits, watcher: Watcher) -> Report:
    started = time.monotonic()
    dataset = place.dataset(plan.recipe)
    entries = plan.recipe.source.entries(place, watcher.listing(dataset.label))
    dataset.ledger.begin(identity(plan.recipe, place))
    lease = dataset.ledger.take(limits.wait_s, lambda holder: watcher.waiting(dataset.label, holder))
    with held(dataset.ledger.objects, lease):
        changed = dataset.ledger.list_inputs(lease, entries)
        pending = dataset.ledger.pending()
        keys = _ready(plan.recipe, place, pending)[: limits.max_rows]
        cached = len({e.key for e in entries}) - len(pending)
        watcher.started(dataset.label, cached + len(keys), cached)
        done = _work(plan, place, backend, lease, keys, limits, watcher) if keys else []
        report = report_of(place.dataset(plan.recipe), changed, cached, done, started)
        if keys or changed or not (dataset.folder / "record.json").exists():
            record(dataset, report, lease)
    watcher.finished(report)
    return report


def _ready(recipe: Recipe, place: Place, keys: list[str]) -> list[str]:
    return ready(recipe.source, place, keys) if isinstance(recipe.source, Rows) else keys


def _work(
    plan: Plan, place: Place, backend: Backend, lease: Lease, keys: list[str], limits: Limits, watcher: Watcher
) -> list[Done]:
    done: list[Done] = []
    label, worked, faults = place.dataset(plan.recipe).label, 0, 0
    for one in backend.run(plan, place, lease, keys):
        done.append(one)
        watcher.advanced(label, one)
        worked += one.accepted + one.rejected + one.faults
        faults += one.faults
        if worked >= limits.fault_floor and faults > limits.fault_share * worked:
            first = next(iter(place.dataset(plan.recipe).ledger.faults().values()), "").strip().splitlines()[-1:]
            seen = f"{faults} faults in {worked} rows; the last: {''.join(first)}"
            budget = f"{limits.fault_share:.0%} after {limits.fault_floor} rows"
            raise OverBudget(f"{label}: faults over the budget of {budget}", seen=seen, do="mend the cause, run again")
    return done


def report_of(dataset: Dataset, changed: Change, cached: int, done: list[Done], started: float) -> Report:
    seconds: Counter[str] = Counter()
    for one in done:
        seconds.update(one.seconds)
    return Report(
        label=dataset.label,
        folder=dataset.folder,
        change=changed,
        cached=cached,
        worked=sum(d.accepted + d.rejected for d in done),
        faults=sum(d.faults for d in done),
        counts=dataset.counts(),
        seconds=time.monotonic() - started,
        step_seconds={k: round(v, 3) for k, v in seconds.items()},
    )


def record(dataset: Dataset, report: Report, lease: Lease) -> None:
    """Facts of the run, outside the promised bytes: written last."""
    counts = dataclasses.asdict(report.counts) | {"reasons": {"/".join(k): v for k, v in report.counts.reasons.items()}}
    facts = {
        "format": 1,
        "dataset": report.label,
        "identity": dataset.identity,
        "run": lease.token,
        "argv": [word.encode("utf-8", "backslashreplace").decode() for word in sys.argv],
        "ended_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(report.seconds, 3),
        "step_seconds": report.step_seconds,
        "worked": report.worked,
        "cached": report.cached,
        "faults": report.faults,
        "counts": counts,
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "commit": _commit(),
    }
    dataset.ledger.objects.put("record.json", canonical_json(facts).encode())
    reach("record.written")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _commit() -> str:
    """Commit of the checkout that this code runs from, '' where it is an installed package."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return ""
    git = shutil.which("git")
    if git is None:
        return ""
    told = subprocess.run([git, "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    return told.stdout.strip()
