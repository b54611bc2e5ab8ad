"""Kill -9 at random moments of the whole flow, from media to shards: the promised bytes equal an undisturbed run's.

Victims: the driver (its decode children must die with it), one decode child (the run must go on by itself), both, a
packer, a collector of garbage, an actor on Ray. The next run starts at once, while whatever was not killed may still
write, on another number of workers or cores, now and then with a second driver beside it or with the clock set days
back or forth. After every kill all that is visible must be whole.

The oracle never asks `verify`: it hashes the promised files, and recounts source and ledger by itself. `make chaos`
makes 300 kills and more, and says what failure rate they leave possible; the default is small and seeded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import recount

from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render_set
from reelmill.sinks.state.processes import start_of

FULL = os.environ.get("REELMILL_CHAOS") == "full"
FLOW_KILLS, PACK_KILLS, GC_KILLS, ACTOR_KILLS = (250, 30, 30, 20) if FULL else (5, 1, 1, 0)
VIDEOS = 3
NAME, VIEW = "k", "internvid_tg-k"
ORDER = tuple(f"{name}-{NAME}" for name in ("media", "clips", "tubes", "events", "internvid_tg"))
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
CONFIDENCE = 0.95
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400 if FULL else 240)]


@dataclass
class Tally:
    """What was killed, where it stood, and what came of it."""

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    ends: int = 0

    def report(self) -> str:
        total = self.kills.total()
        bound = 1 - (1 - CONFIDENCE) ** (1 / max(1, total))  # Clopper-Pearson with no failure seen
        lines = [f"{total} kills, {self.ends} ends compared: 0 lost, 0 doubled, the same promised bytes each time"]
        lines += [f"  {victim} during {phase}: {n}" for (victim, phase), n in sorted(self.kills.items())]
        lines += [f"  {way}: {n}" for way, n in sorted(self.ways.items())]
        return "\n".join([*lines, f"  failure rate under {bound:.2%} with {CONFIDENCE:.0%} confidence"])


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Told at the end of the module, and only where every test before the end passed."""
    made, failed = Tally(), request.session.testsfailed
    yield made
    if request.session.testsfailed == failed:
        capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(f"\n{made.report()}")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    short = dataclasses.replace(PRESETS["demo"], name="short", short_share=1.0)
    render_set(folder, VIDEOS, 5, short, pictures=1)
    return folder


@dataclass(frozen=True)
class Calm:
    """An undisturbed run: where it lies, how long it took, what it promises."""

    store: Path
    seconds: float
    promised: dict[str, str]


@pytest.fixture(scope="module")
def calm(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    store = tmp_path_factory.mktemp("calm") / "store"
    started = time.monotonic()
    finish(media, store)
    seconds, promised = time.monotonic() - started, recount.promised(store / VIEW / "1")
    assert sum(name.startswith("shards/") for name in promised) >= 1
    require_accounted(media, store)
    return Calm(store, seconds, promised)


# ---- runs and their ends ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """How a run is started: its width, the cores that it may use, and how far its clock is off."""

    workers: int = 2
    cores: int = 2
    clock: str = ""

    def environment(self) -> dict[str, str]:
        if not self.clock:
            return dict(os.environ)
        fake = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": self.clock, "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
        return os.environ | fake

    def keep_cores(self) -> None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: self.cores])


def drawn(rng: random.Random) -> Way:
    """Another way to run; wrong clocks only where there is a library that makes them."""
    clock = rng.choice(("-3d", "+2d")) if FAKETIME.exists() and rng.random() < 0.25 else ""
    return Way(workers=rng.choice((1, 2, 3)), cores=rng.choice((1, 2)), clock=clock)


def begin(words: list[str], way: Way = Way()) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "reelmill.jobs.cli", *words],
        env=way.environment(),
        preexec_fn=way.keep_cores,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def flow(media: Path, store: Path, way: Way = Way()) -> list[str]:
    words = ["run", "internvid_tg", "--media", str(media), "--store", str(store), "--name", NAME]
    return [*words, "--workers", str(way.workers)]


def end(run: subprocess.Popen[bytes]) -> None:
    """Wait for a run that nobody kills: it must end well."""
    _, err = run.communicate(timeout=300)
    assert run.returncode == 0, err.decode()


def finish(media: Path, store: Path) -> None:
    end(begin(flow(media, store)))


def children(pid: int) -> set[int]:
    """Processes whose parent is `pid`; one that ends while we look is none."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            found.add(int(stat.parent.name))
    return found


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def strike(run: subprocess.Popen[bytes], victim: str, after_s: float) -> set[int] | None:
    """Wait `after_s`, then kill the victims; the children that there were, None where there was nobody to kill."""
    try:
        run.wait(after_s)
    except subprocess.TimeoutExpired:
        below = children(run.pid)
        if victim == "decode child" and not below:
            return None
        if victim != "decode child":
            kill(run.pid)
        if victim != "driver":
            for pid in sorted(below) if victim == "driver and children" else sorted(below)[:1]:
                kill(pid)
        return below
    return None


def phase(store: Path) -> str:
    """What is being made now: the last dataset whose newest lease was not released, the pack, or nothing yet."""
    if list(store.glob("*/*/.pack/g-*")) and not (store / VIEW / "1" / ".pack" / "current").exists():
        return "pack"
    held = [name for name in ORDER if _held(store / name / "1" / "leases")]
    return held[-1].removesuffix(f"-{NAME}") if held else "start, end or between datasets"


def _held(leases: Path) -> bool:
    taken = sorted(leases.glob("*.json"))
    return bool(taken) and not taken[-1].with_suffix(".released").exists()


# ---- the account -----------------------------------------------------------------------------------------------------


def require_accounted(media: Path, store: Path) -> None:
    """0 lost, 0 doubled, from the files in `media` down to the samples in the shards, by the files alone."""
    import duckdb
    import webdataset

    listed = {hashlib.sha256(f.read_bytes()).hexdigest() for f in media.iterdir() if not f.name.endswith(".json")}
    assert len(listed) == VIDEOS + 1
    above: set[str] | None = None
    for name in ORDER:
        rows, below = recount.rows_and_children(store / name / "1")
        assert {r["key"] for r in rows} == recount.live_keys(store / name / "1"), f"{name}: a row is lost"
        if name == ORDER[0]:
            assert {r["media"]["digest"] for r in below} == listed
        if name == ORDER[1]:
            assert {r["key"] for r in rows} == above
        above = {c["key"] for c in below if c["verdict"]["state"] == "accepted"}
    folder = store / VIEW / "1"
    keys = [
        s["__key__"] for s in webdataset.WebDataset([str(p) for p in folder.glob("shards/*.tar")], shardshuffle=False)
    ]
    assert len(keys) == len(set(keys)) > 0
    assert set(keys) == above
    with duckdb.connect(str(folder / "catalog.duckdb"), read_only=True) as catalog:
        assert {k for (k,) in catalog.sql("select key from samples").fetchall()} == above


def compare(media: Path, store: Path, calm: Calm, tally: Tally) -> None:
    """A store that was finished after kills: the same bytes, all accounted for, and nothing left once it is swept."""
    assert recount.promised(store / VIEW / "1") == calm.promised
    require_accounted(media, store)
    end(begin(["gc", "--store", str(store)]))
    assert not [p for p in store.rglob("*") if p.name.startswith((".aside-", "link-"))]
    assert len(list(store.glob("*/*/.pack/g-*"))) == 1
    assert recount.promised(store / VIEW / "1") == calm.promised
    tally.ends += 1


def alive(pids: set[int]) -> set[int]:
    """Those of the processes that still run; they get a moment to be reaped."""
    until = time.monotonic() + 5
    while (left := {p for p in pids if start_of(p)}) and time.monotonic() < until:
        threading.Event().wait(0.05)
    return left


# ---- the tests -------------------------------------------------------------------------------------------------------


def test_kills_anywhere_in_the_flow(media: Path, calm: Calm, tally: Tally, tmp_path: Path) -> None:
    rng, seen = random.Random(11), set[int]()
    store, struck = tmp_path / "0", 0
    while struck < FLOW_KILLS:
        way = drawn(rng)
        run = begin(flow(media, store, way), way)
        twin = begin(flow(media, store, drawn(rng))) if rng.random() < 0.1 else None
        hit = 0
        for victim in rng.choices(("driver", "decode child", "driver and children"), (5, 3, 3), k=2):
            at = phase(store)
            below = strike(run, victim, rng.uniform(0.2, calm.seconds * 0.8))
            if below is not None:
                at = phase(store) if victim == "decode child" else at if at == phase(store) else phase(store)
                tally.kills[victim, at] += 1
                hit, seen = hit + 1, seen | below
            if below is None or victim != "decode child":
                break
        recount.require_whole_objects(store)
        struck += hit
        if twin is not None:
            tally.ways["two drivers on one store"] += 1
            end(twin)
        if hit:
            tally.ways[f"{way.workers} workers on {way.cores} cores"] += 1
            tally.ways[f"clock {way.clock or 'right'}"] += 1
        if run.poll() == 0 or twin is not None:  # done, in spite of all: compare, and begin anew elsewhere
            run.wait(60)
            compare(media, store, calm, tally)
            shutil.rmtree(store)
            store = tmp_path / str(struck)
        elif hit and victim == "decode child":
            end(run)
    finish(media, store)
    compare(media, store, calm, tally)
    assert not alive(seen)


PACK = """
import sys, pathlib
from reelmill.sinks.dataset import Store
from reelmill.sinks.pack import pack
store = Store(pathlib.Path(sys.argv[1]))
print("packing", flush=True)
pack(store, store.find(sys.argv[2]), again=True)
"""


def struck_after(program: list[str], word: str, after_s: float) -> bool:
    """Start a program, wait until it says `word`, kill it `after_s` later; False where it had ended before."""
    with subprocess.Popen(program, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert not word or run.stdout.readline().strip() == word.encode()
        try:
            run.wait(after_s)
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
            return True
        assert run.returncode == 0
        return False


def test_kills_during_pack_leave_the_old_pack_or_the_new(media: Path, calm: Calm, tally: Tally, tmp_path: Path) -> None:
    rng, store = random.Random(12), tmp_path / "store"
    shutil.copytree(calm.store, store, symlinks=True)
    program = [sys.executable, "-c", PACK, str(store), VIEW]
    started = time.monotonic()
    assert not struck_after(program, "packing", 60)
    whole_s, struck = time.monotonic() - started, 0
    while struck < PACK_KILLS:
        if struck_after(program, "packing", rng.uniform(0.0, whole_s)):
            struck += 1
            tally.kills["packer", "pack"] += 1
        assert recount.promised(store / VIEW / "1") == calm.promised, "a reader sees the old pack or the new one, whole"
        recount.require_whole_objects(store)
    finish(media, store)
    compare(media, store, calm, tally)


def test_kills_during_gc_free_only_garbage(media: Path, calm: Calm, tally: Tally, tmp_path: Path) -> None:
    rng, struck = random.Random(13), 0
    spoiled = tmp_path / "spoiled"
    shutil.copytree(calm.store, spoiled, symlinks=True)
    for name in ORDER[:2]:  # done again, the first commits are garbage
        end(begin(["retry", name, "--store", str(spoiled), "--where", "true"]))
    finish(media, spoiled)
    program = "from reelmill.jobs.cli import main; print('sweeping', flush=True); main()"
    while struck < GC_KILLS:
        store = tmp_path / "store"
        shutil.copytree(spoiled, store, symlinks=True)
        words = [sys.executable, "-c", program, "gc", "--store", str(store)]
        if struck_after(words, "sweeping", rng.uniform(0.05, 0.6)):
            struck += 1
            tally.kills["collector", "gc"] += 1
        recount.require_whole_objects(store)
        require_accounted(media, store)
        if struck % 10 == 0 or struck == GC_KILLS:
            finish(media, store)
            compare(media, store, calm, tally)
        shutil.rmtree(store)


@pytest.mark.ray
@pytest.mark.skipif(
    not ACTOR_KILLS, reason="kills of Ray actors: REELMILL_CHAOS=full; one is in tests/pipelines/test_ray.py"
)
def test_kills_of_actors(media: Path, calm: Calm, tally: Tally, tmp_path: Path) -> None:
    import ray

    from reelmill.pipelines import internvid_tg
    from reelmill.pipelines._recipe import Place
    from reelmill.pipelines._run import OnRay, run
    from reelmill.sinks.dataset import Store
    from reelmill.sinks.pack import pack

    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=str(tmp_path / "ray"))
    rng, struck, number = random.Random(14), 0, 0
    try:
        while struck < ACTOR_KILLS:
            number += 1
            place = Place(tmp_path / str(number), (str(media),), NAME)
            ended, hits = threading.Event(), list[str]()
            hunter = threading.Thread(target=hunt, args=(rng, place.store, ended, hits, calm.seconds), daemon=True)
            hunter.start()
            try:
                reports = run(internvid_tg.recipe(), place, OnRay())
            finally:
                ended.set()
                hunter.join()
            assert all(r.counts.pending == 0 and not r.faults for r in reports)
            pack(Store(place.store), place.dataset(internvid_tg.recipe()))
            struck += len(hits)
            tally.kills.update(("actor", at) for at in hits)
            compare(media, place.store, calm, tally)
    finally:
        ray.shutdown()


def hunt(rng: random.Random, store: Path, ended: threading.Event, hits: list[str], calm_s: float) -> None:
    """Kill one Ray actor of ours after another, with pauses, until the run has ended."""
    while not ended.wait(rng.uniform(0.3, calm_s)):
        actors = sorted(p for p in _below(os.getpid()) if b"MapWorker" in _title(p))
        if actors:
            hits.append(phase(store))
            kill(rng.choice(actors))


def _below(pid: int) -> set[int]:
    found = children(pid)
    return found | {p for child in found for p in _below(child)}


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
