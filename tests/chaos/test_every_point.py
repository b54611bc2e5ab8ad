"""Every named point of a whole tiny flow, struck by kill -9, a bug, a full disk, a refused permission and a slow disk.

The flow is four verbs over one store: `run` (two datasets, pack, gallery), `retry` of some rows, `run` again, `gc`. A
calm pass counts how often each verb reaches each point. Then, for each verb, point, action and occurrence: the verb is
struck there, all that is visible must be whole, the verb is run again at once, and after the rest of the flow the
promised bytes equal the calm pass's, by an account apart from our code.

`make chaos` does all of them, and a second fault in the recovery of a third; the default is every point once, by kill.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import recount
import tinyflow
from nursery import Forked, Nursery

from reelmill.sinks.state.points import POINTS

FULL = os.environ.get("REELMILL_CHAOS") == "full"
PROGRAM = Path(__file__).with_name("_verbs.py")
SHM = Path("/dev/shm")
NUMBERS = range(1, 15)
DRAWN, VIEW = "drawn-t/1", "tinyflow-t/1"
ACTIONS = ("kill", "error", "full", "denied")
WORDED = {"full": "No space left on device", "denied": "Permission denied"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800 if FULL else 240)]


@dataclass(frozen=True)
class Case:
    """Strike `verb` (an index) at the nth time that it reaches `point`."""

    verb: int
    point: str
    action: str
    nth: int

    @property
    def fault(self) -> str:
        return f"{self.point}:{self.action}:{self.nth}"


@dataclass(frozen=True)
class Calm:
    """The undisturbed pass: the store before each verb, how often each verb reaches each point, what it promises."""

    before: tuple[Path, ...]
    reached: tuple[dict[str, int], ...]
    promised: dict[str, str]


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """Memory, where there is some: what a fault leaves behind is the same there, and syncing is free."""
    root = Path(tempfile.mkdtemp(dir=SHM if os.access(SHM, os.W_OK) else None))
    (root / "numbers.txt").write_text(" ".join(map(str, NUMBERS)))
    os.utime(root / "numbers.txt", (1e9, 1e9))  # old enough for its digest to be remembered
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery([sys.executable, str(PROGRAM)])
    yield made
    made.close()


def verbs(root: Path, store: Path) -> list[list[str]]:
    """The flow, as command lines."""
    run = ["run", "tinyflow:recipe", "--media", str(root / "numbers.txt"), "--name", "t", "--workers", "1"]
    words = [run, ["retry", "drawn-t", "--where", "key < 'm'"], run, ["gc"]]
    return [[*verb, "--store", str(store)] for verb in words]


@pytest.fixture(scope="module")
def calm(scratch: Path, nursery: Nursery) -> Calm:
    store, before, reached = scratch / "calm", list[Path](), list[dict[str, int]]()
    broken = {tinyflow.BROKEN: "yes"}  # the first run leaves a fault behind, the second mends it
    for number, words in enumerate(verbs(scratch, store)):
        copy = scratch / f"before-{number}"
        if store.exists():
            shutil.copytree(store, copy, symlinks=True)
        else:
            copy.mkdir()
        before.append(copy)
        with Forked(nursery, words, fault="none:count", env=broken if number == 0 else {}) as program:
            code, said, errors = program.end()
        assert code == (3 if number == 0 else 0), errors
        reached.append(json.loads(said))
    require_accounted(store)
    return Calm(tuple(before), tuple(reached), recount.promised(store / VIEW))


def test_the_flow_walks_through_every_point(calm: Calm) -> None:
    assert {point for counts in calm.reached for point in counts} == set(POINTS)


def require_accounted(store: Path) -> None:
    """0 lost, 0 doubled: every number, clip and sample is where it must be, worked out from the numbers alone."""
    rows, clips = recount.rows_and_children(store / DRAWN)
    state = {r["key"]: r["verdict"]["state"] for r in rows}
    assert state == {tinyflow.key_of(n): "accepted" if n % 7 else "rejected" for n in NUMBERS}
    good = {c["key"] for c in clips if c["verdict"]["state"] == "accepted"}
    assert len(good) == sum(n % 7 != 0 and n % 10 != 3 for n in NUMBERS)
    asked, samples = recount.rows_and_children(store / VIEW)
    assert {r["key"] for r in asked} == good
    assert Counter(s["parent_key"] for s in samples) == dict.fromkeys(good, 2)
    assert recount.sample_keys(store / VIEW) == sorted(s["key"] for s in samples)


def finish(nursery: Nursery, scratch: Path, store: Path, verb: int) -> None:
    """The struck verb again; then what brings the store up to date and sweeps it."""
    run, retry, _, sweep = verbs(scratch, store)
    for words in ([run, sweep], [retry, run, sweep], [run, sweep], [sweep, run, sweep])[verb]:
        with Forked(nursery, words) as program:
            code, _, errors = program.end()
        assert code == 0, errors


def strike(nursery: Nursery, scratch: Path, calm: Calm, case: Case, again: Case | None = None) -> int:
    """One case, start to end; returns the exit code of the struck verb."""
    store = Path(tempfile.mkdtemp(dir=scratch, prefix="struck-"))
    shutil.copytree(calm.before[case.verb], store, symlinks=True, dirs_exist_ok=True)
    codes = []
    for struck in (case, again):
        if struck is None:
            continue
        words = verbs(scratch, store)[case.verb]
        env = {tinyflow.BROKEN: "yes"} if case.verb == 0 and struck.point == "fault.written" else {}
        with Forked(nursery, words, fault=struck.fault, env=env) as program:
            code, _, errors = program.end()
        require_told(struck, code, errors, store)
        recount.require_whole_objects(store)
        codes.append(code)
    finish(nursery, scratch, store, case.verb)
    require_accounted(store)
    assert recount.promised(store / VIEW) == calm.promised
    left = [p for p in store.rglob("*") if p.name.startswith((".aside-", "link-", ".gallery-")) or p.suffix == ".part"]
    assert not left, "half-written things were left over"
    assert len(list(store.glob("*/*/.pack/g-*"))) == 1
    shutil.rmtree(store)
    return codes[0]


def require_told(case: Case, code: int, errors: str, store: Path) -> None:
    """What a person sees: the exit code of the trouble, and one line that names it, its place and the way out."""
    if case.action == "kill":
        assert code == -signal.SIGKILL
    if case.action in WORDED and code:
        lines = errors.strip().splitlines()
        assert (code, len(lines)) == (2, 1), f"{case}: exit {code}\n{errors}"
        assert WORDED[case.action] in lines[0], f"{case}: {lines[0]}"
        assert str(store) in lines[0], f"{case}: {lines[0]}"
    if case.action == "error" and code:
        assert code == 1, f"{case}: exit {code}\n{errors}"


def cases(calm: Calm, actions: tuple[str, ...]) -> list[Case]:
    """Every verb, point and action, at the first, the middle and the last time that the point is reached."""
    return [
        Case(verb, point, action, nth)
        for verb, reached in enumerate(calm.reached)
        for point, times in sorted(reached.items())
        for action in actions
        for nth in sorted({1, (times + 1) // 2, times})
    ]


def test_struck_at_every_point(calm: Calm, nursery: Nursery, scratch: Path, request: pytest.FixtureRequest) -> None:
    rng, tally, codes = random.Random(5), Counter[str](), Counter[tuple[str, int]]()
    chosen = cases(calm, ACTIONS) if FULL else sampled(calm, rng)
    for number, case in enumerate(chosen):
        again = rng.choice(chosen) if FULL and number % 3 == 0 else None
        again = again if again is not None and again.verb == case.verb else None
        codes[case.action, strike(nursery, scratch, calm, case, again)] += 1
        tally[case.action] += 1
        tally["a second fault in the recovery"] += again is not None
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        struck = {point for case in chosen for point in (case.point,)}
        print(f"\n{len(chosen)} faults at {len(struck)} of {len(POINTS)} points: the same promised bytes each time")
        print(f"  {dict(tally)}; exit codes {dict(codes)}")
    assert struck == set(POINTS)


def sampled(calm: Calm, rng: random.Random) -> list[Case]:
    """Each point once by kill, and one in five by another action."""
    every = cases(calm, ACTIONS)
    kills = [rng.choice([c for c in every if c.point == point and c.action == "kill"]) for point in POINTS]
    return [*kills, *rng.sample([c for c in every if c.action != "kill"], len(POINTS) // 5)]


@pytest.mark.parametrize("point", ["object.write", "shard.write", "lease.taken"])
def test_a_slow_disk_changes_nothing(calm: Calm, nursery: Nursery, scratch: Path, point: str) -> None:
    assert strike(nursery, scratch, calm, Case(0, point, "slow", 1)) == 0


@contextlib.contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Path]:
    """A disk of its own; skips where this user may not mount one."""
    import subprocess

    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("kilobytes", [60, 200, 400, 800, 1600] if FULL else [200])
def test_a_disk_that_is_really_full(
    calm: Calm, nursery: Nursery, scratch: Path, tmp_path: Path, kilobytes: int
) -> None:
    """What was committed on it stays whole, and goes on where there is room."""
    with small_disk(tmp_path / "disk", kilobytes) as disk:
        store = disk / "store"
        with Forked(nursery, verbs(scratch, store)[0]) as program:
            code, _, errors = program.end()
        assert code in (0, 2), errors
        if code:
            assert len(errors.strip().splitlines()) == 1, errors
            assert "free some space" in errors
        recount.require_whole_objects(store)
        roomy = scratch / f"roomy-{kilobytes}"
        shutil.copytree(store, roomy, symlinks=True)
    finish(nursery, scratch, roomy, 0)
    require_accounted(roomy)
    assert recount.promised(roomy / VIEW) == calm.promised
