"""Which of these happen: every drop has its mirror in the same clip, and nothing open is asked about."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_rows import pairs_of
from view_rows import event

from reelmill.pipelines.views.checks.preference import check_preference, spoken_of
from reelmill.pipelines.views.evidenced import Evidence, Said, alike
from reelmill.pipelines.views.occurrence import MOST_COMPANY, Toggle, toggles
from reelmill.schemas.event import RULE_KINDS, Event, EventKind
from reelmill.schemas.sample import PreferenceSample
from reelmill.sinks.publishing.blind import forms_of, mirrored, pair_of

THINGS = ("the red circle", "the blue square", "the pink star", "the green cross")
RED, BLUE, PINK, GREEN = THINGS
SOME = (
    event(RED, "enters", 0.4, 0.9),
    event(RED, "moves", 0.4, 2.0),
    event(BLUE, "moves", 1.0, 2.4),
    event(BLUE, "stops", 2.4, 3.2),
    event(PINK, "leaves", 3.6, 4.0),
    event(GREEN, "enters", 4.0, 4.4),
)


def drawn(events: tuple[Event, ...] | list[Event], seed: int = 0) -> list[Toggle]:
    return list(toggles(Evidence(events, {}, (), 0.2), lambda name: random.Random(f"{seed} {name}")))


def occurring(events: tuple[Event, ...], key: str = "clip") -> list[PreferenceSample]:
    return [s for s in pairs_of(events, key) if s.task == "occurrence"]


happenings = st.sets(st.tuples(st.sampled_from(THINGS), st.sampled_from([str(k) for k in RULE_KINDS])), min_size=1)


@settings(max_examples=60)
@given(happenings, st.integers(0, 9))
def test_a_drop_stands_the_other_way_round_in_its_insert(found, seed):
    made = drawn([event(who, kind, 1.0, 2.0) for who, kind in sorted(found)], seed)
    true = {(who, EventKind(kind)) for who, kind in found}
    by_place = {(t.how, t.kind, t.stage): t for t in made}
    assert len(by_place) == len(made)
    for toggle in made:
        assert set(toggle.true) == set(toggle.asked) & true
        assert set(toggle.told) != set(toggle.true)
        assert len({who for who, _ in toggle.asked}) == len(toggle.asked), "of each thing one happening"
        drop, insert, change = (by_place[how, toggle.kind, toggle.stage] for how in ("drop", "insert", "replace"))
        assert alike(drop.true, insert.told)
        assert drop.told == insert.true
        assert alike(change.true, change.told)


def test_what_is_open_is_not_asked_about():
    doubt = event(BLUE, "enters", 2.0, 2.4, accepted=False)
    asked = {said for t in drawn([*SOME, doubt]) for said in t.asked}
    assert (BLUE, EventKind.ENTERS) not in asked
    assert (PINK, EventKind.ENTERS) in {
        said for seed in range(8) for t in drawn([*SOME, doubt], seed) for said in t.asked
    }


def test_a_kind_that_all_do_or_none_does_is_not_asked_about():
    assert drawn([event(who, "enters", 1.0, 2.0) for who in THINGS]) == []


@pytest.mark.parametrize(("things", "most"), [(2, 1), (3, 2), (4, 3), (6, 1 + MOST_COMPANY)])
def test_company_is_as_large_as_there_are_other_things(things, most):
    names = (*THINGS, "the orange heart", "the purple moon")[:things]
    made = drawn([event(names[0], "enters", 1.0, 2.0), *(event(n, "stops", 1.0, 2.0) for n in names[1:])])
    assert {len(t.asked) for t in made if t.how == "drop"} == set(range(1, most + 1))
    assert all(t.strength == (2 if t.how == "replace" else 1) / len(t.asked) for t in made)


def test_pairs_of_a_clip_are_right_and_each_has_its_mirror():
    for key in ("one", "two", "three"):
        pairs = occurring(SOME, key)
        assert all(s.verdict.accepted and check_preference(s, SOME) == [] for s in pairs)
        told = [pair_of(s) for s in pairs if s.perturbation.kind != "replace"]
        assert mirrored(told) == {p.key for p in told}
        drops, inserts = ([forms_of(pair_of(s)) for s in pairs if s.perturbation.kind == k] for k in ("drop", "insert"))
        assert sorted(drops) == sorted(form[::-1] for form in inserts)
        assert len(drops) > 4


def test_the_words_name_what_happens_in_the_order_of_the_question():
    for pair in occurring(SOME):
        asked = spoken_of(pair.turns[0].text)
        for answer in (pair.turns[-1], pair.rejected[-1]):
            said = spoken_of(answer.text)
            assert said == [a for a in asked if a in said]
            assert said or answer.text.startswith(("No", "None"))


def test_the_check_finds_an_answer_that_leaves_the_rest_open():
    (pair, *_) = [s for s in occurring(SOME) if len(spoken_of(s.turns[0].text)) > 1 and s.perturbation.kind == "insert"]
    said: list[Said] = spoken_of(pair.turns[-1].text)
    modest = replace(pair.turns[-1], text=" ".join(f"The {who} {kind}." for who, kind in said) or "Perhaps.")
    assert check_preference(replace(pair, turns=(pair.turns[0], modest)), SOME)
