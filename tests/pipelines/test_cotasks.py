"""The recipe of CoTasks: its options, and a rendered film through the whole flow to checked dialogues and pairs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from reelmill.jobs import verifying
from reelmill.pipelines import cotasks
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import in_order
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render
from reelmill.pipelines.views.cotasks import POOLS
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import PreferenceSample, kind_of
from reelmill.sinks.dataset import Store


@pytest.mark.parametrize(
    ("evidence", "seen"),
    [
        ("guess", "evidence=guess"),
        ("human:activitynet_captions", "no path"),
        ("human:vidstg:somewhere", "does not tell all"),
    ],
)
def test_evidence_that_cannot_be_used_is_named(evidence: str, seen: str) -> None:
    with pytest.raises(BadInput, match=seen):
        cotasks.recipe(evidence)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"least_margin": 5.0}, {"agreement": True}, {"even": False}])
def test_every_option_is_identity(changed: dict[str, Any]) -> None:
    assert cotasks.recipe(pairs=True).fingerprint_hash() != cotasks.recipe(pairs=True, **changed).fingerprint_hash()


def test_names_tell_the_forms_and_the_evidence_apart(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("{}")
    made = [cotasks.recipe(evidence, pairs=p) for evidence in ("rules", "truth") for p in (False, True)]
    assert [r.name for r in made] == ["cotasks", "cotasks_pairs", "cotasks_truth", "cotasks_pairs_truth"]
    assert [r.name for r in in_order(made[3])][-3:] == ["clips_truth", "events_truth", "cotasks_pairs_truth"]
    assert cotasks.recipe(pairs=True, even=False).name == "cotasks_pairs_uneven"
    asked = cotasks.recipe(sample_engine="openai:m@http://127.0.0.1:9/v1")
    assert [r.name for r in in_order(asked)][-2:] == ["drawn_accounts", "cotasks_pairs_sampled"]
    with pytest.raises(BadInput, match="use rules, whose events"):
        cotasks.recipe("truth", sample_engine="openai:m@http://127.0.0.1:9/v1")
    with pytest.raises(BadInput, match="even=no"):
        cotasks.recipe(pairs=True, even="no")  # type: ignore[arg-type]
    stated = cotasks.recipe(f"human:activitynet_captions:{tmp_path / 'train.json'}", pairs=True)
    assert stated.name.startswith("cotasks_pairs_human_")


def test_a_rendered_film_gives_stored_dialogues_and_pairs_that_verify_holds_right(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    two = dataclasses.replace(PRESETS["demo"], name="two", movers=(2, 2), shots=(1, 1))
    render(compose(3, two), media / "film.mp4")
    place = place_of(tmp_path / "store", (str(media),), "told")
    store = Store(place.store)
    for recipe in (cotasks.recipe("truth"), cotasks.recipe("truth", pairs=True)):
        accepted = run(recipe, place, Local(1))[-1].counts.accepted_children
        figures = {f.name: f for f in verifying.measure(store, store.find(f"{recipe.name}-told"))}
        assert figures["samples right within 1e-06 s"].count == accepted >= 2
        assert all(f.value == 1.0 for f in figures.values())
    children = store.find("cotasks_pairs_truth-told").children().drop_columns(["part"])
    assert kind_of(children.column_names) is PreferenceSample
    found = [arrow.typed(PreferenceSample, row) for row in children.to_pylist()]
    assert {p.task for p in found if p.verdict.accepted} <= set(POOLS) - {"segments"}
    assert all(p.margin >= 10 for p in found if p.verdict.accepted)
