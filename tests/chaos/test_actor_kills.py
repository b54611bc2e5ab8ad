"""Kill -9 of Ray actors while they work, and of drivers on Ray: the same rows and the same manifest as on one machine.

Actors are killed one after another while one driver runs on; Ray starts them again. A driver is killed with its whole
session, or alone: then actors and Ray go on for a moment while the next run, without Ray, has begun.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import recount
from realflow import NAME, ORDER, RealFlow
from struck import below, kill, phase

from reelmill.sinks.state.processes import start_of

FULL = os.environ.get("REELMILL_CHAOS") == "full"
ACTOR_KILLS, DRIVER_KILLS = (24, 6) if FULL else (0, 0)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not FULL, reason="kills of Ray actors: REELMILL_CHAOS=full; one is in tests/pipelines/test_ray.py"
    ),
]


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=str(tmp_path_factory.mktemp("ray")),
    )
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_kills_of_actors(flow: RealFlow) -> None:
    from reelmill.pipelines import internvid_tg
    from reelmill.pipelines._recipe import Place
    from reelmill.pipelines._run import OnRay, run
    from reelmill.sinks.dataset import Store
    from reelmill.sinks.pack import pack

    rng, done = random.Random(14), 0
    while done < ACTOR_KILLS:
        store = flow.new_store()
        place = Place(store, (str(flow.media),), NAME)
        with hunting(rng, store, flow.seconds) as hits:
            reports = run(internvid_tg.recipe(), place, OnRay())
        assert all(r.counts.pending == 0 and not r.faults for r in reports)
        recount.require_whole_objects(store)
        pack(Store(store), place.dataset(internvid_tg.recipe()))
        flow.compare(store)
        done += len(hits)
        flow.tally.kills.update(("actor", at) for at in hits)
        shutil.rmtree(store)


@contextmanager
def hunting(rng: random.Random, store: Path, most_s: float) -> Iterator[list[str]]:
    """Kill one of our actors after another, with pauses, for the length of a block; gives the phases that were hit."""
    ended, hits, me = threading.Event(), list[str](), os.getpid()

    def hunt() -> None:
        while not ended.wait(rng.uniform(0.2, most_s)):
            actors = sorted(p for p in below(me) if b"MapWorker" in title(p))
            if actors:
                hits.append(phase(store, ORDER, me, start_of(me)))
                kill(rng.choice(actors))

    hunter = threading.Thread(target=hunt, daemon=True)
    hunter.start()
    try:
        yield hits
    finally:
        ended.set()
        hunter.join()


def is_ours(pid: int) -> bool:
    """An actor of ours, or a child that decodes for one: not one of the processes that are Ray itself."""
    return b"MapWorker" in title(pid) or b"reelmill" in title(pid)


def end_all(processes: list[tuple[int, str]]) -> None:
    """Kill those of (process id, start time) that still live."""
    for pid, start in processes:
        if start and start_of(pid) == start:
            kill(pid)


def title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def begun_on_ray(flow: RealFlow, store: Path) -> subprocess.Popen[bytes]:
    """The command line on a Ray of its own."""
    words = ["run", "internvid_tg", "--media", str(flow.media), "--name", NAME, "--store", str(store), "--on", "ray"]
    return subprocess.Popen(
        [sys.executable, "-m", "reelmill.jobs.cli", *words, "--workers", "2"],
        env=os.environ | {"RAY_TMPDIR": str(flow.root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_kills_of_drivers_on_ray(flow: RealFlow) -> None:
    """The next run is a local one: the back end decides nothing about the bytes."""
    rng, done, store = random.Random(15), 0, flow.new_store()
    started = time.monotonic()
    with begun_on_ray(flow, store) as driver:
        _, errors = driver.communicate(timeout=300)
    assert driver.returncode == 0, errors.decode()
    seconds = time.monotonic() - started
    flow.compare(store)
    while done < DRIVER_KILLS:
        store, left = flow.new_store(), list[tuple[int, str]]()
        at = struck_on_ray(flow, store, rng.uniform(0.3, 0.95) * seconds, session=done % 2 == 0, left=left)
        if at:
            done += 1
            flow.tally.kills[f"driver on Ray, {'with' if done % 2 else 'without'} its session", at] += 1
        flow.finish(store)
        flow.compare(store)
        end_all(left)
        shutil.rmtree(store)


def struck_on_ray(flow: RealFlow, store: Path, after_s: float, *, session: bool, left: list[tuple[int, str]]) -> str:
    """Kill a driver on Ray, and all that it started where `session`; the phase that was hit, '' where it had ended.

    What it had started is added to `left`: agents of Ray itself outlive a killed driver for minutes.
    """
    with begun_on_ray(flow, store) as driver:
        started = start_of(driver.pid)
        try:
            driver.wait(after_s)
        except subprocess.TimeoutExpired:
            found = [(p, start_of(p)) for p in below(driver.pid)]
            flow.seen |= {one for one in found if is_ours(one[0])}
            driver.kill()
            if session:
                end_all(found)
            left += found
        else:
            return ""
        if driver.wait() != -signal.SIGKILL:
            return ""
        return phase(store, ORDER, driver.pid, started)
