"""`curated` by the command line, on rendered files: what stands in shards, tables, catalog, card, page and terminal."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
import webdataset
from PIL import Image

from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render_set
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.verify import verify

SHORT = dataclasses.replace(PRESETS["demo"], name="short", short_share=1.0)


def reelmill(*words: str) -> str:
    command = [sys.executable, "-m", "reelmill.jobs.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curated")
    render_set(folder / "media", 2, 41, SHORT, pictures=1)
    words = ["run", "curated", "--media", str(folder / "media"), "--store", str(folder / "store"), "--name", "c"]
    reelmill(*words, "--set", "short_side_px=96", "--set", "every_s=0.25")
    return folder / "store"


@pytest.fixture(scope="module")
def dataset(store: Path) -> Dataset:
    return Store(store).find("curated-c")


@pytest.fixture(scope="module")
def read(dataset: Dataset) -> list[dict[str, Any]]:
    shards = sorted(str(p) for p in (dataset.folder / "shards").glob("*.tar"))
    return list(webdataset.WebDataset(shards, shardshuffle=False))


def facts_by_clip(store: Path) -> dict[str, dict[str, Any]]:
    rows = Store(store).find("clips_96px_250ms-c").children().to_pylist()
    kept = (r for r in rows if r["verdict"]["state"] == "accepted")
    return {r["key"]: r["stats"] | {"num_frames": r["num_frames"], "still": r["still"]} for r in kept}


def test_each_accepted_clip_is_one_sample_of_frames_of_the_size_and_pace_asked_for(
    store: Path, read: list[dict[str, Any]]
) -> None:
    known = facts_by_clip(store)
    assert {json.loads(s["json"])["parent_key"] for s in read} == set(known)
    for sample in read:
        told = json.loads(sample["json"])
        assert (told["turns"], told["task"], told["family"]) == ([], "clip", "curated")
        assert told["facts"] == known[told["parent_key"]]
        frames = [Image.open(io.BytesIO(sample[f["member"]])) for f in told["frames"]]
        assert [f.size for f in frames] == [(f["width_px"], f["height_px"]) for f in told["frames"]]
        if told["media"]["kind"] == "video":
            assert {min(f.size) for f in frames} == {96}
            times = [f["at_s"] for f in told["frames"]]
            assert len(times) >= told["media"]["duration_s"] / 0.25 - 1
            assert times[0] == 0.0


def test_the_facts_are_columns_to_filter_by(dataset: Dataset, store: Path) -> None:
    catalog = duckdb.connect(str(dataset.folder / "catalog.duckdb"), read_only=True)
    columns = "parent_key, motion, sharpness, luma, luma_spread, phash, clip_frames, still"
    rows = catalog.sql(f"select {columns} from samples").fetchall()
    names = ("motion", "sharpness", "luma", "luma_spread", "phash", "num_frames", "still")
    assert {r[0]: dict(zip(names, r[1:], strict=True)) for r in rows} == facts_by_clip(store)
    assert catalog.sql("select count(*) from turns").fetchall() == [(0,)]


def test_it_verifies_and_is_not_made_again(store: Path, dataset: Dataset) -> None:
    assert verify(dataset).findings == ()
    media = store.parent / "media"
    words = ["run", "curated", "--media", str(media), "--store", str(store), "--name", "c"]
    again = reelmill(*words, "--set", "every_s=0.25", "--set", "short_side_px=96")
    assert "up to date" in again
    assert again.count(" 0 worked on now") == 3


def test_other_frames_stand_beside_the_clips_of_other_recipes(store: Path) -> None:
    media = store.parent / "media"
    told = reelmill("run", "clips", "--media", str(media), "--store", str(store), "--name", "c")
    assert "clips-c@1" in told
    assert {d.name for d in Store(store).datasets()} == {"media-c", "clips-c", "clips_96px_250ms-c", "curated-c"}


def test_card_page_and_terminal_say_that_there_are_no_words(store: Path, dataset: Dataset) -> None:
    card = (dataset.folder / "README.md").read_text()
    assert "## No labels" in card
    assert "rule-made labels" not in card
    assert "- name: facts" in card.replace('"', "")
    page = (dataset.folder / "gallery" / "index.html").read_text()
    assert "sharpness" in page
    looked = reelmill("look", "curated-c", "--store", str(store))
    assert "sharpness" in looked
    assert "asks" not in looked


def test_words_in_a_wordless_sample_are_found(dataset: Dataset, tmp_path: Path) -> None:
    from reelmill.schemas.sample import Role, Turn
    from reelmill.sinks.publishing.view import accepted_children, samples
    from reelmill.sinks.verify import sample_findings

    sample = next(iter(samples(accepted_children(dataset))))
    assert list(sample_findings(sample)) == []
    spoken = dataclasses.replace(sample, turns=(Turn(Role.USER, "What?", (), (), ()),))
    assert [f.kind for f in sample_findings(spoken)] == ["turns"]
    silent = dataclasses.replace(sample, task="caption")
    assert [f.kind for f in sample_findings(silent)] == ["turns"]


def test_a_packed_sample_without_a_fact_is_found(store: Path, dataset: Dataset, tmp_path: Path) -> None:
    from reelmill.schemas import arrow
    from reelmill.schemas.errors import SchemaBroken
    from reelmill.sinks.publishing.packed import PackedCurated, document

    shard = next((dataset.folder / "shards").glob("*.tar"))
    with tarfile.open(shard) as tar:
        stream = tar.extractfile(next(m for m in tar if m.name.endswith(".json")))
        assert stream is not None
        data = stream.read()
    told = json.loads(data)
    assert document(arrow.typed(PackedCurated, told)) == data
    del told["facts"]["phash"]
    with pytest.raises(SchemaBroken, match="phash"):
        arrow.typed(PackedCurated, told)
