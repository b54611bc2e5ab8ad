"""The ledger on an object store that loses, delays and breaks requests and answers, under writers that are killed,
stopped, raced and outlived: the rows that come out are those of an undisturbed run, none lost, none doubled.

Accounts are taken off the bucket itself, inside moto, and by rules that know nothing of our code. `make chaos` (or
REELMILL_CHAOS=full) runs the whole; the default is a fixed small part of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from nursery import Forked, Nursery
from stormy import CREDENTIALS, STORM, Door, OwnS3

from reelmill.sinks.dataset import Dataset
from reelmill.sinks.state import lease as leases
from reelmill.sinks.state.lease import held
from reelmill.sinks.state.records import record_bytes
from reelmill.sinks.state.s3 import PROBE, S3Folder, S3Options

PROGRAM = Path(__file__).with_name("_writer.py")
NUMBER, SEED, GROUP = 12, 11, 4
FULL = os.environ.get("REELMILL_CHAOS") == "full"
STORES, ROUNDS = (8, 5) if FULL else (2, 2)
TRIES, READ_S = 8, 1.5
AT_ONCE = 6
"""Programs that run beside each other: most of their time they wait for an answer or to try again."""

only_full = pytest.mark.skipif(not FULL, reason="REELMILL_CHAOS=full runs it; on a folder it always runs")
ONCE = ("lease.taken", "seal.written", "snapshot.written")
OFTEN = (
    *("object.write", "object.synced", "object.renamed", "part.written"),
    *("commit.before", "commit.written", "lease.beat", "lease.released"),
)


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_writer", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_writer"] = module  # its dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


writer: Any = _load()


class Program(Forked):
    """A running `_writer.py` that talks to its dataset through one door."""

    born: ClassVar[Nursery]

    def __init__(self, place: S3Folder, *options: str, fault: str = "") -> None:
        how = json.dumps(dataclasses.asdict(place.options))
        super().__init__(self.born, [str(place), str(NUMBER), str(SEED), "--s3", how, *options], fault=fault)


@dataclasses.dataclass(frozen=True)
class Home:
    """A dataset in a bucket of its own: through a door that breaks things, through a calm one, and as it lies there."""

    stormy: Door
    calm: Door
    bucket: str
    scratch: Path

    def place(self, door: Door | None = None, attempts: int = TRIES) -> S3Folder:
        options = S3Options((door or self.stormy).url, attempts=attempts, read_s=READ_S)
        return S3Folder(self.bucket, "store/made/1", options)

    @property
    def seen(self) -> Dataset:
        return Dataset(self.place(self.calm))

    def contents(self) -> dict[str, bytes]:
        return {k.removeprefix("store/made/1/"): v for k, v in self.calm.s3.contents(self.bucket).items()}

    def names(self, folder: str) -> list[str]:
        return [k for k in self.contents() if k.startswith(f"{folder}/")]

    def require_whole(self) -> None:
        """All keys done, once: off the bucket without our code, by our readers, and by them on a copy in a folder."""
        want = writer.expected(writer.keys_of(NUMBER, SEED), SEED)
        copy = self.calm.s3.copied(self.bucket, self.scratch / f"copy-{time.monotonic_ns()}") / "store" / "made" / "1"
        assert writer.recounted(copy) == want
        counts = self.seen.counts()
        assert (counts.live, counts.pending, counts.closes) == (NUMBER, 0, True)
        assert writer.promised(self.seen) == want
        assert writer.promised(Dataset(copy)) == want

    def finish(self, group: int = GROUP) -> None:
        """The next run, in calm weather; then the account, before and after garbage is collected."""
        calm = self.place(self.calm)
        writer.drive(calm, NUMBER, SEED, group)
        self.require_whole()
        writer.collect(calm)
        self.require_whole()
        self.require_clean()

    def require_clean(self) -> None:
        """No object but those that count, the records of the runs, and the one on which the store was tried."""
        assert self.seen.ledger.garbage() == []
        assert {k.partition("/")[0] for k in self.contents()} - {"voids", "faults"} == {
            *("dataset.json", PROBE, "leases", "seals", "snapshots", "parts", "commits"),
        }


@pytest.fixture(scope="module", autouse=True)
def calm() -> Iterator[Door]:
    pytest.importorskip("moto", reason="moto is not installed: there is no object store to be broken")
    with pytest.MonkeyPatch.context() as patch, OwnS3() as s3, Door(s3) as door:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        Program.born = Nursery([sys.executable, str(PROGRAM), "--nursery", "s3"])
        yield door
        Program.born.close()


@pytest.fixture
def homes(calm: Door, tmp_path: Path) -> Iterator[Any]:
    """Makes datasets, each behind a door of its own (`shares` of faults, seeded by its number)."""
    with contextlib.ExitStack() as opened:

        def make(shares: dict[str, float] | None = None, seed: int = 0) -> Home:
            door = opened.enter_context(Door(calm.s3, shares, seed))
            return Home(door, calm, calm.s3.bucket(), tmp_path)

        yield make


@pytest.fixture
def home(homes: Any) -> Home:
    """A dataset in a storm."""
    made: Home = homes(STORM, SEED)
    return made


def run(home: Home, *options: str, fault: str = "", attempts: int = TRIES) -> tuple[int, str, str]:
    with Program(home.place(attempts=attempts), *options, fault=fault) as program:
        return program.end()


def together(homes: Sequence[Home], *options: str, faults: Sequence[str] = ()) -> list[tuple[int, str, str]]:
    """A program for each dataset, a few at once; what each ended with."""
    ended: list[tuple[int, str, str]] = []
    for start in range(0, len(homes), AT_ONCE):
        with contextlib.ExitStack() as running:
            batch = zip(homes[start:][:AT_ONCE], [*faults[start:][:AT_ONCE], *[""] * AT_ONCE], strict=False)
            programs = [running.enter_context(Program(h.place(), *options, fault=f)) for h, f in batch]
            ended += [p.end() for p in programs]
    return ended


def weather_met(homes: Sequence[Home]) -> set[str]:
    return {fault for home in homes for fault, times in home.stormy.met.items() if times}


# ---- killed ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def points(calm: Door, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How often an undisturbed run reaches each point."""
    home = Home(calm, calm, calm.s3.bucket(), tmp_path_factory.mktemp("undisturbed"))
    rc, said, err = run(home, fault="none:kill")
    assert rc == 0, err
    home.require_whole()
    counted: dict[str, int] = json.loads(said)["points"]
    return counted


def test_killed_at_every_point_in_a_storm(homes: Any, points: dict[str, int]) -> None:
    """At its first, second and last time in a run, each on a dataset of its own; then a run with other groups, and
    garbage collected, in the same storm."""
    assert points.keys() == {*ONCE, *OFTEN}
    cases = [(p, n) for p in (*ONCE, *OFTEN) for n in sorted({1, min(2, points[p]), points[p]})]
    cases = cases if FULL else [(p, max(1, points[p] // 2)) for p in ("lease.taken", "object.synced", "commit.written")]
    made = [homes(STORM, seed) for seed in range(len(cases))]
    killed = together(made, faults=[f"{p}:kill:{n}" for p, n in cases])
    assert [rc for rc, _, _ in killed] == [-signal.SIGKILL] * len(cases)
    for options in (["--group", "7"], ["--collect"]):
        assert [(rc, err) for rc, _, err in together(made, *options)] == [(0, "")] * len(cases)
        for home in made:
            home.require_whole()
    for home in made:
        home.require_clean()
    if FULL:
        assert weather_met(made) == set(STORM)


def test_killed_while_keys_are_sent_back_and_garbage_is_collected(homes: Any) -> None:
    cases = [("--void", p) for p in ("object.synced:kill:3", "void.written:kill")]
    cases += [("--collect", f"garbage.deleted:kill:{nth}") for nth in (1, 2, 5)]
    cases = cases if FULL else cases[-1:]
    for seed, (verb, fault) in enumerate(cases):
        home = homes(STORM, seed)
        writer.drive(home.place(home.calm), NUMBER, SEED, group=1)
        writer.void(home.place(home.calm))
        assert run(home, verb, fault=fault)[0] == -signal.SIGKILL
        assert home.seen.counts().closes
        home.finish()


@pytest.fixture(scope="module")
def takes_s(calm: Door, tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long a run takes here and now, key by key, in calm weather, beside others."""
    made = [Home(calm, calm, calm.s3.bucket(), tmp_path_factory.mktemp("timed")) for _ in range(STORES)]
    started = time.monotonic()
    assert [rc for rc, _, _ in together(made, "--group", "1")] == [0] * STORES
    return (time.monotonic() - started) * AT_ONCE / max(AT_ONCE, STORES)


def test_killed_at_random_times_in_a_storm(homes: Any, takes_s: float) -> None:
    """The same datasets again and again, each run killed at another moment, keys sent back in between."""
    dice, kills = random.Random("storm"), 0
    made = [homes(STORM, seed) for seed in range(STORES)]
    for _ in range(ROUNDS):
        kills += _kill_some(made, dice, takes_s)
        for home in made:
            if "dataset.json" in home.contents():
                assert home.seen.counts().closes
                writer.void(home.place(home.calm), every=dice.choice([1, 2]))
    assert kills > STORES * ROUNDS // 2, "most runs ended before they were killed"
    for home in made:
        home.finish()


def _kill_some(homes: Sequence[Home], dice: random.Random, takes_s: float) -> int:
    """Run all, kill each at a moment of its own; how many were still at work then."""
    with contextlib.ExitStack() as running:
        running_s = {
            running.enter_context(Program(home.place(), "--group", "1")): dice.uniform(0.05, 0.9) * takes_s
            for home in homes
        }
        started = time.monotonic()
        order = sorted(running_s, key=lambda p: running_s[p])
        return sum(p.killed_after(max(0.0, running_s[p] - (time.monotonic() - started))) for p in order)


@pytest.mark.skipif(FULL, reason="the whole set is running")
def test_the_rest_of_the_storm() -> None:
    ran = f"{STORES * ROUNDS} random kills of 40, 4 named ones of 33, 3 lost answers of about 30"
    pytest.skip(f"ran {ran}; REELMILL_CHAOS=full runs them all")


# ---- lost answers ----------------------------------------------------------------------------------------------------


def test_no_single_lost_answer_matters(homes: Any) -> None:
    """The store does what it is asked and the answer is lost: each PUT of a run in turn, nothing else disturbed. A
    lease, a seal or a commit that was written is known to be ours; what is written again is the same."""
    quiet = homes()
    assert run(quiet)[0] == 0
    puts = quiet.stormy.requests["PUT"]
    assert puts > 15
    chosen = range(puts) if FULL else [3, 4, puts - 3]  # among them the lease and a commit
    made = [homes() for _ in chosen]
    for home, nth in zip(made, chosen, strict=True):
        home.stormy.only(*[""] * nth, "cut", method="PUT")
    assert [(rc, err) for rc, _, err in together(made)] == [(0, "")] * len(made)
    for home in made:
        assert home.stormy.met["cut"] == 1
        home.require_whole()
        assert len(home.names("commits")) == NUMBER // GROUP, "each group was committed once"
        assert len([n for n in home.names("leases") if n.endswith(".json")]) == 1, "one lease was taken"


# ---- raced, stale, asleep --------------------------------------------------------------------------------------------


def test_two_writers_started_at_once_work_one_after_the_other(home: Home) -> None:
    with (
        Program(home.place(), "--wait", "60") as one,
        Program(home.place(home.calm), "--wait", "60", "--group", "3") as other,
    ):
        assert [p.end()[0] for p in (one, other)] == [0, 0]
    assert leases.newest_token(home.seen.ledger.objects) == 2
    home.finish()


@pytest.fixture
def orphan(home: Home) -> Iterator[Forked]:
    """A worker whose driver was killed after two groups. It passed its check and is about to write its first commit."""
    assert run(home, fault="commit.written:kill:2")[0] == -signal.SIGKILL
    with Program(home.place(), "--worker", "1", "--group", "5", fault="commit.before:stop:1") as worker:
        worker.stands_still()
        yield worker


def test_a_commit_that_lands_after_the_seal_is_void(home: Home, orphan: Forked) -> None:
    ledger = home.seen.ledger
    with held(ledger.objects, ledger.take()) as lease:
        before, pending = home.seen.winners.commits.keys(), ledger.pending()
        orphan.go_on()
        rc, _, err = orphan.end()
        assert (rc, err.split(";")[0]) == (1, "StaleWriter: the run with lease 1 lost its lease")
        assert len(home.names("commits")) == len(before) + 1, "it did land"
        assert (home.seen.winners.commits.keys(), ledger.pending()) == (before, pending), "and it counts for nothing"
        writer.work(home.seen, lease, pending, SEED, GROUP)
    home.require_whole()
    home.finish()


@only_full
def test_a_commit_that_lands_between_lease_and_seal_counts(home: Home, orphan: Forked) -> None:
    ledger = home.seen.ledger
    before = len(ledger.pending())
    lease = leases.take(ledger.objects, what="dataset made@1")
    with held(ledger.objects, lease):
        orphan.go_on()
        assert orphan.end()[0] == 1
        ledger.seal(lease)
        pending = ledger.pending()
        assert len(pending) < before, "its work is kept"
        writer.work(home.seen, lease, pending, SEED, GROUP)
    home.finish()


@only_full
@pytest.mark.parametrize("point", ["seal.written", "commit.before"])
def test_a_driver_elsewhere_that_sleeps_too_long_loses_its_lease(home: Home, point: str) -> None:
    with Program(home.place(), fault=f"{point}:stop:1") as sleeper:
        sleeper.stands_still()
        name = "leases/000001.json"
        said = {k: v for k, v in json.loads(home.contents()[name]).items() if k != "sha256"}
        moved = record_bytes(said | {"machine": "elsewhere"})
        home.calm.s3.replace(home.bucket, f"store/made/1/{name}", moved)
        ledger = home.seen.ledger
        lease = leases.take(ledger.objects, what="dataset made@1", dead_after_s=0.6)
        with held(ledger.objects, lease):
            ledger.seal(lease)
            sleeper.go_on()
            rc, _, err = sleeper.end()
            assert (rc, err.split(";")[0]) == (1, "StaleWriter: the run with lease 1 lost its lease")
    home.finish()


# ---- gone for good ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("down", "told"), [("reset", "Connection"), *([("slow_down", "SlowDown")] if FULL else [])])
def test_a_store_that_is_gone_for_good_ends_the_run_with_one_line(homes: Any, down: str, told: str) -> None:
    """In the midst of the run, after its twelfth PUT. The rerun, once it is back, goes on from there."""
    home = homes()
    puts = iter(range(12))

    def counted(method: str, path: str) -> None:
        if method == "PUT" and next(puts, None) is None:
            home.stormy.down = down

    home.stormy.before = counted
    started = time.monotonic()
    rc, _, err = run(home, attempts=3)
    assert time.monotonic() - started < 30
    assert rc == 2
    assert err.startswith(f"StoreUnusable: {home.place()} cannot be used as a store; seen: ")
    assert told in err
    assert "; do: see that the store is up and can be reached, then run again" in err
    assert err.count("\n") == 1
    done = len(home.names("commits"))
    home.stormy.down, home.stormy.before = "", lambda method, path: None
    rc, _, err = run(home)
    assert (rc, err) == (0, "")
    assert 0 < done < len(home.names("commits")) == NUMBER // GROUP, "what was committed was not done again"
    home.finish()
