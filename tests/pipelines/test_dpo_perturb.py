"""The recipe of preference pairs: its options, and a rendered film through the whole flow to checked pairs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from reelmill.pipelines import dpo_perturb
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import in_order
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.evidence import in_clip
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import load_truth, render
from reelmill.pipelines.views.checks.preference import check_preference
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import PreferenceSample, kind_of


@pytest.mark.parametrize(
    ("option", "seen"),
    [({"captions": "engine"}, "captions=engine"), ({"evidence": "x"}, "evidence=x"), ({"even": "no"}, "even=no")],
)
def test_an_unknown_option_is_named(option, seen):
    with pytest.raises(BadInput, match=seen):
        dpo_perturb.recipe(**option)


def test_the_seed_is_identity_and_truth_has_a_name_of_its_own():
    assert dpo_perturb.recipe().fingerprint_hash() != dpo_perturb.recipe(seed=1).fingerprint_hash()
    assert [r.name for r in in_order(dpo_perturb.recipe("truth"))][-3:] == [
        "clips_truth",
        "events_truth",
        "dpo_perturb_truth",
    ]


def test_pairs_that_tell_are_a_dataset_of_another_name():
    open_ = dpo_perturb.recipe(even=False)
    assert open_.name == "dpo_perturb_uneven"
    assert open_.fingerprint_hash() != dpo_perturb.recipe().fingerprint_hash()
    assert dpo_perturb.recipe("truth", even=False).name == "dpo_perturb_uneven_truth"


def test_events_in_words_come_from_a_model_or_from_people(tmp_path: Path):
    listed = dpo_perturb.recipe("listed", list_engine="openai:m@http://127.0.0.1:9/v1")
    assert [r.name for r in in_order(listed)][-2:] == ["listed_events", "dpo_perturb_listed"]
    said = tmp_path / "train.json"
    said.write_text(json.dumps({"v": {"duration": 2.0, "timestamps": [[0.2, 1.0]], "sentences": ["It beeps."]}}))
    human = dpo_perturb.recipe(f"human:activitynet_captions:{said}", even=False)
    assert human.name.startswith("dpo_perturb_uneven_human_activitynet_captions")
    with pytest.raises(BadInput, match="no path"):
        dpo_perturb.recipe("human:activitynet_captions")


def test_pairs_from_a_rendered_film_are_stored_whole_and_right(tmp_path: Path):
    media = tmp_path / "media"
    media.mkdir()
    two = dataclasses.replace(PRESETS["demo"], name="two", movers=(2, 2), shots=(1, 1))
    render(compose(3, two), media / "film.mp4")
    place = place_of(tmp_path / "store", (str(media),), "pairs")
    recipe = dpo_perturb.recipe("truth")
    run(recipe, place, Local(1))
    children = place.dataset(recipe).children().drop_columns(["part"])
    assert kind_of(children.column_names) is PreferenceSample
    pairs = [arrow.typed(PreferenceSample, row) for row in children.to_pylist()]
    accepted = [p for p in pairs if p.verdict.accepted]
    assert accepted
    exact = load_truth(media / "film.mp4")
    for pair in accepted:
        assert pair.media.span is not None
        inside = [in_clip(e, pair.media.span, pair.media.duration_s) for e in exact.events]
        assert check_preference(pair, [e for e in inside if e is not None]) == []
        assert pair.method == "truth"
