"""Listed events from end to end, without weights: a server that answers by rules, tubes, and what both agree on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from reelmill.annotators.agree import Agree
from reelmill.annotators.borrow import HoldBorrowed
from reelmill.annotators.engines.stand_in.server import MODEL, serving
from reelmill.jobs import verifying
from reelmill.jobs.recipes import make
from reelmill.pipelines import borrowed, internvid_tg, listed, listed_events
from reelmill.pipelines._place import place_of
from reelmill.pipelines._plan import Plan
from reelmill.pipelines._recipe import Place, in_order
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render_set
from reelmill.pipelines.views.checks.grounding import check_grounding
from reelmill.pipelines.views.grounding import CompileListed
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.event import AbsentPhrase, Event, EventKind
from reelmill.schemas.sample import Sample
from reelmill.sinks.dataset import Store

SEED = 8
ASKED = "openai:m@http://127.0.0.1:1/v1"
CLIP = "transformers:some/clip"


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with serving() as teacher:
        yield f"openai:{MODEL}@{teacher.url}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, engine: str) -> Place:
    folder = tmp_path_factory.mktemp("listed")
    render_set(folder / "media", 2, SEED, dataclasses.replace(PRESETS["demo"], short_share=0.0, duration_s=(3.5, 4.0)))
    place = place_of(folder / "store", (str(folder / "media"),), "t")
    reports = run(internvid_tg.recipe("listed", list_engine=engine), place, Local(1))
    assert all(r.counts.closes and not r.counts.pending for r in reports)
    return place


def children(place: Place, recipe: Any, kind: Any) -> list[Any]:
    rows = place.dataset(recipe).children().drop_columns(["part"]).to_pylist()
    return [arrow.typed(kind, row) for row in rows]


@pytest.mark.slow
def test_events_are_accepted_where_teacher_and_tubes_agree(place: Place, engine: str) -> None:
    events: list[Event] = children(place, listed_events.recipe(engine), Event)
    assert {e.kind for e in events} == {EventKind.STATED}
    accepted = [e for e in events if e.verdict.accepted]
    assert accepted
    for event in accepted:
        said = {p.localiser for p in event.proposals if p.span is not None and p.span.tiou(event.span) >= 0.5}
        assert said >= {"asking", "tubes"}
    assert all(e.verdict.reason and e.verdict.detail for e in events if not e.verdict.accepted)


@pytest.mark.slow
def test_phrases_come_from_clips_of_other_films(place: Place, engine: str) -> None:
    clips = place.dataset(in_order(listed_events.recipe(engine))[1]).children().to_pylist()
    film = {c["key"]: c["media"]["digest"] for c in clips}
    lists = {
        r["key"]: [e["phrase"] for e in r["listed"] or []]
        for r in place.dataset(listed.recipe(engine)).rows().to_pylist()
    }
    rows = place.dataset(listed_events.recipe(engine)).rows().to_pylist()
    denied = [(r["key"], a) for r in rows for a in arrow.typed(tuple[AbsentPhrase, ...], r["absent_phrases"] or [])]
    assert denied
    for key, phrase in denied:
        assert film[key] != film[phrase.from_key]
        assert phrase.phrase in lists[phrase.from_key]
        assert phrase.phrase not in lists[key]
        assert phrase.verdict.accepted is all(p.span is None for p in phrase.proposals if len(phrase.proposals) > 1)


@pytest.mark.slow
def test_the_view_is_right_about_what_was_accepted(place: Place, engine: str) -> None:
    recipe = internvid_tg.recipe("listed", list_engine=engine)
    samples: list[Sample] = [s for s in children(place, recipe, Sample) if s.verdict.accepted]
    events: list[Event] = children(place, listed_events.recipe(engine), Event)
    assert {"grounding", "span_caption", "dialogue"} <= {s.task for s in samples}
    for sample in samples:
        own = [e for e in events if e.parent_key == sample.parent_key and e.verdict.accepted]
        assert check_grounding(sample, own) == [], sample.turns
        assert sample.method == "model"


@pytest.mark.slow
def test_a_row_alone_is_the_row_in_any_batch(place: Place, engine: str) -> None:
    recipe = internvid_tg.recipe("listed", list_engine=engine)
    (step,) = recipe.steps
    step.setup()
    keys = sorted(place.dataset(recipe).winners.of_key)
    table = recipe.source.open(place, recipe)(keys)
    batch = table.filter(table["verdict"].is_null()).select([c.name for c in step.needs])
    whole = step(batch).to_pylist()
    assert [step(batch.slice(i, 1)).to_pylist()[0] for i in range(batch.num_rows)] == whole


@pytest.mark.slow
def test_running_again_asks_and_changes_nothing(place: Place, engine: str) -> None:
    again = run(internvid_tg.recipe("listed", list_engine=engine), place, Local(1))
    assert [r.worked for r in again] == [0] * len(again)


@pytest.mark.slow
def test_the_truth_of_scenes_is_in_other_words_and_is_not_held_against_them(place: Place) -> None:
    store = Store(place.store)
    with pytest.raises(BadInput, match="clauses in a model's words"):
        verifying.measure(store, store.find("internvid_tg_listed-t"))


# ---- what is asked for -----------------------------------------------------------------------------------------------


def test_what_is_missing_is_said_in_one_line() -> None:
    for name in ("listed_events", "borrowed"):
        with pytest.raises(BadInput, match="give --engine list="):
            make(name, {})
    with pytest.raises(BadInput, match="run `events`") as refused:
        make("listed_events", {"list_engine": "embedded"})
    assert refused.value.exit_code == 2
    with pytest.raises(BadInput, match="least_tiou=0"):
        make("listed_events", {"list_engine": ASKED, "least_tiou": 0})
    with pytest.raises(BadInput, match="use rules, listed, truth or human:SET:PATH"):
        make("internvid_tg", {"evidence": "guessed"})


@pytest.mark.parametrize(
    "other",
    [
        {"localise_engine": "openai:other@http://127.0.0.1:1/v1"},
        {"list_revision": "abc"},
        {"least_tiou": 0.6},
        {"snap_s": 0.0},
        {"borrow": 3},
        {"embed_engine": CLIP},
    ],
)
def test_whatever_changes_the_answer_is_identity(other: dict[str, Any]) -> None:
    one, two = (make("listed_events", {"list_engine": ASKED} | more) for more in ({}, other))
    assert one.fingerprint_hash() == make("listed_events", {"list_engine": ASKED}).fingerprint_hash()
    assert one.fingerprint_hash() != two.fingerprint_hash()


def test_with_an_encoder_similarity_is_a_witness_everywhere() -> None:
    options: dict[str, Any] = {
        "list_engine": ASKED,
        "localise_engine": "openai:other@http://127.0.0.1:1/v1",
        "embed_engine": CLIP,
    }
    made = listed_events.recipe(**options)
    order = in_order(made)
    assert {"listed", "embeddings", "similar", "borrowed", "tubes", "events"} <= {r.name for r in order}
    for recipe in order:
        Plan.of(recipe)
    assert {r.fingerprint_hash() for r in order if r.name == "listed"} == {
        listed.recipe(ASKED, options["localise_engine"]).fingerprint_hash()
    }
    fed = {r.name: r for u in order for r in u.source.upstreams}
    assert all(fed[r.name].fingerprint_hash() == r.fingerprint_hash() for r in order if r.name in fed)
    (step,) = made.steps
    assert step == Agree(similar=True)
    assert borrowed.recipe(**options).steps[-1] == HoldBorrowed(similar=True)


def test_the_listed_view_has_a_dataset_of_its_own() -> None:
    rules, told = internvid_tg.recipe(), internvid_tg.recipe("listed", list_engine=ASKED)
    assert (rules.name, told.name) == ("internvid_tg", "internvid_tg_listed")
    assert told.steps == (CompileListed(),)
