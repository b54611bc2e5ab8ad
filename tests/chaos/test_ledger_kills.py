"""The ledger alone, killed at every point of its path, at random times, stopped, raced and outlived: the rows that come
out are those of an undisturbed run, none lost, none doubled.

`make chaos` (or REELMILL_CHAOS=full) runs the whole set of random kills; the default is a fixed small part of it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from nursery import Forked, Nursery

from reelmill.sinks.dataset import Dataset
from reelmill.sinks.state import lease as leases
from reelmill.sinks.state.lease import held
from reelmill.sinks.state.records import record_bytes

PROGRAM = Path(__file__).with_name("_writer.py")
NUMBER, SEED, GROUP = 32, 7, 4
FULL = os.environ.get("REELMILL_CHAOS") == "full"
STORES, KILLS = (14, 6) if FULL else (3, 4)

SHM = Path("/dev/shm")
"""Memory: what kill -9 leaves behind is the same there as on a disk, and syncing is free."""

ONCE = ("lease.taken", "seal.written", "snapshot.written")
OFTEN = (
    *("folder.made", "object.write", "object.synced", "object.renamed", "part.written"),
    *("commit.before", "commit.written", "lease.beat", "lease.released"),
)
"""A beat and a release are three steps of an object and one of their own, known by one name."""


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_writer", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_writer"] = module  # its dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


writer: Any = _load()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(dir=SHM if os.access(SHM, os.W_OK) else None))
    try:
        yield root / "made" / "1"
    finally:
        shutil.rmtree(root)


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as place:
        yield place


@pytest.fixture(scope="module", autouse=True)
def nursery() -> Iterator[Nursery]:
    Program.forked_by = Nursery([sys.executable, str(PROGRAM), "--nursery"])
    yield Program.forked_by
    Program.forked_by.close()


class Program(Forked):
    """A running `_writer.py`."""

    forked_by: ClassVar[Nursery]

    def __init__(self, folder: Path, *options: str, fault: str = "") -> None:
        super().__init__(self.forked_by, [str(folder), str(NUMBER), str(SEED), *options], fault=fault)


def run(folder: Path, *options: str, fault: str = "") -> tuple[int, str, str]:
    with Program(folder, *options, fault=fault) as program:
        return program.end()


def require_whole(folder: Path) -> None:
    """All keys done, once; rows, children and frames are what they must be, by two accounts."""
    want = writer.expected(writer.keys_of(NUMBER, SEED), SEED)
    dataset = Dataset(folder)
    counts = dataset.counts()
    assert (counts.live, counts.pending, counts.closes) == (NUMBER, 0, True)
    assert writer.promised(dataset) == want
    assert writer.recounted(folder) == want


def finish(folder: Path, group: int = GROUP) -> None:
    """The next run, at once, in this process; then the account, before and after garbage is collected."""
    writer.drive(folder, NUMBER, SEED, group)
    require_whole(folder)
    writer.collect(folder)
    require_whole(folder)
    assert list(folder.rglob(".aside-*")) == []
    assert Dataset(folder).ledger.garbage() == []


@pytest.fixture(scope="module")
def points() -> dict[str, int]:
    """How often an undisturbed run reaches each point."""
    with scratch() as folder:
        rc, said, err = run(folder, fault="none:kill")
        assert rc == 0, err
        require_whole(folder)
    counted: dict[str, int] = json.loads(said)["points"]
    return counted


def test_every_point_of_a_run_is_walked_through(points: dict[str, int]) -> None:
    assert points.keys() == {*ONCE, *OFTEN}
    assert {p for p, n in points.items() if n == 1} == set(ONCE)


@pytest.mark.parametrize("point", [*ONCE, *OFTEN])
def test_killed_at_a_point(folder: Path, points: dict[str, int], point: str) -> None:
    """At its first, second and last time in a run, each on a dataset of its own; the next run groups keys otherwise."""
    for nth in sorted({1, min(2, points[point]), points[point]}):
        rc, _, _ = run(folder, fault=f"{point}:kill:{nth}")
        assert rc == -signal.SIGKILL
        finish(folder, group=GROUP if nth == 1 else 7)
        shutil.rmtree(folder.parent)


@pytest.mark.parametrize("point", ["object.synced", "object.renamed", "seal.written", "void.written"])
def test_killed_while_keys_are_sent_back(folder: Path, point: str) -> None:
    writer.drive(folder, NUMBER, SEED, GROUP)
    nth = 3 if point.startswith("object") else 1  # the lease, the seal, the void (or a beat)
    assert run(folder, "--void", fault=f"{point}:kill:{nth}")[0] == -signal.SIGKILL
    assert Dataset(folder).counts().closes
    finish(folder)


@pytest.mark.parametrize("nth", [1, 2, 9])
def test_killed_while_garbage_is_collected(folder: Path, nth: int) -> None:
    for _ in range(2):
        writer.drive(folder, NUMBER, SEED, group=1)
        writer.void(folder)
    assert len(Dataset(folder).ledger.garbage()) > nth
    assert run(folder, "--collect", fault=f"garbage.deleted:kill:{nth}")[0] == -signal.SIGKILL
    finish(folder)


@pytest.mark.parametrize(("action", "told"), [("full", "free some space"), ("denied", "choose another --store")])
@pytest.mark.parametrize("nth", [2, 9])
def test_a_store_that_refuses_ends_the_run_with_one_line(folder: Path, action: str, told: str, nth: int) -> None:
    rc, _, err = run(folder, fault=f"object.write:{action}:{nth}")
    if (rc, err) == (0, ""):  # a missed beat is no reason to end
        return
    assert rc == 2
    assert err.startswith("StoreUnusable: ")
    assert told in err
    assert err.count("\n") == 1
    assert list(folder.rglob(".aside-*")) == []
    finish(folder)


@pytest.fixture(scope="module")
def takes_s() -> float:
    """How long an undisturbed run takes here and now, key by key."""
    with scratch() as folder, Program(folder, "--group", "1") as program:
        program.hears("ready")
        started = time.monotonic()
        assert program.end()[0] == 0
    return time.monotonic() - started


@pytest.mark.parametrize("store", range(STORES))
def test_killed_at_random_times(folder: Path, store: int, takes_s: float) -> None:
    """The same dataset again and again, each run killed at another moment, keys sent back in between. A run that ended
    before its kill is no kill, and counts as none."""
    dice, kills = random.Random(f"kills {store}"), 0
    while kills < KILLS:
        with Program(folder, "--group", str(dice.choice([1, 1, 3]))) as program:
            program.hears("ready")
            kills += program.killed_after(dice.uniform(0.0, 0.9 * takes_s))
        if (folder / "dataset.json").exists():
            assert Dataset(folder).counts().closes
            writer.void(folder, every=dice.choice([1, 2]))
    finish(folder)


@pytest.mark.skipif(FULL, reason="the whole set is running")
def test_the_rest_of_the_random_kills() -> None:
    pytest.skip(f"ran {STORES * KILLS} random kills of 84; REELMILL_CHAOS=full runs them all")


def test_two_writers_started_at_once_work_one_after_the_other(folder: Path) -> None:
    with Program(folder, "--wait", "60") as one, Program(folder, "--wait", "60", "--group", "3") as other:
        assert [p.end()[0] for p in (one, other)] == [0, 0]
    assert leases.newest_token(Dataset(folder).ledger.objects) == 2
    finish(folder)


def test_a_writer_that_stands_still_is_alive(folder: Path) -> None:
    with Program(folder, fault="commit.before:stop:3") as first:
        first.stands_still()
        rc, _, err = run(folder)
        assert rc == 2
        assert err.startswith("Busy: dataset made@1 is being written by another run; seen: process ")
        assert f"process {first.pid} on " in err
        first.go_on()
        assert first.end()[0] == 0
    require_whole(folder)


@pytest.fixture
def orphan(folder: Path) -> Iterator[Program]:
    """A worker whose driver was killed after two groups. It passed its check and is about to write its first commit."""
    assert run(folder, fault="commit.written:kill:2")[0] == -signal.SIGKILL
    with Program(folder, "--worker", "1", "--group", "5", fault="commit.before:stop:1") as worker:
        worker.stands_still()
        yield worker


def test_a_commit_that_lands_after_the_seal_is_void(folder: Path, orphan: Program) -> None:
    ledger = Dataset(folder).ledger
    with held(ledger.objects, ledger.take()) as lease:
        before, pending = ledger.winners(), ledger.pending()
        orphan.go_on()
        rc, _, err = orphan.end()
        assert (rc, err.split(";")[0]) == (1, "StaleWriter: the run with lease 1 lost its lease")
        assert len(ledger.objects.list("commits")) == len(before.commits) + 1, "it did land"
        assert (ledger.winners(), ledger.pending()) == (before, pending), "and it counts for nothing"
        writer.work(Dataset(folder), lease, pending, SEED, GROUP)
    require_whole(folder)
    assert sum(n.startswith("commits/") for n in ledger.garbage()) == 1
    assert writer.collect(folder) > 0
    finish(folder)


def test_a_commit_that_lands_between_lease_and_seal_counts(folder: Path, orphan: Program) -> None:
    ledger = Dataset(folder).ledger
    before = len(ledger.pending())
    lease = leases.take(ledger.objects, what="dataset made@1")
    with held(ledger.objects, lease):
        orphan.go_on()
        assert orphan.end()[0] == 1
        ledger.seal(lease)
        pending = ledger.pending()
        assert len(pending) < before, "its work is kept"
        writer.work(Dataset(folder), lease, pending, SEED, GROUP)
    require_whole(folder)
    finish(folder)


def test_an_orphan_works_on_until_a_new_run_comes(folder: Path) -> None:
    assert run(folder, fault="commit.written:kill:2")[0] == -signal.SIGKILL
    with Program(folder, "--worker", "1", "--group", "1") as worker:
        worker.hears("ready")
        rc, _, err = run(folder, "--group", "6")
        assert rc == 0, err
        require_whole(folder)
        rc, _, err = worker.end()
        assert rc == 0 or err.startswith("StaleWriter: ")
    finish(folder)


def test_two_workers_that_are_given_the_same_groups(folder: Path) -> None:
    """A scheduler that thinks a worker dead starts another: the first commit of a group is the only one."""
    assert run(folder, fault="commit.before:kill:1")[0] == -signal.SIGKILL
    with Program(folder, "--worker", "1") as one, Program(folder, "--worker", "1") as other:
        assert [p.end()[0] for p in (one, other)] == [0, 0]
    require_whole(folder)
    assert len(Dataset(folder).ledger.objects.list("commits")) == NUMBER // GROUP
    finish(folder)


@pytest.mark.parametrize("point", ["lease.taken", "seal.written", "commit.before", "part.written"])
def test_a_driver_elsewhere_that_sleeps_too_long_loses_its_lease(folder: Path, point: str) -> None:
    with Program(folder, fault=f"{point}:stop:1") as sleeper:
        sleeper.stands_still()
        ledger = Dataset(folder).ledger
        move_away(folder, 1)
        started = time.monotonic()
        lease = leases.take(ledger.objects, what="dataset made@1", dead_after_s=0.6)
        assert time.monotonic() - started >= 0.6
        with held(ledger.objects, lease):
            ledger.seal(lease)
            sleeper.go_on()
            rc, _, err = sleeper.end()
            assert (rc, err.split(";")[0]) == (1, "StaleWriter: the run with lease 1 lost its lease")
    finish(folder)


def move_away(folder: Path, token: int) -> None:
    """Make a lease look as if taken on another machine, whose processes cannot be seen from here."""
    path = folder / "leases" / f"{token:06d}.json"
    said = {k: v for k, v in json.loads(path.read_text()).items() if k != "sha256"}
    path.write_bytes(record_bytes(said | {"machine": "elsewhere"}))
