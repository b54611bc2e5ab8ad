"""Rows of finished datasets as a source: joins lose nothing, late or refused evidence says so, frames are the bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import toy

from reelmill.pipelines._recipe import Place, Recipe, in_order
from reelmill.pipelines._run import Local, drifted, run
from reelmill.pipelines.sources.rows import Rows, _Evidence
from reelmill.schemas.column import Column
from reelmill.schemas.errors import Drift
from reelmill.schemas.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Heard:
    """A letter as evidence: without its frame."""

    key: str
    parent_key: str
    letter: str
    verdict: Verdict


CHILDREN = Column.of("letters", tuple[Heard, ...])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "words.txt").write_text("rhythm zz")
    return Place(tmp_path / "store", (str(tmp_path / "words.txt"),), "toy")


def test_sources_come_first_and_once() -> None:
    assert [r.name for r in in_order(toy.saying())] == ["words", "hearing", "saying"]


def test_a_view_sees_letters_and_the_bytes_of_their_frames(place: Place) -> None:
    run(toy.saying(), place, Local(1))
    said = sorted(r["said"] for r in place.dataset(toy.saying()).rows().to_pylist() if r["said"])
    assert said[0] == "m: jpeg of m 5 in rhythm"
    assert len(said) == 6


def test_refused_evidence_arrives_refused_and_is_counted(place: Place) -> None:
    reports = run(toy.saying(), place, Local(1))
    assert [r.counts.live for r in reports] == [2, 8, 8]
    assert reports[1].counts.reasons == {("row", "hear", "silent"): 2}
    assert reports[2].counts.reasons == {("row", "hear", "silent"): 2}
    assert all(r.counts.closes and not r.counts.pending for r in reports)


def test_rows_come_with_the_columns_that_steps_need_and_these_are_as_in_a_whole_read(place: Place) -> None:
    recipe = toy.saying()
    run(recipe, place, Local(1))
    keys = sorted(place.dataset(recipe).winners.of_key)
    of_another_source = replace(recipe, source=Rows(toy.recipe()))
    few, whole = (recipe.source.open(place, one)(keys) for one in (recipe, of_another_source))
    assert {c.name for c in recipe.source.gives} <= set(whole.column_names)
    assert {"letter", "heard", "provenance"} <= set(few.column_names)
    assert "frames" not in few.column_names
    assert few == whole.select(few.column_names)


def test_children_of_evidence_lie_under_their_parent_by_key_and_one_without_any_has_an_empty_list(place: Place) -> None:
    run(toy.recipe(), place, Local(1))
    dataset = place.dataset(toy.recipe())
    first, second = sorted(dataset.winners.of_key, reverse=True)
    evidence = _Evidence(toy.recipe(), dataset, None)
    nested = evidence._nested([first, second], CHILDREN).to_pylist()
    children = dataset.children([f.name for f in CHILDREN.field.type.value_type]).drop_columns(["part"]).to_pylist()
    assert nested == [[c for c in children if c["parent_key"] == key] for key in (first, second)]
    assert all(len(letters) == len(key) for key, letters in zip((first, second), nested, strict=True))


def test_late_evidence_keeps_the_row_pending_until_it_comes(place: Place) -> None:
    late = run(toy.saying(deaf=True), place, Local(1))
    assert [r.counts.pending for r in late] == [0, 2, 2]
    then = run(toy.saying(), place, Local(1))
    assert [r.worked for r in then] == [0, 2, 2]
    assert [r.counts.pending for r in then] == [0, 0, 0]


def test_an_input_that_vanished_takes_its_children_along(place: Place) -> None:
    run(toy.saying(), place, Local(1))
    Path(place.media[0]).write_text("zz")
    reports = run(toy.saying(), place, Local(1))
    assert [r.counts.live for r in reports] == [1, 2, 2]
    assert [r.change.vanished for r in reports] == [1, 6, 6]
    assert [r.worked for r in reports] == [0, 0, 0]


def test_a_change_upstream_is_drift_downstream_and_only_there(place: Place) -> None:
    run(toy.saying(), place, Local(1))
    changed = toy.hearing(version="1")
    assert drifted(changed, place) == []
    other = Place(place.store, place.media, place.slug)
    upstream = Recipe(
        name="hearing", version="1", source=Rows(toy.recipe(extra=1), with_frames=True), steps=(toy.Hear(),)
    )
    assert drifted(upstream, other) == ["words", "hearing"]
    with pytest.raises(Drift, match=r"source\.rows_of\.words"):
        run(upstream, Place(place.store, place.media, place.slug, {"words": "2"}), Local(1))


def test_media_are_looked_up_where_they_are_today(place: Place) -> None:
    run(toy.hearing(), place, Local(1))
    dataset = place.dataset(toy.recipe())
    entries = dataset.entries()
    load = toy.saying().source.open(place, toy.saying())
    key = dataset.children().to_pylist()[0]["key"]
    row = load([key]).to_pylist()[0]
    assert row["media"]["uri"] in {e.uri for e in entries if e.live}
    assert [link["step"] for link in row["provenance"]] == ["measure", "spell", "hear"]
    assert row["clips_dataset"] == "words-toy@1"
