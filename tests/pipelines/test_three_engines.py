"""One recipe, three engines: rules, a server that fails one time in five, a checkpoint. Every row is accounted for.

The checkpoint is tiny and random: it proves mechanics alone. Hardly anything that it says is an answer.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import random_weights
import recount
from struck import below

from reelmill.annotators.caption import Caption
from reelmill.annotators.engines.engine import Request
from reelmill.annotators.engines.openai_http import asked
from reelmill.annotators.engines.profile import BatchApi, EngineProfile, Patience
from reelmill.annotators.engines.stand_in.answers import Asked, answer
from reelmill.annotators.engines.stand_in.faults import Faults
from reelmill.annotators.engines.stand_in.server import MODEL, Teacher, serving
from reelmill.pipelines import captioned
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Place, Recipe
from reelmill.pipelines._run import Limits, Local, OnRay, Report, Silent, run
from reelmill.pipelines._work import Done
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render_set
from reelmill.schemas.errors import UserError
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.pack import pack

pytestmark = pytest.mark.slow
SHORT = dataclasses.replace(PRESETS["demo"], name="short", short_share=1.0)
QUICK = Patience(tries=8, timeout_s=1.0, first_wait_s=0.02, wait_max_s=0.1)
ROUGH = Faults(rate=0.2, stall_s=3.0, slow_s=0.3, retry_after_s=0.05)
NO_STOP = Limits(fault_share=1.0)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A store in which the clips and the evidence of rules are made already."""
    folder = tmp_path_factory.mktemp("three")
    render_set(folder / "media", 14, 700, SHORT)
    place = place_of(folder / "store", (str(folder / "media"),), "three")
    run(captioned.recipe(), place, Local(2))
    return place


@pytest.fixture
def place(clips: Place, tmp_path: Path) -> Place:
    """A copy of it, with patience for quick faults."""
    assert isinstance(clips.store, Path)
    shutil.copytree(clips.store, tmp_path / "store", symlinks=True)
    profile = EngineProfile(in_flight=6, patience=QUICK)
    return dataclasses.replace(clips, store=tmp_path / "store", profile=profile)


@pytest.fixture
def rough() -> Iterator[Teacher]:
    with serving(ROUGH) as teacher:
        yield teacher


def spec(teacher: Teacher) -> str:
    return f"openai:{MODEL}@{teacher.url}"


def closed(recipe: Recipe, place: Place, reports: list[Report]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the captions and samples of the view, after an account that asks neither `verify` nor the reports."""
    captions, view = (place.dataset(r) for r in (recipe.source.upstreams[1], recipe))
    clips = place.dataset(recipe.source.upstreams[0])
    _, made = recount.rows_and_children(clips.folder)
    kinds = {"video"} if recipe.name == "captioned_by_rules" else {"video", "image"}
    listed = {c["key"] for c in made if c["verdict"]["state"] == "accepted" and c["media"]["kind"] in kinds}
    rows, _ = recount.rows_and_children(captions.folder)
    assert {r["key"] for r in rows} == listed
    views, samples = recount.rows_and_children(view.folder)
    assert {r["key"] for r in views} == listed
    good = {r["key"] for r in rows if r["verdict"]["state"] == "accepted"}
    assert {s["parent_key"] for s in samples} == good
    assert all(r.counts.closes and not r.counts.pending for r in reports)
    return rows, samples


def test_by_rules(clips: Place) -> None:
    recipe = captioned.recipe()
    rows, samples = closed(recipe, clips, run(recipe, clips, Local(1)))
    assert samples
    assert {s["method"] for s in samples} == {"rules"}
    said = {r["caption"] for r in rows if r["caption"]}
    assert all(text.endswith(".") and text.startswith("The ") for text in said)


def expected(place: Place, recipe: Recipe) -> dict[str, set[str]]:
    """For each clip the captions that an undisturbed teacher gives: to the question, and to it with any repair."""
    source = recipe.source.upstreams[1].source
    keys = sorted(r["key"] for r in recount.rows_and_children(place.dataset(recipe.source.upstreams[1]).folder)[0])
    step = Caption(recipe.source.upstreams[1].steps[0].engine)  # type: ignore[attr-defined]
    found = {}
    for row in source.open(place, recipe.source.upstreams[1])(keys).to_pylist():
        (question,) = next(step._talk(row))
        found[row["key"]] = {caption_of(question.request)}
    return found


def caption_of(request: Request) -> str:
    text: str = json.loads(answer(Asked.of(asked(MODEL, request))))["caption"]
    return text


def test_no_wrong_or_partial_answer_of_a_failing_server_is_accepted(place: Place, rough: Teacher) -> None:
    recipe = captioned.recipe(spec(rough))
    rows, samples = closed(recipe, place, run(recipe, place, Local(2), limits=NO_STOP))
    right = expected(place, recipe)
    good = [r for r in rows if r["verdict"]["state"] == "accepted"]
    assert len(good) > len(rows) / 2
    for row in good:
        assert row["caption"] in right[row["key"]]
    assert {s["turns"][1]["text"] for s in samples} <= {r["caption"] for r in good}
    assert sum(rough.met[kind] for kind in rough.met if kind) >= 3, rough.met


def test_by_batch_no_wrong_answer_is_accepted_either(place: Place) -> None:
    """First questions go into one batch, repairs and what failed into later ones."""
    api = BatchApi(batch_max=500, batch_wait_s=0.3, poll_s=0.05)
    there = dataclasses.replace(place, profile=dataclasses.replace(place.profile, batch_api=api))
    with serving() as teacher:
        desk, recipe = teacher.desk, captioned.recipe(spec(teacher))
        desk.faults = Faults(rate=0.3, kinds=("malformed", "misshapen", "contradicted", "busy", "expired"), seed=1)
        rows, _ = closed(recipe, there, run(recipe, there, Local(2), limits=NO_STOP))
    right = expected(place, recipe)
    good = [r for r in rows if r["verdict"]["state"] == "accepted"]
    assert len(good) > len(rows) / 2
    assert all(row["caption"] in right[row["key"]] for row in good)
    assert desk.met["malformed"] + desk.met["misshapen"] > 0
    assert desk.met["busy"] + desk.met["expired"] > 0
    sizes = [one["request_counts"]["total"] for one in desk.batches.values()]
    assert sizes[0] > len(rows) / 2 > sum(sizes[1:]), "rows did not wait for each other"
    assert teacher.calls == 1  # the probe
    assert place.dataset(recipe.source.upstreams[1]).usage()["caption"]["batched"] >= len(rows)


class Stopped(Silent):
    """Whoever watches wants no more once a group is done."""

    def advanced(self, label: str, done: Done) -> None:
        raise KeyboardInterrupt


def test_a_run_that_ends_does_not_wait_for_its_batches(place: Place) -> None:
    """Two rows, each in a batch of its own; the second batch would last for ever. The next run finds it."""
    api = BatchApi(batch_max=1, batch_wait_s=0.0, poll_s=0.02)
    there = dataclasses.replace(place, profile=dataclasses.replace(place.profile, batch_api=api))
    with serving() as teacher:
        desk, recipe = teacher.desk, captioned.recipe(spec(teacher))

        def reveal(moment: str) -> None:
            if len(desk.batches) == 2:
                next(iter(desk.batches.values()))["created_at"] = 0.0

        desk.takes_s, desk.heard = 1e6, reveal
        two = dataclasses.replace(NO_STOP, max_rows=2)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, there, Local(2), limits=two, watcher=Stopped())
        desk.takes_s = 0.0
        run(recipe, there, Local(2), limits=NO_STOP)
    assert set(desk.billed.values()) == {1}


def test_every_rejected_answer_can_be_asked_for_with_its_raw_text_and_reason(place: Place) -> None:
    spoiling = Faults(rate=0.6, kinds=("malformed", "misshapen", "shortened"))
    with serving(spoiling) as teacher:
        recipe = captioned.recipe(spec(teacher))
        rows, _ = closed(recipe, place, run(recipe, place, Local(2), limits=NO_STOP))
    bad = {r["key"]: r["verdict"] for r in rows if r["verdict"]["state"] == "rejected"}
    assert {v["reason"] for v in bad.values()} == {"bad_answer", "answer_cut"}
    pack(Store(place.store), place.dataset(recipe))
    command = [sys.executable, "-m", "reelmill.jobs.cli", "rejects", "captions-three", "--store", str(place.store)]
    told = subprocess.run([*command, "-n", "99"], capture_output=True, text=True, check=True, env=os.environ | WIDE)
    for verdict in bad.values():
        assert "raw answer: '" in verdict["detail"]
        assert verdict["detail"] in told.stdout


WIDE = {"COLUMNS": "4000"}


def test_a_warm_rerun_asks_nobody_and_gives_the_same_bytes(place: Place, rough: Teacher) -> None:
    recipe = captioned.recipe(spec(rough))
    run(recipe, place, Local(2), limits=NO_STOP)
    calls, folder = rough.calls, place.dataset(recipe).folder
    pack(Store(place.store), place.dataset(recipe))
    before = recount.promised(folder)
    for one in (recipe.source.upstreams[1], recipe):
        shutil.rmtree(place.dataset(one).folder)
    reports = run(recipe, place, Local(1), limits=NO_STOP)
    pack(Store(place.store), place.dataset(recipe))
    assert rough.calls == calls
    assert recount.promised(folder) == before
    used = reports[-2].usage["caption"]
    assert used.calls == used.cached > 0


def test_kill_9_repeats_at_most_what_was_in_flight(place: Place) -> None:
    at_sixth = threading.Event()
    with serving(latency_s=0.15, heard=lambda calls: at_sixth.set() if calls >= 6 else None) as teacher:
        (profile := place.store.parent / "slow.toml").write_text("in_flight = 3\n")  # type: ignore[union-attr]
        words = ["run", "captioned", "--engine", f"caption={spec(teacher)}", "--media", place.media[0], "--no-pack"]
        words += ["--name", "three", "--store", str(place.store), "--profile", str(profile)]
        command = [sys.executable, "-m", "reelmill.jobs.cli", *words]
        first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        assert at_sixth.wait(60)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        before = teacher.calls
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    recipe = captioned.recipe(spec(teacher))
    rows = recount.rows_and_children(place.dataset(recipe.source.upstreams[1]).folder)[0]
    assert 6 <= before < len(rows) + 1, "the kill came too late to show anything"
    assert teacher.calls <= len(rows) + 1 + 3  # each clip, the probe, and the three that were in flight


def test_a_tiny_checkpoint_proves_the_mechanics(place: Place, tmp_path: Path) -> None:
    folder = random_weights.llava(tmp_path / "tiny-llava")
    recipe = captioned.recipe(f"transformers:{folder}")
    rows, _ = closed(recipe, place, run(recipe, place, Local(1), limits=NO_STOP))
    reasons = {r["verdict"]["reason"] for r in rows if r["verdict"]["state"] == "rejected"}
    assert reasons <= {"answer_cut", "bad_answer"}
    assert all("raw answer: " in r["verdict"]["detail"] for r in rows if r["verdict"]["state"] == "rejected")
    again = run(recipe, dataclasses.replace(place, slug="again"), Local(1), limits=NO_STOP)
    used = [r.usage["caption"] for r in again if "caption" in r.usage]
    assert [u.cached == u.calls for u in used] == [True]


def test_an_engine_that_cannot_do_it_is_told_before_any_work(clips: Place, tmp_path: Path) -> None:
    blind = random_weights.llama(tmp_path / "blind")
    cases = {
        "openai:m@http://127.0.0.1:9/v1": "no connection",
        f"transformers:{tmp_path}/nothing": "nothing",
        f"transformers:{blind}": "takes text alone",
        "vllm:whatever": "no package vllm",
    }
    with serving() as teacher:
        cases[f"openai:another@{teacher.url}"] = f"it serves {MODEL}"
        for engine, seen in cases.items():
            place = dataclasses.replace(clips, store=tmp_path / "fresh", slug="fresh")
            with pytest.raises(UserError, match=seen):
                run(captioned.recipe(engine), place, Local(1))
            assert not Dataset(tmp_path / "fresh" / "media-fresh" / "1").folder.exists()


@pytest.mark.ray
def test_on_ray_one_actor_asks_for_all(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One CPU: the actor with the engine leaves some of it. It is killed once; that costs what was in flight, and what
    had come a moment before and was not kept yet: on a busy machine up to all that was asked until then."""
    import ray

    asked_first = 6
    killed, folder = threading.Event(), tmp_path_factory.mktemp("ray")

    def kill(calls: int) -> None:
        if calls == asked_first:
            actors = [p for p in below(os.getpid()) if b"MapWorker" in Path(f"/proc/{p}/cmdline").read_bytes()]
            os.kill(actors[0], signal.SIGKILL)
            killed.set()

    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=str(folder))
    try:
        with serving(latency_s=0.1, heard=kill) as teacher:
            profile = EngineProfile(in_flight=3, patience=QUICK)
            recipe, there = captioned.recipe(spec(teacher)), dataclasses.replace(place, profile=profile)
            rows, _ = closed(recipe, there, run(recipe, there, OnRay(), limits=Limits(stuck_after_s=120.0)))
    finally:
        ray.shutdown()
    assert killed.is_set()
    right = expected(place, recipe)
    assert all(row["caption"] in right[row["key"]] for row in rows)
    assert teacher.most_at_once <= 3
    assert teacher.calls <= len(rows) + 1 + asked_first
