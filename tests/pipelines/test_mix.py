"""Mixing, the first table recipe: quotas by weight, every sample judged, all decided again when an input changes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import published
import pytest

from reelmill.pipelines import mix
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Place
from reelmill.pipelines._run import Limits, Report
from reelmill.pipelines._table import TableRecipe, run_table
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput, Busy, Drift, GuardBroken, NotFound
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.pack import pack
from reelmill.sinks.parts import part_files
from reelmill.sinks.state.lease import held
from reelmill.sinks.state.place import on_disk
from reelmill.sinks.state.snapshot import Entry
from reelmill.sinks.verify import verify

MANY, FEW = "many-t@1", "few-t@1"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    store = Store(tmp_path / "store")
    clips = [published.clip(i) for i in range(8)]
    published.commit(store, "clips-t", published.CLIPS, [(c.parent_key, [c]) for c in clips])
    many = [(c.key, [published.sample(c, i, n) for n in range(2)]) for i, c in enumerate(clips[:6])]
    few = [(c.key, [published.sample(c, i + 6, 0, task="read")]) for i, c in enumerate(clips[6:])]
    published.commit(store, "many-t", published.SAMPLES, many)
    published.commit(store, "few-t", published.SAMPLES, few)
    return place_of(store.root, (MANY, FEW), "final")


def drawn(place: Place) -> Dataset:
    return Store(place.store).find("mix-final")


def by_task(dataset: Dataset) -> Counter[str]:
    rows = dataset.children().to_pylist()
    return Counter("few" if r["task"] == "read" else "many" for r in rows)


@pytest.mark.parametrize(
    ("weights", "total", "expected"),
    [
        ({MANY: 1.0, FEW: 1.0}, 0, {"many": 2, "few": 2}),
        ({MANY: 3.0, FEW: 1.0}, 0, {"many": 6, "few": 2}),
        ({MANY: 3.0, FEW: 1.0}, 4, {"many": 3, "few": 1}),
        ({MANY: 1.0}, 0, {"many": 12}),
    ],
)
def test_quotas_follow_the_weights_and_what_is_not_drawn_says_so(
    place: Place, weights: dict[str, float], total: int, expected: dict[str, int]
) -> None:
    report = run_table(mix.recipe(weights, total), place)
    assert by_task(drawn(place)) == expected
    assert report.counts.live == (14 if len(weights) == 2 else 12)
    assert report.counts.accepted == sum(expected.values())
    assert report.counts.rejected == report.counts.live - report.counts.accepted
    assert set(report.counts.reasons) <= {("row", "mix", "not_drawn")}
    assert report.counts.closes


def test_a_mix_is_packed_with_the_frames_of_its_inputs(place: Place) -> None:
    run_table(mix.recipe({MANY: 3.0, FEW: 1.0}), place)
    packed = pack(Store(place.store), drawn(place))
    assert sum(packed.samples.values()) == 8
    assert verify(drawn(place)).ok


def test_a_second_run_decides_nothing(place: Place) -> None:
    recipe = mix.recipe({MANY: 1.0, FEW: 1.0})
    assert run_table(recipe, place).worked == 14
    assert run_table(recipe, place).worked == 0


def test_the_draw_depends_on_the_seed_and_on_no_order(place: Place) -> None:
    def keys(seed: int) -> set[str]:
        other = dataclasses.replace(place, slug=f"seed{seed}")
        run_table(mix.recipe({MANY: 1.0, FEW: 1.0}, seed=seed), other)
        return set(Store(place.store).find(f"mix-seed{seed}").children()["key"].to_pylist())

    first = keys(0)
    assert any(keys(seed) != first for seed in range(1, 6))
    (on_disk(place.store) / "mix-seed0").rename(on_disk(place.store) / "kept")
    assert keys(0) == first


def test_a_changed_input_is_decided_again_as_a_whole(place: Place) -> None:
    recipe = mix.recipe({MANY: 1.0, FEW: 1.0})
    run_table(recipe, place)
    clip = published.clip(20)
    store = Store(place.store)
    few = store.find(FEW)
    lease = few.ledger.take()
    with held(few.ledger.objects, lease):
        few.ledger.list_inputs(lease, [*few.entries(), Entry.derived(clip.key)])
        row = {"key": clip.key, "verdict": None, "samples": [arrow.plain(published.sample(clip, 20, task="read"))]}
        outcomes, files = part_files([row], (), published.SAMPLES)
        few.ledger.commit(lease, outcomes, files)
    report = run_table(recipe, place)
    assert (report.worked, report.change.added) == (15, 1)
    assert by_task(drawn(place)) == {"many": 3, "few": 3}


def test_other_weights_are_another_recipe(place: Place) -> None:
    run_table(mix.recipe({MANY: 1.0, FEW: 1.0}), place)
    with pytest.raises(Drift, match=r"with\.weights"):
        run_table(mix.recipe({MANY: 2.0, FEW: 1.0}), place)


def test_bad_inputs_are_named(place: Place) -> None:
    for inputs in ({}, {MANY: 0.0}, {MANY: -1.0}):
        with pytest.raises(BadInput, match="positive weights"):
            mix.recipe(inputs)
    with pytest.raises(NotFound, match="nothing-t"):
        run_table(mix.recipe({"nothing-t": 1.0}), place)
    with pytest.raises(BadInput, match="no samples in it"):
        run_table(mix.recipe({"clips-t@1": 1.0}), place)
    with pytest.raises(BadInput, match="is in two inputs"):
        run_table(mix.recipe({"many-t": 1.0, MANY: 1.0}), place)


def test_a_query_that_forgets_a_sample_is_refused(place: Place) -> None:
    forgets = TableRecipe(
        name="mix",
        version="1",
        inputs=(MANY,),
        query="select key, 'accepted' as state, '' as reason, '' as detail from samples limit 5",
    )
    with pytest.raises(GuardBroken, match="given 12 samples; seen: 5 verdicts"):
        run_table(forgets, place)
    assert drawn(place).counts().pending == 12


def test_a_live_run_keeps_another_out(place: Place) -> None:
    recipe = mix.recipe({MANY: 1.0})
    run_table(recipe, place)
    ledger = drawn(place).ledger
    with held(ledger.objects, ledger.take()), pytest.raises(Busy):
        run_table(recipe, place, limits=Limits(wait_s=0.0))


def test_report_is_of_the_whole(place: Place) -> None:
    report: Report = run_table(mix.recipe({MANY: 1.0}), place)
    assert report.label == "mix-final@1"
    assert "record.json" in Dataset(report.folder).ledger.objects.list("")
