"""Dialogues on the order of events: right from exact events, refused where the evidence leaves the answer open."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_rows import compiled, event, row, shown, video

from reelmill.pipelines.views.checks.grounding import check_grounding
from reelmill.pipelines.views.grounding import CompileGrounding
from reelmill.pipelines.views.happenings import clause_of
from reelmill.pipelines.views.phrasing import load
from reelmill.pipelines.views.timeline import TimelineRules
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.sample import Role, Sample

RED, BLUE = "the red circle", "the blue square"
EVENTS = (
    event(RED, "enters", 0.4, 0.9),
    event(RED, "moves", 1.2, 2.0),
    event(RED, "stops", 2.0, 3.0),
    event(RED, "moves", 3.0, 4.0),
    event(BLUE, "moves", 4.5, 5.0),
)


def stated(phrase: str, start_s: float, end_s: float, **changes: Any) -> Event:
    made = event(phrase, "moves", start_s, end_s, method="model", **changes)
    return replace(made, kind=EventKind.STATED, subject="", subject_id="", phrase=phrase)


CLAUSES = (
    stated("A dog runs next to a tree.", 0.0, 1.0),
    stated("a man says hello after the dog", 1.5, 2.5),
    stated("Anna waves once", 2.5, 3.5),
    stated("a cat leaves before noon", 4.0, 5.0),
    stated("a cat leaves before noon", 5.5, 6.0),
)


def samples(events: Any, key: str = "clip", **rules: int) -> tuple[Sample, ...]:
    step = CompileGrounding(timeline=TimelineRules(**rules))
    (out,) = compiled(step, row(video(), shown(0, 50, 100), key=key, still=False, events=tuple(events)))
    assert out["verdict"] is None, out["verdict"]
    found: tuple[Sample, ...] = out["samples"]
    return found


def many(events: Any, task: str, clips: int = 1) -> list[Sample]:
    """Samples of a form, with no limit on how many."""
    wide = {"order_max": 9, "next_max": 9, "once_max": 9, "during_max": 9}
    return [s for n in range(clips) for s in samples(events, f"clip{n}", **wide) if s.task == task]


def reasons(events: Any, task: str) -> Counter[str]:
    return Counter(s.verdict.reason for s in many(events, task))


@pytest.mark.parametrize("events", [EVENTS, CLAUSES], ids=["rules", "stated"])
def test_from_settled_events_every_form_is_made_and_right(events):
    made: Counter[str] = Counter()
    for n in range(20):
        for sample in samples(events, key=f"clip{n}"):
            if sample.verdict.accepted:
                assert check_grounding(sample, events) == [], sample.turns
                made[sample.task] += 1
    forms = {"grounding", "span_caption", "dense_caption", "order", "next_event", "count", "during", "summary"}
    assert set(made) >= {*forms, "dialogue"}
    assert len(forms) >= 8


def test_after_is_what_begins_when_it_is_over_and_before_what_is_over_when_it_begins():
    told = {s.turns[0].text: s for s in many(EVENTS, "order")}
    (after,) = [s for q, s in told.items() if "enter" in q and "before" not in q]
    assert [after.turns[1].text.count(word) for word in ("circle moves", "circle stops", "square moves")] == [2, 1, 1]
    (before,) = [s for q, s in told.items() if "square" in q]
    assert before.evidence == (EVENTS[4].key, *(e.key for e in EVENTS[:4]))
    assert "square" not in before.turns[1].text
    assert (before.turns[1].tgt_s, after.turns[1].tgt_s) == ((), ())


def test_what_overlaps_is_neither_before_nor_after():
    both = (event(RED, "moves", 1.0, 3.0), event(BLUE, "moves", 2.0, 4.0))
    assert many(both, "order") == many(both, "next_event") == []


def test_the_next_event_with_its_time():
    told = {s.evidence[0]: s for s in many(EVENTS, "next_event")}
    assert told[EVENTS[0].key].turns[1].tgt_s == (1.2, 2.0)
    assert told[EVENTS[2].key].turns[1].tgt_s == (3.0, 4.0)
    assert EVENTS[1].key not in told, "it moves twice, so after which time is open"


def test_two_that_begin_next_together_are_no_answer():
    tied = (EVENTS[0], event(RED, "moves", 1.2, 2.0), event(BLUE, "moves", 1.25, 5.0))
    assert reasons(tied, "next_event") == {"ambiguous_next": 1}


def test_edges_that_are_nearly_one_are_not_put_in_order():
    near = (event(RED, "enters", 0.4, 0.9), event(BLUE, "moves", 0.95, 2.0))
    assert reasons(near, "order") == reasons(near, "next_event") == {"too_close": 1}
    touching = (event(RED, "moves", 0.4, 0.9), event(RED, "stops", 0.9, 2.0))
    assert set(reasons(touching, "order")) == {""}


def test_an_open_event_that_could_belong_to_the_answer_refuses_it():
    early = event(BLUE, "enters", 0.1, 0.2, accepted=False)
    found = many((*EVENTS, early), "order")
    assert {s.verdict.reason for s in found} == {""}
    assert not [s for s in found if "before" in s.turns[0].text or "preced" in s.turns[0].text]
    throughout = event(BLUE, "stops", 0.1, 5.9, accepted=False)
    assert reasons((*EVENTS, throughout), "order") == reasons((*EVENTS, throughout), "next_event") == {"unsettled": 1}


def test_occurrences_are_counted_with_all_their_times():
    told = {s.evidence: s.turns[1] for s in many(EVENTS, "count")}
    twice = told[EVENTS[1].key, EVENTS[3].key]
    assert "twice" in twice.text.lower()
    assert twice.tgt_s == (1.2, 2.0, 3.0, 4.0)
    assert len([s for s in samples(EVENTS) if s.task == "count" and len(s.evidence) == 1]) == 1


def test_times_that_touch_or_have_one_name_cannot_be_counted():
    touching = (event(RED, "moves", 1.0, 2.0), event(RED, "moves", 2.0, 3.0))
    assert reasons(touching, "count") == {"ambiguous_count": 1}
    one_name = (event(RED, "moves", 1.0, 2.0, who="t1"), event(RED, "moves", 3.0, 4.0, who="t2"))
    assert reasons(one_name, "count") == {"ambiguous_subject": 1}


def test_yes_and_no_are_as_often_and_stand_in_the_same_words():
    found = many(EVENTS[:3], "during", clips=200)
    answers = Counter(s.turns[1].text.partition(" ")[0].strip(",.:").lower() for s in found)
    assert abs(answers["yes"] - answers["no"]) < 4 * len(found) ** 0.5 / 2, answers
    starts = {a: {s.turns[0].text.split()[0] for s in found if s.turns[1].text.lower().startswith(a)} for a in answers}
    assert starts["yes"] == starts["no"]
    lasts = {a: {s.turns[0].src_s for s in found if s.turns[1].text.lower().startswith(a)} for a in answers}
    assert {round(e - s, 3) for s, e in lasts["no"]} == {round(e - s, 3) for s, e in lasts["yes"]}


def test_no_is_said_only_of_a_time_that_nobody_claimed():
    doubt = event(RED, "moves", 4.0, 6.0, accepted=False, proposed=[(0.0, 1.9)])
    found = many((event(RED, "moves", 2.0, 4.0), doubt, event(BLUE, "enters", 1.0, 1.5)), "during", clips=40)
    assert {s.evidence[0] for s in found} == {f"event of {BLUE} enters 1.0"}, "nowhere is free of the red circle"
    near = (event("the orange circle", "moves", 0.0, 1.9), event("the large object", "moves", 4.0, 6.0))
    red = event(RED, "moves", 2.0, 3.0)
    assert red.key in {s.evidence[0] for s in many((red,), "during", clips=9)}
    assert red.key not in {s.evidence[0] for s in many((red, *near), "during", clips=9)}, "each of them may be red"
    whole = (event(RED, "moves", 0.0, 6.0),)
    assert many(whole, "during", clips=20) == [], "a yes would give itself away where no no can be asked"


def test_a_summary_has_each_happening_once_with_all_its_times():
    (summary,) = many(EVENTS, "summary")
    assert summary.turns[1].tgt_s == (0.4, 0.9, 1.2, 2.0, 3.0, 4.0, 2.0, 3.0, 4.5, 5.0)
    assert "\n" not in summary.turns[1].text
    open_one = (*EVENTS, event(BLUE, "stops", 5.0, 5.5, accepted=False))
    assert reasons(open_one, "summary") == {"unsettled": 1}


def test_a_dialogue_has_several_forms_and_says_what_its_samples_say():
    for n in range(20):
        found = samples(EVENTS, key=f"clip{n}", dialogue_turns=5)
        (talk,) = [s for s in found if s.task == "dialogue"]
        assert [t.role for t in talk.turns] == [Role.USER, Role.ASSISTANT] * 5
        single = [s for s in found if s.task != "dialogue" and s.verdict.accepted]
        pairs = zip(talk.turns[0::2], talk.turns[1::2], strict=True)
        parts = [s for q, a in pairs for s in single if s.turns[0].text in q.text and s.turns[1] == a]
        assert len({p.task for p in parts}) == len(parts) == 5
        assert set(talk.evidence) == {e for p in parts for e in p.evidence}
        assert talk.label_confidence == min(p.label_confidence for p in parts)
        lasts = [p.task in ("summary", "dense_caption") for p in parts]
        assert lasts == sorted(lasts)


def test_every_form_has_eight_wordings_and_more():
    tables = load("internvid_tg").tables
    for form in ("grounding", "stated", "span_caption", "dense_caption", "next_event", "count", "during", "summary"):
        assert len(set(tables[form]["question"])) >= 8, form
    assert min(len(set(tables["order"][way])) for way in ("after", "before")) >= 8
    assert len(set(tables["dialogue"]["follow"])) >= 8


def lies(sample: Sample) -> list[Sample]:
    """A right sample made wrong, in every way of its form."""
    question, answer = sample.turns
    told = [replace(answer, tgt_s=tuple(t + 0.3 for t in answer.tgt_s))] if answer.tgt_s else []
    told.append(replace(answer, text=answer.text.replace("circle", "star").replace("square", "star")))
    if sample.task == "order":
        told = [replace(answer, text="That is the red circle stops."), replace(answer, text="Nothing.")]
    if sample.task == "count":
        told = [told[0], replace(answer, text=answer.text.replace("wice", "hrice").replace("nce", "eight"))]
    if sample.task == "during":
        swapped = answer.text.replace("Yes", "Not").replace("No", "Yes").replace("Yest", "No")
        told = [told[0], replace(answer, text=swapped), replace(answer, text="Perhaps, at <time>.")]
    if sample.task == "summary":
        told = [told[0], replace(answer, text=answer.text.replace("square", "circle"))]
    return [replace(sample, turns=(question, lie)) for lie in told]


@pytest.mark.parametrize("task", ["order", "next_event", "count", "during", "summary"])
def test_the_check_finds_lies_in_each_form(task):
    for sample in many(EVENTS, task, clips=6):
        assert sample.verdict.accepted
        assert check_grounding(sample, EVENTS) == []
        for lie in lies(sample):
            if lie.turns != sample.turns:
                assert check_grounding(lie, EVENTS), (task, lie.turns)


def test_the_check_judges_every_turn_of_a_dialogue():
    (talk,) = [s for s in samples(EVENTS, key="clip3") if s.task == "dialogue"]
    for place, turn in enumerate(talk.turns):
        if turn.tgt_s:
            wrong = replace(turn, tgt_s=tuple(t / 2 for t in turn.tgt_s))
            assert check_grounding(replace(talk, turns=(*talk.turns[:place], wrong, *talk.turns[place + 1 :])), EVENTS)


def test_a_clause_stands_in_a_sentence_as_it_is_said():
    assert clause_of(" The dog runs. ") == "the dog runs"
    assert clause_of("Anna waves!") == "Anna waves"
    assert clause_of("A") == "A"


def test_stated_events_are_asked_about_in_their_own_words_alone():
    found = samples(CLAUSES)
    text = "\n".join(turn.text for s in found for turn in s.turns)
    assert "a dog runs next to a tree" in text
    assert ".." not in text
    assert not any(s.task == "absent" for s in found), "what a clip says of itself denies nothing"
    (when,) = [s for s in found if s.task == "grounding" and len(s.evidence) == 2]
    assert when.turns[1].tgt_s == (4.0, 5.0, 5.5, 6.0)


A_SPAN = st.tuples(st.integers(0, 50), st.integers(1, 20)).map(lambda p: (p[0] / 10, min(6.0, (p[0] + p[1]) / 10)))
A_CLAUSE = st.sampled_from(
    ["a dog runs", "a man waves", "a dog runs away", "the bell rings twice", "Bob sits next to Al"]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(A_CLAUSE, A_SPAN, st.booleans()), min_size=1, max_size=7))
def test_random_clauses_give_samples_that_are_right_about_what_was_accepted(made):
    events = [replace(stated(c, *s, accepted=ok), key=f"e{i}") for i, (c, s, ok) in enumerate(made)]
    settled = [e for e in events if e.verdict.accepted]
    if not settled:
        return
    for sample in samples(events):
        if sample.verdict.accepted:
            assert check_grounding(sample, settled) == [], sample.turns
