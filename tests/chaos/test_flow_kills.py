"""Kill -9 at random moments of the whole flow, from media to shards: the promised bytes equal an undisturbed run's.

Victims: the driver (its decode children must die with it), one decode child (the run must go on by itself), driver and
children. The next run starts at once, on another number of workers or cores, now and then with a second driver beside
it, with the clock set days back or forth, or with a clock that jumps while it runs. After every kill all that is
visible must be whole; at the end of every store the account must close (see `realflow.py`).

`make chaos` makes 300 kills and more, with those of `test_verb_kills.py` and `test_actor_kills.py`, and says what
failure rate they leave possible; the default is small and seeded.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import recount
from realflow import RealFlow
from struck import COMPILER, Clock, Run, Way, standing_still

FULL = os.environ.get("REELMILL_CHAOS") == "full"
KILLS = 180 if FULL else 5
PLANS = (
    ("driver",),
    ("driver",),
    ("driver and children",),
    ("decode child",),
    ("decode child", "driver"),
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800 if FULL else 240)]


def test_kills_anywhere_in_the_flow(flow: RealFlow) -> None:
    rng, store, before = random.Random(11), flow.new_store(), flow.tally.kills.total()
    while flow.tally.kills.total() - before < KILLS:
        if one_round(flow, store, rng):  # done, in spite of all: compare, and begin anew elsewhere
            flow.compare(store)
            shutil.rmtree(store)
            store = flow.new_store()
    flow.finish(store)
    flow.compare(store)
    shutil.rmtree(store)


def one_round(flow: RealFlow, store: Path, rng: random.Random) -> bool:
    """One driver, or two that start together, each struck by its plan; True where one of them came to its end."""
    ways = [Way.drawn(rng, flow.wrong is not None) for _ in range(1 + (rng.random() < 0.2))]
    if len(ways) == 2:
        flow.tally.ways["two drivers on one store"] += 1
    ended = []
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(flow.begin(store, way)) for way in ways]
        for run, way in zip(runs, ways, strict=True):
            spared = run is not runs[0] and rng.random() < 0.6
            struck = not spared and besiege(flow, store, run, runs, way, rng)
            if not struck:
                code, _, errors = run.end()
                assert code == 0 or run.has_packed, f"a run that nobody killed ended with {code}\n{run.told}\n{errors}"
                ended.append(run)
            flow.seen |= run.struck
    return bool(ended)


def besiege(flow: RealFlow, store: Path, run: Run, runs: list[Run], way: Way, rng: random.Random) -> bool:
    """Strike one driver by a plan; False where it can still come to its end by itself."""
    plan = rng.choice(PLANS)
    for victim in plan:
        if not await_moment(flow, store, run, way, rng, len(plan)):
            return False
        struck = run.strike(victim)
        with standing_still([r for r in runs if r.ended is None]):
            at = flow.phase(store, run)
            recount.require_whole_objects(store)
        if struck.startswith("driver"):
            code, _, _ = run.end()
            if code != -signal.SIGKILL or run.has_packed:
                return False  # it had come to its end: no kill
        flow.tally.kills[struck, at] += 1
        flow.tally.ways.update(way.names())
        if struck.startswith("driver"):
            return True
    return False


def await_moment(flow: RealFlow, store: Path, run: Run, way: Way, rng: random.Random, share: int) -> bool:
    """Wait for a moment drawn over the length of a calm run, one in six just after the pack has begun; False where the
    run ended before."""
    moment, known = rng.uniform(0.0, 0.9 * flow.seconds / share), set(store.glob("*/*/.pack/g-*"))
    if way.jump and flow.clock is not None:
        if run.ends_within(moment / 2):
            return False
        flow.clock.shift(way.jump)
        moment /= 2
    if rng.random() < 1 / 6:
        while not set(store.glob("*/*/.pack/g-*")) - known:
            if run.ends_within(0.002):
                return False
        moment = rng.uniform(0.0, 0.3)
    return not run.ends_within(moment)


@pytest.mark.skipif(not COMPILER, reason="no C compiler: no kill was made under a wrong clock")
def test_wrong_clocks_are_wrong(tmp_path: Path) -> None:
    """The check of the check: a program lives in another day, and another again while it runs; sleeps stay right."""
    clock, words = Clock(tmp_path), "import time; input(); s = time.monotonic(); time.sleep(0.01); w = s, time.time()"
    for first, then in (("-3d", "+2d"), ("+2d", "-3d")):
        clock.shift(first)
        code = f"import time; print(time.time(), flush=True); {words}; print(*w, time.monotonic() - s)"
        program = clock.before([sys.executable, "-c", code])
        with subprocess.Popen(program, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
            assert run.stdin is not None
            assert run.stdout is not None
            said = [float(run.stdout.readline())]
            clock.shift(then)
            run.stdin.write("go on\n")
            run.stdin.flush()
            said += [float(word) for word in run.stdout.readline().split()]
        days = [int(by.removesuffix("d")) for by in (first, then)]
        shifts = [said[0] - time.time(), said[2] - time.time()]
        assert [round(seconds / 86_400) for seconds in shifts] == days
        assert abs(said[1] - time.monotonic()) < 60
        assert 0.01 <= said[3] < 5
