"""The ledger at a million keys: what it takes to find out what is left to do, to list the same inputs again, to commit.

Ledgers half done in groups of 256 and of 16 keys, and one nearly done in 60,000 commits; each measurement is a process
of its own. Beside it the floor: reading the same commit files, and reading and parsing them. A commit is compared with
a bare loop that writes the same four files and syncs each file and folder.

    python benchmarks/ledger.py --rounds 5 --keys 1000000
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from measure import Result, bars, cost, in_turn, median, say

from reelmill.schemas.keys import media_key
from reelmill.sinks.ledger import KeyOutcome, Ledger
from reelmill.sinks.state.lease import Lease
from reelmill.sinks.state.objects import LocalObjects
from reelmill.sinks.state.snapshot import Entry

COMMITS, SIZE = 200, 64
LIMIT_S, LIMIT_MB = 10.0, 1000.0


@dataclass(frozen=True, slots=True)
class Case:
    """A ledger: keys per commit, and the share of keys that is done."""

    group: int
    done: float

    def __str__(self) -> str:
        return f"{self.done:.0%} done, {self.group} keys a commit"


CASES = (Case(256, 0.5), Case(16, 0.5), Case(16, 0.96))


class Unsynced(LocalObjects):
    """Writes without sync or link: only to make a large store in a minute. Nothing that is measured uses it."""

    def put(self, name: str, data: bytes) -> None:
        self.put_if_absent(name, data)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return True


def begun(objects: LocalObjects) -> tuple[Ledger, Lease]:
    ledger = Ledger(objects, "bench@1")
    ledger.begin({"name": "bench", "version": "1", "recipe": "bench", "fingerprint": {}})
    return ledger, ledger.take()


def entries(keys: int) -> list[Entry]:
    """Inputs as a listing of media gives them: keys from digests, in folders of a thousand."""
    digests = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(keys)]
    return [
        Entry(media_key(d), f"/data/media/{i // 1000:05d}/{d[:24]}.mp4", d, 5_000_000, "CC0-1.0", "", None, True)
        for i, d in enumerate(digests)
    ]


def make(folder: Path, listed: list[Entry], case: Case) -> None:
    """A ledger as a run leaves it that was stopped."""
    ledger, lease = begun(Unsynced(folder))
    ledger.list_inputs(lease, listed)
    keys = sorted(e.key for e in listed)[: int(len(listed) * case.done)]
    for start in range(0, len(keys), case.group):
        group = keys[start : start + case.group]
        outcomes = [KeyOutcome(k, "accepted", 3, 2) for k in group]
        ledger.commit(lease, outcomes, {"rows": group[0].encode()}, {"load": 0.01, "decode_session": 12.25})
    ledger.objects.put(f"leases/{lease.token:06d}.released", b"{}")


# ---- what is measured, each in a process of its own ------------------------------------------------------------------


def pending(folder: Path) -> int:
    return len(Ledger(LocalObjects(folder), "bench@1").pending())


def winners(folder: Path) -> int:
    """What a reader of the dataset holds: which commit every done key is taken from."""
    return len(Ledger(LocalObjects(folder), "bench@1").winners().of_key)


def again(folder: Path) -> int:
    """List the same inputs again, as every run does first. The listing itself is made here too and counts."""
    ledger = Ledger(LocalObjects(folder), "bench@1")
    return ledger.list_inputs(Lease(1), ledger.snapshot()).added


def read_files(folder: Path) -> int:
    """The floor: every commit file once."""
    return sum(len(p.read_bytes()) for p in (folder / "commits").iterdir())


def parse_files(folder: Path) -> int:
    return sum(len(json.loads(p.read_bytes())["keys"]) for p in (folder / "commits").iterdir())


WORK: dict[str, Callable[[Path], int]] = {f.__name__: f for f in (pending, winners, again, read_files, parse_files)}


def argv(work: Callable[[Path], int], folder: Path) -> list[str]:
    return [sys.executable, __file__, "--work", work.__name__, "--folder", str(folder)]


# ---- commits ---------------------------------------------------------------------------------------------------------

PARTS = {"rows": 20_000, "children": 60_000, "media": 2_000_000}


def commit_house(folder: Path) -> float:
    """Commits per second of the ledger, with part files of a usual size."""
    ledger, lease = begun(LocalObjects(folder))
    files = {suffix: os.urandom(size) for suffix, size in PARTS.items()}
    started = time.perf_counter()
    for i in range(COMMITS):
        outcomes = [KeyOutcome(f"{i:06d}{k:020d}", "accepted", 3, 2) for k in range(SIZE)]
        ledger.commit(lease, outcomes, files)
    return COMMITS / (time.perf_counter() - started)


def commit_bare(folder: Path) -> float:
    """The same bytes, each file and its folder synced; no names, no hashes, no lease."""
    parts = {suffix: os.urandom(size) for suffix, size in PARTS.items()} | {"json": os.urandom(4_000)}
    folder.mkdir(parents=True)
    handle = os.open(folder, os.O_RDONLY)
    started = time.perf_counter()
    for i in range(COMMITS):
        for suffix, data in parts.items():
            with (folder / f"{i}.{suffix}").open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.fsync(handle)
    seconds = time.perf_counter() - started
    os.close(handle)
    return COMMITS / seconds


def commits(rounds: int) -> dict[str, list[float]]:
    """Both in turn, in this process: they wait for the disk, and imports are no part of it."""
    found: dict[str, list[float]] = {"reelmill": [], "bare": []}
    for number in range(rounds):
        for name, work in (("reelmill", commit_house), ("bare", commit_bare)):
            with scratch() as folder:
                found[name].append(work(folder / "made"))
            say(f"round {number + 1} of {rounds}, {name}: {found[name][-1]:.0f} commits a second")
    return found


@contextmanager
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ledger-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


# ---- the page --------------------------------------------------------------------------------------------------------


def measured(case: Case, folder: Path, rounds: int, page: Result) -> dict[str, tuple[float, float, float]]:
    """(wall, CPU, peak MB) of each work on one ledger."""
    named = {f"{case}: {name}": argv(work, folder) for name, work in WORK.items()}
    costs = in_turn(named, rounds)
    found = {}
    for name, runs in costs.items():
        page.keep(name, runs)
        peak_mb = cost(named[name], memory=True).peak_mb
        found[name] = (median(runs, "wall_s"), median(runs, "cpu_s"), peak_mb)
    return found


def report(rounds: int, keys: int) -> None:
    page = Result("ledger", f"The ledger at {keys:,} keys", rounds)
    found: dict[str, tuple[float, float, float]] = {}
    listed = entries(keys)
    for case in CASES:
        with scratch() as folder:
            say(f"making a ledger: {case}")
            make(folder / "ledger", listed, case)
            found |= measured(case, folder / "ledger", rounds, page)
    page.table(("what", "wall s", "CPU-s", "peak PSS MB"), [(name, *row) for name, row in found.items()])
    worst = [found[n] for n in found if n.endswith(": pending")]
    wall_s, peak_mb = max(w for w, _, _ in worst), max(mb for _, _, mb in worst)
    met = "met" if wall_s < LIMIT_S and peak_mb < LIMIT_MB else "NOT met"
    page.note(f"Pending keys: at most {wall_s:.1f} s and {peak_mb:.0f} MB; under {LIMIT_S:g} s and 1 GB: {met}.")
    rates = commits(rounds)
    page.raw["commits_per_s"] = rates
    house, bare = (statistics.median(rates[name]) for name in ("reelmill", "bare"))
    page.table(("commits a second", "median"), [("reelmill", house), ("bare write + fsync", bare)])
    page.note(f"Ratio {house / bare:.2f}; a commit is three part files (2.08 MB) and its record, of {SIZE} keys.")
    shown = {n: s for n, (s, _, _) in found.items() if n.split(": ")[1] in ("pending", "parse_files")}
    page.save(bars("seconds to list the pending keys (and to parse the same files)", shown, limit=("target", LIMIT_S)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--work", choices=sorted(WORK), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        print(WORK[args.work](args.folder))
    else:
        report(args.rounds, args.keys)
