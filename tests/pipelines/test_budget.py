"""The fault budget on both sides of its share and of its floor; what was committed counts, the rest waits."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import pytest
import recount
import toy
from hypothesis import example, given
from hypothesis import strategies as st

from reelmill.pipelines._recipe import Place, Recipe
from reelmill.pipelines._run import Limits, Local, run
from reelmill.schemas.errors import OverBudget

LIMITS = Limits(fault_share=0.05, fault_floor=20)
MENDED: Recipe = dataclasses.replace(toy.recipe(), steps=(toy.Measure(mended=True), toy.Spell()))


def place_with(folder: Path, good: int, bad: int) -> Place:
    """Good words come first; groups of four are worked on in the order of keys."""
    words = [f"a{i:04d}" for i in range(good)] + [f"bomb{i:04d}" for i in range(bad)]
    (folder / "words.txt").write_text(" ".join(words))
    return Place(folder / "store", (str(folder / "words.txt"),), "toy")


def committed(place: Place) -> int:
    """Keys that count, by the tests' own account."""
    return sum(len(keys) for keys in recount.taken(place.dataset(toy.recipe()).folder).values())


@example(29, 100, 29)
@example(29, 100, 30)
@given(st.integers(0, 100), st.integers(1, 10_000), st.integers(0, 10_000))
def test_the_share_is_exact(percent: int, worked: int, faults: int) -> None:
    """0.29 * 100 is 28.999999999999996, and 29 of 100 are not over it."""
    limits = Limits(fault_share=percent / 100, fault_floor=1)
    assert limits.over(faults, worked) == (faults > Fraction(percent, 100) * worked)


@given(st.integers(1, 300), st.integers(1, 600))
def test_below_the_floor_nothing_is_over(floor: int, worked: int) -> None:
    limits = Limits(fault_share=0.01, fault_floor=floor)
    assert limits.over(worked, worked) == (worked >= floor)


def test_a_run_with_exactly_the_share_ends_by_itself(tmp_path: Path) -> None:
    place = place_with(tmp_path, 76, 4)
    (report,) = run(toy.recipe(), place, Local(1), limits=LIMITS)
    assert (report.faults, report.counts.pending, report.counts.accepted) == (4, 4, 76)


def test_one_fault_more_ends_it_and_what_is_committed_counts(tmp_path: Path) -> None:
    place = place_with(tmp_path, 75, 5)
    with pytest.raises(OverBudget) as over:
        run(toy.recipe(), place, Local(1), limits=LIMITS)
    assert over.value.exit_code == 3
    assert str(over.value).startswith("words-toy@1: faults over the budget of 5% after 20 rows; seen: 5 faults in 80 ")
    assert "the last: bomb0004: RuntimeError: the engine is down; do: mend" in str(over.value)
    assert committed(place) == 75
    (mended,) = run(MENDED, place, Local(1))
    assert (mended.cached, mended.worked, mended.counts.pending) == (75, 5, 0)
    assert committed(place) == 80


@pytest.mark.parametrize(("bad", "ends"), [(19, False), (20, True)])
def test_the_floor_itself(tmp_path: Path, bad: int, ends: bool) -> None:
    place = place_with(tmp_path, 0, bad)
    if ends:
        with pytest.raises(OverBudget, match="20 faults in 20 rows"):
            run(toy.recipe(), place, Local(1), limits=LIMITS)
    else:
        assert run(toy.recipe(), place, Local(1), limits=LIMITS)[0].faults == bad
    assert place.dataset(toy.recipe()).counts().pending == bad


@pytest.mark.parametrize("workers", [1, 3])
def test_the_lease_is_released_only_when_no_worker_writes_any_more(tmp_path: Path, workers: int) -> None:
    """Groups in flight are let finish, and count: the next run takes another lease and finds them."""
    place = place_with(tmp_path, 40, 12)
    with pytest.raises(OverBudget):
        run(toy.recipe(), place, Local(workers), limits=dataclasses.replace(LIMITS, fault_floor=1))
    before = committed(place)
    again = run(MENDED, place, Local(workers), limits=Limits(wait_s=0.0))[0]
    assert (again.cached, again.worked) == (before, 52 - before)


def test_a_budget_of_nothing_and_one_of_everything(tmp_path: Path) -> None:
    place = place_with(tmp_path, 19, 1)
    with pytest.raises(OverBudget, match="over the budget of 0% after 20 rows; seen: 1 faults in 20 rows"):
        run(toy.recipe(), place, Local(1), limits=Limits(fault_share=0.0, fault_floor=20))
    place = place_with(tmp_path, 0, 40)
    assert run(toy.recipe(), place, Local(1), limits=Limits(fault_share=1.0, fault_floor=1))[0].faults == 40
