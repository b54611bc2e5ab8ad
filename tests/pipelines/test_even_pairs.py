"""Evening out a dataset of pairs: what stays is what `mirrored` keeps, whole, and what goes says why."""

from __future__ import annotations

from pathlib import Path

import published
import pytest
from pair_rows import pairs_of
from view_rows import event

from reelmill.pipelines import even_pairs
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Place
from reelmill.pipelines._table import run_table
from reelmill.pipelines.views.preference import PAIRS, ComparePerturbed
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import PreferenceSample
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.publishing.blind import mirrored, pair_of

RED, BLUE = "the red circle", "the blue square"
CLIPS = {
    "one": (event(RED, "enters", 0.4, 0.9), event(BLUE, "enters", 1.4, 1.9), event(RED, "leaves", 4.0, 4.5)),
    "two": (event(BLUE, "enters", 0.8, 1.2), event(RED, "stops", 2.0, 2.5), event(BLUE, "stops", 3.0, 4.0)),
    "six": (event(BLUE, "moves", 0.8, 1.2), event(RED, "moves", 2.0, 2.5), event(RED, "leaves", 3.0, 4.0)),
}
STEP = ComparePerturbed(even=False)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    store = Store(tmp_path / "store")
    published.commit(
        store, "pairs-t", PAIRS, [(key, pairs_of(events, key, step=STEP)) for key, events in CLIPS.items()]
    )
    return place_of(store.root, ("pairs-t@1",), "final")


def evened(place: Place) -> Dataset:
    run_table(even_pairs.recipe({"pairs-t@1": 1.0}), place)
    return Store(place.store).find("even_pairs-final")


def test_those_stay_that_the_mirror_keeps_and_they_stay_whole(place: Place) -> None:
    given = {s.key: s for key, events in CLIPS.items() for s in pairs_of(events, key, step=STEP) if s.verdict.accepted}
    dataset = evened(place)
    children = dataset.children().drop_columns(["part"]).to_pylist()
    kept = {row["key"]: arrow.typed(PreferenceSample, row) for row in children}
    assert set(kept) == mirrored(map(pair_of, given.values()))
    assert 0 < len(kept) < len(given)
    for key, pair in kept.items():
        assert (pair.rejected, pair.claims, pair.perturbation) == (
            given[key].rejected,
            given[key].claims,
            given[key].perturbation,
        )
    counts = dataset.counts()
    assert (counts.accepted, counts.rejected) == (len(kept), len(given) - len(kept))
    assert set(counts.reasons) == {("row", "even_pairs", "not_mirrored")}


def test_samples_without_a_rejected_side_are_refused_by_name(place: Place) -> None:
    store = Store(place.store)
    clip = published.clip(0)
    published.commit(store, "plain-t", published.SAMPLES, [(clip.key, [published.sample(clip, 0)])])
    report = run_table(even_pairs.recipe({"plain-t@1": 1.0}), place_of(place.store, ("plain-t@1",), "plain"))
    assert set(report.counts.reasons) == {("row", "even_pairs", "no_pair")}
    both = even_pairs.recipe({"plain-t@1": 1.0, "pairs-t@1": 1.0})
    with pytest.raises(BadInput, match="PreferenceSample: pairs-t@1; Sample: plain-t@1; do: make one dataset of each"):
        run_table(both, place_of(place.store, ("plain-t@1", "pairs-t@1"), "both"))


@pytest.mark.parametrize("inputs", [{}, {"pairs-t@1": 2.0}])
def test_weights_mean_nothing_here(inputs):
    with pytest.raises(BadInput, match="NAME=1"):
        even_pairs.recipe(inputs)
