"""Clusters of looks, and which of them are text-rich: the same whatever the order, by a rule or by hand."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import published
import pytest

from reelmill.annotators.embed import CLIP_EMBEDDING
from reelmill.jobs.recipes import make
from reelmill.pipelines import text_rich
from reelmill.pipelines._clusters import clusters, usual_count
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Place
from reelmill.pipelines._run import Report
from reelmill.pipelines._table import run_table
from reelmill.schemas.errors import BadInput, NotFound
from reelmill.sinks.dataset import Store
from reelmill.sinks.parts import part_files
from reelmill.sinks.state.lease import held
from reelmill.sinks.state.snapshot import Entry

TEXTS, VECTORS = "ocr_rich-t@1", "embeddings-t@1"
SIGN, LAWN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def around(centre: tuple[float, ...], n: int) -> tuple[float, ...]:
    vector = np.array(centre) + np.random.default_rng(n).normal(0, 0.05, len(centre))
    return tuple((vector / np.linalg.norm(vector)).astype(np.float32).tolist())


def embedded(store: Store, rows: dict[str, tuple[float, ...]]) -> None:
    dataset = store.dataset("embeddings-t", "1")
    dataset.ledger.begin({"name": "embeddings-t", "version": "1", "recipe": "embeddings", "fingerprint": {}})
    lease = dataset.ledger.take()
    with held(dataset.ledger.objects, lease):
        dataset.ledger.list_inputs(lease, [Entry.derived(k) for k in rows])
        made = [{"key": k, "verdict": None, "clip_embedding": v} for k, v in rows.items()]
        outcomes, files = part_files(made, (CLIP_EMBEDDING,), None)
        dataset.ledger.commit(lease, outcomes, files)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Eight clips that look like signs, of which six have text, and eight of a lawn, of which one has."""
    store = Store(tmp_path / "store")
    clips = [published.clip(i) for i in range(16)]
    with_text = [*clips[:6], clips[8]]
    task: dict[str, Any] = {"family": "ocr_rich", "task": "transcription"}
    made = [(c.key, [published.sample(c, i, **task)]) for i, c in enumerate(with_text)]
    published.commit(store, "ocr_rich-t", published.SAMPLES, made)
    embedded(store, {c.key: around(SIGN if i < 8 else LAWN, i) for i, c in enumerate(clips)})
    return place_of(store.root, (TEXTS,), "t")


def judged(place: Place, **options: Any) -> tuple[Report, list[dict[str, Any]]]:
    recipe = text_rich.recipe({TEXTS: 1.0}, vectors=VECTORS, **{"count": 2, **options})
    report = run_table(recipe, place)
    return report, Store(place.store).find("text_rich-t").rows().to_pylist()


def test_clusters_with_enough_text_are_chosen_and_each_verdict_says_why(place: Place) -> None:
    report, rows = judged(place)
    assert (report.counts.accepted, report.counts.rejected) == (6, 1)
    (refused,) = [r["verdict"] for r in rows if r["verdict"]["state"] == "rejected"]
    assert refused["reason"] == "cluster_not_chosen"
    assert "8 clips, 1 text-rich (12%); under 50%; such as " in refused["detail"]
    said = {r["verdict"]["detail"] for r in rows if r["verdict"]["state"] == "accepted"}
    assert len(said) == 1
    assert "8 clips, 6 text-rich (75%); at least 50%" in said.pop()


def test_a_person_may_choose_otherwise(place: Place) -> None:
    (refused,) = [r["verdict"]["detail"] for r in judged(place)[1] if r["verdict"]["state"] == "rejected"]
    lawn = int(refused.split()[1].strip(":"))
    by_hand = dataclasses.replace(place, slug="hand")
    report = run_table(text_rich.recipe({TEXTS: 1.0}, vectors=VECTORS, count=2, clusters=lawn), by_hand)
    assert report.counts.accepted == 1
    strange = text_rich.recipe({TEXTS: 1.0}, vectors=VECTORS, count=2, clusters="0,9")
    with pytest.raises(BadInput, match="clusters 0 to 1"):
        run_table(strange, dataclasses.replace(place, slug="strange"))


def test_small_clusters_are_not_chosen_and_a_second_run_decides_nothing(place: Place) -> None:
    report, rows = judged(place, least_clips=9)
    assert report.counts.accepted == 0
    assert all("under 9 clips" in r["verdict"]["detail"] for r in rows)
    assert judged(place, least_clips=9)[0].worked == 0


def test_a_sample_whose_clip_has_no_vector_says_so(place: Place, tmp_path: Path) -> None:
    store = Store(tmp_path / "other")
    clip = published.clip(0)
    made = [(clip.key, [published.sample(clip, 0, family="ocr_rich", task="transcription")])]
    published.commit(store, "ocr_rich-t", published.SAMPLES, made)
    embedded(store, {published.clip(5).key: SIGN})
    _, rows = judged(place_of(store.root, (TEXTS,), "t"))
    assert rows[0]["verdict"]["reason"] == "no_vector"
    assert rows[0]["verdict"]["detail"] == "its clip has no embedding in embeddings-t@1"


def test_wrong_options_are_said_in_one_line(place: Place) -> None:
    for options, seen in (({}, "no vectors"), ({"vectors": VECTORS, "clusters": "a"}, "not a list of numbers")):
        with pytest.raises(BadInput, match=seen):
            make("text_rich", {"inputs": {TEXTS: 1.0}, **options})
    with pytest.raises(NotFound):
        run_table(text_rich.recipe({TEXTS: 1.0}, vectors="embeddings-none@1"), place)
    with pytest.raises(BadInput, match="no embeddings"):
        run_table(text_rich.recipe({TEXTS: 1.0}, vectors=TEXTS), place)


def test_clusters_do_not_depend_on_the_order_and_are_numbered_by_size() -> None:
    centres = np.eye(4)
    keys = [f"k{i:02d}" for i in range(40)]
    wanted = {k: (0 if i < 16 else 1 if i < 28 else 2 if i < 36 else 3) for i, k in enumerate(keys)}
    vectors = {k: around(tuple(centres[wanted[k]]), i) for i, k in enumerate(keys)}
    assert clusters(vectors, 4) == wanted
    for seed in range(3):
        mixed = list(vectors.items())
        random.Random(seed).shuffle(mixed)
        assert clusters(dict(mixed), 4) == wanted
        assert set(clusters(vectors, 4, seed).values()) == {0, 1, 2, 3}


def test_fewer_different_rows_than_clusters_give_fewer_clusters() -> None:
    assert clusters({"a": (1.0, 0.0), "b": (1.0, 0.0)}, 5) == {"a": 0, "b": 0}
    assert clusters({"a": (1.0, 0.0)}, 3) == {"a": 0}


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (8, 2), (200, 10), (50_000, 100)])
def test_the_usual_count_grows_with_the_square_root(rows: int, count: int) -> None:
    assert usual_count(rows) == count
