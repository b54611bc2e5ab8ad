"""Kill -9 at random points of the whole flow, from media to shards: the promised bytes equal an undisturbed run's.

Victims in turn: the driver alone (its decode children must die with it), one decode child (the run must go on by
itself), and driver and children together. Each rerun starts at once, while whatever was not killed may still write.

The oracle never asks `verify`: it hashes the promised files that the manifest of the undisturbed run names, and
recounts the source itself. `make chaos` does it on 60 videos with 20 kills; the default is small and seeded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render_set
from reelmill.sinks.state.processes import start_of

FULL = os.environ.get("REELMILL_CHAOS") == "full"
VIDEOS, KILLS = (60, 20) if FULL else (4, 4)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600 if FULL else 240)]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    short = dataclasses.replace(PRESETS["demo"], name="short", short_share=1.0)
    render_set(folder, VIDEOS, 5, short, pictures=1)
    return folder


def begin(media: Path, store: Path) -> subprocess.Popen[bytes]:
    words = ["run", "internvid_tg", "--media", str(media), "--store", str(store), "--name", "k", "--workers", "2"]
    command = [sys.executable, "-m", "reelmill.jobs.cli", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def finish(media: Path, store: Path) -> None:
    run = begin(media, store)
    _, err = run.communicate(timeout=1200)
    assert run.returncode == 0, err.decode()


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
    """Wait `after_s`, then kill the victims; the children that there were, None where the run had ended before."""
    try:
        run.wait(after_s)
    except subprocess.TimeoutExpired:
        below = children(run.pid)
        if victim in ("driver", "both"):
            kill(run.pid)
        for pid in sorted(below) if victim == "both" else sorted(below)[:1] if victim == "child" else ():
            kill(pid)
        return below
    return None


def promised(store: Path) -> dict[str, str]:
    """sha256 of every promised file of the packed dataset, by its name."""
    folder = store / "internvid_tg-k" / "1"
    files = [*folder.glob("shards/*"), *folder.glob("tables/**/*.parquet"), folder / "manifest.json"]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.is_file()}


def alive(pids: set[int]) -> set[int]:
    return {p for p in pids if start_of(p)}


def test_random_kills_change_no_promised_byte(media: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    finish(media, tmp_path / "calm")
    calm_s = time.monotonic() - started
    expected = promised(tmp_path / "calm")
    assert sum(name.startswith("shards/") for name in expected) >= 1

    rng, store, struck = random.Random(11), tmp_path / "struck", 0
    victims = ("driver", "child", "both")
    seen: set[int] = set()
    for i in range(KILLS * 4):
        if struck == KILLS:
            break
        run = begin(media, store)
        below = strike(run, victims[i % 3], rng.uniform(0.3, calm_s * 0.8))
        if below is not None:
            struck += 1
            seen |= below
        if victims[i % 3] == "child":
            _, err = run.communicate(timeout=1200)
            assert run.returncode == 0, err.decode()
        else:
            run.wait(60)
        if i % 5 == 4 and struck < KILLS:
            fresh(store)
    finish(media, store)
    assert struck >= min(KILLS, 3)
    assert promised(store) == expected
    recount(media, store)
    assert not alive(seen)


def fresh(store: Path) -> None:
    """Forget what is done, so that later kills also fall into the early steps; the ledger stays as it is."""
    for name in ("media-k", "clips-k"):
        ledger = store / name / "1"
        if (ledger / "dataset.json").exists():
            words = ["retry", name, "--store", str(store), "--where", "true"]
            subprocess.run([sys.executable, "-m", "reelmill.jobs.cli", *words], check=True, stdout=subprocess.DEVNULL)


def recount(media: Path, store: Path) -> None:
    """0 lost, 0 doubled: each file's digest is one source of the catalog, and each sample lies in the shards once."""
    import duckdb
    import webdataset

    listed = {hashlib.sha256(f.read_bytes()).hexdigest() for f in media.iterdir() if not f.name.endswith(".json")}
    assert len(listed) == VIDEOS + 1
    snapshot = sorted((store / "media-k/1/snapshots").iterdir())[-1]
    with duckdb.connect() as connection:
        digests = connection.execute("select digest from read_parquet($1) where live", [str(snapshot)]).fetchall()
    assert {d for (d,) in digests} == listed
    assert len(digests) == len(listed)
    shards = sorted(str(p) for p in (store / "internvid_tg-k/1/shards").glob("*.tar"))
    keys = [sample["__key__"] for sample in webdataset.WebDataset(shards, shardshuffle=False)]
    with duckdb.connect(str(store / "internvid_tg-k/1/catalog.duckdb"), read_only=True) as catalog:
        assert sorted(k for (k,) in catalog.sql("select key from samples").fetchall()) == sorted(keys)
    assert len(keys) == len(set(keys)) > 0
