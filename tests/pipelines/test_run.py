"""Running: what is done stays done, changes of input cost exactly their own work, drift is refused, faults wait."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import toy

from reelmill.pipelines._pilot import _asked
from reelmill.pipelines._recipe import Place
from reelmill.pipelines._run import Limits, Local, Report, drifted, run
from reelmill.schemas.errors import Busy, Drift, OverBudget
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.state.lease import held

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "words.txt").write_text(WORDS)
    return Place(tmp_path / "store", (str(tmp_path / "words.txt"),), "toy")


def rewrite(place: Place, words: str) -> None:
    Path(place.media[0]).write_text(words)


def only(reports: list[Report]) -> Report:
    assert len(reports) == 1
    return reports[0]


def test_counts_close_at_both_levels(place: Place) -> None:
    rewrite(place, WORDS + " a bomb")
    report = only(run(toy.recipe(), place))
    counts = report.counts
    assert (counts.live, counts.accepted, counts.rejected, counts.pending) == (12, 10, 1, 1)
    assert counts.closes
    letters = sum(len(w) for w in WORDS.split())
    vowels = sum(c in "aeiou" for c in WORDS)
    assert (counts.children, counts.accepted_children) == (letters, letters - vowels)
    assert counts.reasons == {("row", "measure", "too_short"): 1, ("child", "spell", "vowel"): vowels}


def test_the_second_run_works_on_nothing(place: Place) -> None:
    run(toy.recipe(), place)
    again = only(run(toy.recipe(), place))
    assert (again.worked, again.cached) == (0, 10)
    assert not again.change


@pytest.mark.parametrize(
    ("words", "worked", "change"),
    [
        (WORDS + " lambda", 1, (1, 0)),
        (WORDS.replace("beta ", "", 1), 0, (0, 1)),
        (WORDS.replace("zeta", "zebra"), 1, (1, 1)),
    ],
    ids=["added", "removed", "edited"],
)
def test_a_change_of_input_costs_its_own_work(place: Place, words: str, worked: int, change: tuple[int, int]) -> None:
    run(toy.recipe(), place)
    rewrite(place, words)
    report = only(run(toy.recipe(), place))
    assert report.worked == worked
    assert (report.change.added, report.change.vanished) == change
    assert report.counts.live == len(words.split())
    assert report.counts.closes


def test_an_input_that_comes_back_is_not_redone(place: Place) -> None:
    run(toy.recipe(), place)
    rewrite(place, WORDS.replace("beta ", "", 1))
    run(toy.recipe(), place)
    rewrite(place, WORDS)
    report = only(run(toy.recipe(), place))
    assert (report.worked, report.change.returned) == (0, 1)


def test_another_recipe_is_refused_with_the_field_that_differs(place: Place) -> None:
    run(toy.recipe(), place)
    with pytest.raises(Drift, match=r"steps\[0\]\.fields\.extra: was 0, is 1.*--dev") as refused:
        run(toy.recipe(extra=1), place)
    assert refused.value.exit_code == 2
    assert drifted(toy.recipe(extra=1), place) == ["words"]
    assert only(run(toy.recipe(extra=1, version="2"), place)).worked == 10


def test_faults_stay_pending_and_are_tried_again(place: Place) -> None:
    rewrite(place, WORDS + " bomb")
    first = only(run(toy.recipe(), place))
    assert (first.faults, first.counts.pending) == (1, 1)
    faults = place.dataset(toy.recipe()).ledger.faults()
    assert list(faults) == ["bomb"]
    assert "the engine is down" in faults["bomb"]
    again = only(run(toy.recipe(), place))
    assert (again.worked, again.faults, again.cached) == (0, 1, 10)


def test_too_many_faults_end_the_run_and_keep_what_is_done(place: Place) -> None:
    @dataclasses.dataclass(frozen=True)
    class Fragile(toy.Measure):
        def _row(self, row: dict[str, str]) -> dict[str, int]:
            if row["word"].endswith("7"):
                raise RuntimeError("no answer")
            return {"length": 1}

    fragile = dataclasses.replace(toy.recipe(), steps=(Fragile(), toy.Spell()))
    rewrite(place, " ".join(f"word{i}" for i in range(300)))
    with pytest.raises(OverBudget, match="faults over the budget of 1% after 200 rows") as over:
        run(fragile, place, Local(1))
    assert over.value.exit_code == 3
    counts = place.dataset(fragile).counts()
    assert counts.closes
    assert 160 <= counts.accepted < 300


def test_few_rows_are_below_the_floor_of_the_budget(place: Place) -> None:
    rewrite(place, WORDS + " bomb")
    assert only(run(toy.recipe(), place, limits=Limits(fault_floor=12))).faults == 1
    rewrite(place, WORDS + " bomb rho tau")
    with pytest.raises(OverBudget):
        run(toy.recipe(), place, Local(1), limits=Limits(fault_floor=3))


def test_a_live_run_keeps_others_out(place: Place) -> None:
    ledger = place.dataset(toy.recipe()).ledger
    with held(ledger.objects, ledger.take()), pytest.raises(Busy, match="process"):
        run(toy.recipe(), place, limits=Limits(wait_s=0.0))
    assert only(run(toy.recipe(), place, limits=Limits(wait_s=0.0))).worked == 10


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_rows_do_not_depend_on_the_number_of_workers(place: Place, workers: int) -> None:
    run(toy.recipe(), place, Local(workers))
    assert letters_of(place.dataset(toy.recipe())) == [
        (word, i, c.encode()) for word in sorted(WORDS.split()) for i, c in enumerate(word)
    ]


def letters_of(dataset: Dataset) -> list[tuple[str, int, bytes]]:
    """Parent, frame number and the letter that the stored frame's bytes name, read back from the media parts."""
    found = []
    for child in dataset.children().to_pylist():
        frame = child["frames"][0]
        data = dataset.frame(child["part"], frame["offset"], frame["size"])
        assert data == f"jpeg of {child['letter']} {frame['frame']} in {child['parent_key']}".encode()
        found.append((child["parent_key"], frame["frame"], child["letter"].encode()))
    return sorted(found)


def test_the_record_is_written_last_and_says_what_happened(place: Place) -> None:
    run(toy.recipe(), place)
    dataset = place.dataset(toy.recipe())
    record = __import__("json").loads((dataset.folder / "record.json").read_text())
    assert record["counts"]["accepted"] == 10
    assert record["libraries"]["pyarrow"] != "absent"
    assert record["identity"]["fingerprint"] == toy.recipe().fingerprint()


def test_a_pilot_lets_go_of_what_its_steps_hold(place: Place) -> None:
    ended = list[str]()

    class Holding(toy.Measure):
        def close(self) -> None:
            ended.append(type(self).__name__)

    recipe = dataclasses.replace(toy.recipe(), steps=(Holding(), toy.Spell()))
    run(recipe, place)
    ended.clear()
    assert len(_asked(recipe, place, sorted(place.dataset(recipe).winners.of_key))) == len(WORDS.split())
    assert ended == ["Holding"]
