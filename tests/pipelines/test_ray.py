"""The Ray back end: the same rows as the local one, also when an actor is killed; our errors come as themselves."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy

from reelmill.pipelines import internvid_tg
from reelmill.pipelines._recipe import Place
from reelmill.pipelines._run import Local, OnRay, run
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render_set
from reelmill.schemas.errors import GuardBroken, PlanRefused
from reelmill.sinks.dataset import Store
from reelmill.sinks.pack import pack

pytestmark = [pytest.mark.ray, pytest.mark.slow]
WORDS = " ".join(f"word{i} vowel{i}" for i in range(20)) + " a"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import ray

    os.environ["RAY_AUTH_MODE"] = "disabled"
    paths = {"env_vars": {"PYTHONPATH": str(Path(toy.__file__).parent)}}
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env=paths,
        _temp_dir=str(tmp_path_factory.mktemp("ray")),
    )
    yield
    ray.shutdown()


def place_at(folder: Path, words: str = WORDS) -> Place:
    folder.mkdir(exist_ok=True)
    (folder / "words.txt").write_text(words)
    return Place(folder / "store", (str(folder / "words.txt"),), "toy")


def rows_of(place: Place) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and children without the facts that depend on how keys were grouped."""
    dataset = place.dataset(toy.recipe())
    children = dataset.children().drop_columns(["part"]).to_pylist()
    for child in children:
        for frame in child["frames"]:
            frame.pop("offset")
    return dataset.rows().drop_columns(["part"]).to_pylist(), children


@pytest.mark.usefixtures("cluster")
def test_same_rows_as_local(tmp_path: Path) -> None:
    local, remote = place_at(tmp_path / "local"), place_at(tmp_path / "ray")
    run(toy.recipe(), local, Local())
    report = run(toy.recipe(), remote, OnRay())[0]
    assert (report.counts.accepted, report.counts.rejected, report.counts.pending) == (40, 1, 0)
    assert rows_of(remote) == rows_of(local)


@pytest.mark.usefixtures("cluster")
def test_a_row_fault_on_the_cluster_stays_pending(tmp_path: Path) -> None:
    place = place_at(tmp_path, "alpha bomb")
    report = run(toy.recipe(), place, OnRay())[0]
    assert (report.counts.accepted, report.counts.pending, report.faults) == (1, 1, 1)


@pytest.mark.usefixtures("cluster")
def test_an_error_of_ours_comes_through_as_itself(tmp_path: Path) -> None:
    place = place_at(tmp_path)
    broken = dataclasses.replace(toy.recipe(), steps=(toy.Dropping(), toy.Spell()))
    with pytest.raises(GuardBroken, match="dropped"):
        run(broken, place, OnRay())
    assert place.dataset(broken).counts().pending == 41


@pytest.mark.usefixtures("cluster")
def test_a_killed_actor_loses_and_doubles_nothing(tmp_path: Path) -> None:
    whole = WORDS.removesuffix(" a")  # a rejection would name the step, and the killed one has another name
    local, remote = place_at(tmp_path / "local", whole), place_at(tmp_path / "ray", whole)
    run(toy.recipe(), local, Local())
    mark = tmp_path / "killed"
    fragile = dataclasses.replace(toy.recipe(), steps=(toy.KilledOnce(mark=str(mark)), toy.Spell()))
    run(fragile, remote, OnRay())
    assert mark.exists()
    assert rows_of(remote) == rows_of(local)


@pytest.mark.usefixtures("cluster")
def test_a_plan_that_the_cluster_cannot_run_is_refused(tmp_path: Path) -> None:
    place = place_at(tmp_path)
    hungry = dataclasses.replace(toy.recipe(), steps=(toy.NeedsGpu(), toy.Spell()))
    with pytest.raises(PlanRefused, match="needs 1 CPUs and 1 GPUs"):
        run(hungry, place, OnRay())


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("cluster")
def test_real_media_give_the_same_promised_bytes_as_local(tmp_path: Path) -> None:
    """The whole temporal flow, from files to the pack: shards, tables, index, card and manifest."""
    short = dataclasses.replace(PRESETS["demo"], name="short", short_share=1.0)
    render_set(tmp_path / "media", 2, 6, short, pictures=1)
    promised = {}
    for name, backend in (("local", Local(2)), ("ray", OnRay())):
        place = Place(tmp_path / name, (str(tmp_path / "media"),), "same")
        reports = run(internvid_tg.recipe(), place, backend)
        assert all(r.counts.pending == 0 and not r.faults for r in reports)
        dataset = place.dataset(internvid_tg.recipe())
        pack(Store(place.store), dataset)
        said = json.loads((dataset.folder / "manifest.json").read_bytes())
        assert sum(f["path"].endswith(".tar") for f in said["files"]) >= 1
        promised[name] = said
    assert promised["ray"] == promised["local"]
