"""Running a recipe and everything it is fed from, dataset by dataset: list, lease, work on what is pending, record."""

from __future__ import annotations

import dataclasses
import platform
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from reelmill.annotators.asking import Asks
from reelmill.annotators.engines import checkpoints
from reelmill.annotators.engines.engine import EngineSpec
from reelmill.annotators.engines.spending import Usage
from reelmill.annotators.pulse import Pulse, quiet_for
from reelmill.pipelines import _local, _machine
from reelmill.pipelines._plan import Plan
from reelmill.pipelines._recipe import Place, Recipe, in_order
from reelmill.pipelines._watch import Board, watched
from reelmill.pipelines._work import Done
from reelmill.pipelines.sources.annotated.imports import ImportedRows
from reelmill.pipelines.sources.films import Films
from reelmill.pipelines.sources.rows import Rows, ready
from reelmill.schemas.errors import Drift, OverBudget
from reelmill.schemas.keys import canonical_json
from reelmill.schemas.points import reach
from reelmill.sinks.dataset import Counts, Dataset
from reelmill.sinks.state.lease import Lease, held
from reelmill.sinks.state.objects import store_trouble
from reelmill.sinks.state.place import Folder
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


_EDGE = 1e-9  # 0.29 of 100 rows is 28.999999999999996: rounding is no fault
_LEASE_MARGIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much trouble a run bears, and how much work it may do. Execution, not identity.

    More than `fault_share` of at least `fault_floor` rows may not fail. A process in which nothing moves for
    `stuck_after_s` seconds is ended with code 1; 0: never, which is what a library in somebody else's process wants.
    """

    fault_share: float = 0.01
    fault_floor: int = 200
    max_rows: int | None = None
    wait_s: float = 600.0
    stuck_after_s: float = 0.0

    def over(self, faults: int, worked: int) -> bool:
        """True where faults pass the budget; a share that is met exactly does not."""
        return worked >= self.fault_floor and faults > self.fault_share * worked + _EDGE


@dataclass(frozen=True, slots=True)
class Report:
    """What one run did to one dataset: `cached` rows were done before, `worked` now."""

    label: str
    folder: Folder
    change: Change
    cached: int
    worked: int
    faults: int
    counts: Counts
    seconds: float
    step_seconds: dict[str, float] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)


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
    """Run in this process, `workers` threads wide (default: one per CPU, as many as memory has room for)."""

    workers: int = field(default_factory=_machine.default_workers)

    def run(self, plan: Plan, place: Place, lease: Lease, keys: list[str], board: Board) -> Generator[Done, None, None]:
        workers = plan.local_workers(self.workers, _machine.gpus())
        groups = grouped(keys, plan.group_size(len(keys), workers))
        return _local.run_groups(plan, place, lease, groups, workers, board)


@dataclass(frozen=True, slots=True)
class OnRay:
    """Run on the Ray that this process is connected to."""

    def run(self, plan: Plan, place: Place, lease: Lease, keys: list[str], board: Board) -> Generator[Done, None, None]:
        from reelmill.pipelines import _ray

        width = _ray.cluster_width(plan)
        groups = grouped(keys, plan.group_size(len(keys), width.workers))
        return _ray.run_groups(plan, place, lease, groups, width, board)


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
    plans = [Plan.of(one, place.profile) for one in recipes]
    with store_trouble(place.store):
        _require_no_drift(recipes, place)
        _require_engines(plans, place, here=not isinstance(backend, OnRay))
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


def _require_engines(plans: list[Plan], place: Place, *, here: bool) -> None:
    """Raises EngineUnusable, NotFound or BadInput before any work where a model is not there or cannot do it.

    Models that run in the workers are looked for only where the workers are `here`, in this process.
    """
    steps = [step for plan in plans for step in plan.recipe.steps]
    with place.engines() as engines:
        for step in steps:
            if isinstance(step, Asks) and (here or not step.in_process):
                engines.get(step.engine, step.model_revision).check(images=step.sends_images)
            elif here and not isinstance(step, Asks):
                _require_checkpoint(getattr(step, "engine", ""), getattr(step, "model_revision", ""))


def _require_checkpoint(engine: str, revision: str) -> None:
    if engine.startswith("transformers:"):
        checkpoints.configuration(engine, EngineSpec.parse(engine).model, revision)


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
    dataset = place.dataset(plan.recipe)
    with watched(dataset, limits.stuck_after_s) as board:
        report = _run_watched(plan, place, backend, limits, watcher, board)
    watcher.finished(report)
    return report


def _run_watched(plan: Plan, place: Place, backend: Backend, limits: Limits, watcher: Watcher, board: Board) -> Report:
    started, driver, dataset = time.monotonic(), board.driver, place.dataset(plan.recipe)
    driver.at("listing")
    entries = plan.recipe.source.entries(place, _heard(driver, watcher.listing(dataset.label)))
    driver.at("taking the lease")
    dataset.ledger.begin(identity(plan.recipe, place))
    with quiet_for(limits.wait_s + _LEASE_MARGIN_S):
        lease = dataset.ledger.take(limits.wait_s, lambda holder: watcher.waiting(dataset.label, holder))
    with held(dataset.ledger.objects, lease):
        board.lease = lease
        driver.at("finding what is pending")
        changed = dataset.ledger.list_inputs(lease, entries)
        pending = dataset.ledger.pending()
        keys = _ready(plan.recipe, place, pending)[: limits.max_rows]
        cached = len({e.key for e in entries}) - len(pending)
        watcher.started(dataset.label, cached + len(keys), cached)
        driver.at("waiting for the workers")
        done = _work(plan, place, backend, lease, keys, limits, watcher, board) if keys else []
        driver.at("counting")
        report = report_of(place.dataset(plan.recipe), changed, cached, done, started)
        if keys or changed or "record.json" not in dataset.ledger.objects.list(""):
            record(dataset, report, lease)
    return report


def _heard(driver: Pulse, progress: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Progress that counts as life; it is told by the threads that hash."""

    def told(done: int, total: int) -> None:
        driver.beat()
        progress(done, total)

    return told


def _ready(recipe: Recipe, place: Place, keys: list[str]) -> list[str]:
    if isinstance(recipe.source, ImportedRows):
        return recipe.source.ready(place, recipe, keys)
    if isinstance(recipe.source, Films):
        return recipe.source.ready(place, keys)
    return ready(recipe.source, place, keys) if isinstance(recipe.source, Rows) else keys


def _work(
    plan: Plan,
    place: Place,
    backend: Backend,
    lease: Lease,
    keys: list[str],
    limits: Limits,
    watcher: Watcher,
    board: Board,
) -> list[Done]:
    done: list[Done] = []
    label, worked, faults, last = place.dataset(plan.recipe).label, 0, 0, ""
    with closing(backend.run(plan, place, lease, keys, board)) as stream:
        for one in stream:
            board.driver.beat()
            done.append(one)
            watcher.advanced(label, one)
            worked += one.accepted + one.rejected + one.faults
            faults, last = faults + one.faults, one.fault or last
            if limits.over(faults, worked):
                seen = f"{faults} faults in {worked} rows; the last: {last}"
                budget = f"{100 * limits.fault_share:.4g}% after {limits.fault_floor} rows"
                do = "mend the cause, run again: what is committed counts"
                raise OverBudget(f"{label}: faults over the budget of {budget}", seen=seen, do=do)
    return done


def report_of(dataset: Dataset, changed: Change, cached: int, done: list[Done], started: float) -> Report:
    seconds: Counter[str] = Counter()
    usage: dict[str, Usage] = {}
    for one in done:
        seconds.update(one.seconds)
        usage |= {step: usage.get(step, Usage()) + used for step, used in one.usage.items()}
    return Report(
        label=dataset.label,
        folder=dataset.place,
        change=changed,
        cached=cached,
        worked=sum(d.accepted + d.rejected for d in done),
        faults=sum(d.faults for d in done),
        counts=dataset.counts(),
        seconds=time.monotonic() - started,
        step_seconds={k: round(v, 3) for k, v in seconds.items()},
        usage=usage,
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
        "usage": {step: dataclasses.asdict(used) for step, used in report.usage.items()},
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
