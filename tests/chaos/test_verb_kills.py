"""Kill -9 during `pack` and during `gc` of a finished store: the old pack stays readable and whole until the new one
replaces it, and only garbage is freed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import recount
from realflow import ORDER, VIEW, RealFlow

FULL = os.environ.get("REELMILL_CHAOS") == "full"
PACK_KILLS, GC_KILLS = (90, 60) if FULL else (2, 2)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 if FULL else 240)]


def struck(flow: RealFlow, words: list[str], store: Path, after_s: float) -> bool:
    """Start a verb and kill it; False where it ended before."""
    with flow.verb(words, store) as run:
        if not run.ends_within(after_s):
            run.kill()
        code, _, errors = run.end()
        flow.seen |= run.struck
    assert code in (0, -signal.SIGKILL), errors
    return code != 0


def test_kills_during_pack_leave_the_old_pack_or_the_new(flow: RealFlow) -> None:
    """Two forms of media take turns, so that old and new differ in every promised file but some tables."""
    rng, store, done = random.Random(12), flow.new_store(flow.calm), 0
    started = time.monotonic()
    flow.do(["pack", VIEW, "--media", "ref"], store)
    seconds = time.monotonic() - started
    packs = {"ref": recount.promised(store / VIEW / "1"), "frames": flow.promised}
    assert packs["ref"] != packs["frames"]
    now = "ref"
    while done < PACK_KILLS:
        new = "frames" if now == "ref" else "ref"
        if struck(flow, ["pack", VIEW, "--media", new], store, rng.uniform(0.0, seconds)):
            done += 1
            flow.tally.kills["packer", "pack"] += 1
        seen = recount.promised(store / VIEW / "1")
        assert seen in (packs[now], packs[new]), "a reader sees the old pack or the new one, whole"
        now = new if seen == packs[new] else now
        recount.require_whole_objects(store)
    flow.finish(store)
    flow.compare(store)
    shutil.rmtree(store)


@pytest.fixture(scope="module")
def spoiled(flow: RealFlow) -> Path:
    """A finished store with much to sweep: rows of two datasets were done twice."""
    store = flow.new_store(flow.calm)
    for name in ORDER[:2]:
        flow.do(["retry", name, "--where", "true"], store)
    assert flow.promised == recount.promised(store / VIEW / "1"), "rows sent back take no pack away"
    flow.finish(store)
    return store


def test_kills_during_gc_free_only_garbage(flow: RealFlow, spoiled: Path) -> None:
    rng, done, copy = random.Random(13), 0, flow.new_store(spoiled)
    started = time.monotonic()
    flow.do(["gc"], copy)
    seconds = time.monotonic() - started
    assert len(parts(copy)) < len(parts(spoiled)), "there was garbage"
    flow.require_clean(copy)
    while done < GC_KILLS:
        store = flow.new_store(spoiled)
        if struck(flow, ["gc"], store, rng.uniform(0.0, seconds)):
            done += 1
            flow.tally.kills["collector", "gc"] += 1
        recount.require_whole_objects(store)
        flow.require_accounted(store)
        assert recount.promised(store / VIEW / "1") == flow.promised
        flow.compare(store)
        shutil.rmtree(store)
    shutil.rmtree(copy)


def parts(store: Path) -> list[Path]:
    return list(store.glob("*/*/parts/*"))
