"""Consensus: two who cannot have heard each other make an event, one who is asked twice makes none."""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from view_rows import event

from reelmill.annotators.agree import (
    Agree,
    AgreeRules,
    Witness,
    agreed_span,
    by_similarity,
    contrast,
    joined,
    occurrences,
    teacher,
)
from reelmill.annotators.annotator import Annotator
from reelmill.annotators.borrow import HoldBorrowed
from reelmill.annotators.motion.changes import Changes
from reelmill.schemas import arrow
from reelmill.schemas.answer import ListedEvent
from reelmill.schemas.column import schema
from reelmill.schemas.event import AbsentPhrase, BorrowedPhrase, Contrast, Event, EventKind, MergedPhrase, Proposal
from reelmill.schemas.span import Span

RED = "the red circle"
SAYS = "a red circle moves"
EDGES = st.integers(0, 40).map(lambda n: n / 4)
A_SPAN = st.tuples(EDGES, st.integers(1, 12)).map(lambda p: Span(p[0], p[0] + p[1] / 4))


def asked(start_s: float | None, end_s: float = 0.0, score: float = 0.5) -> Proposal:
    return Proposal("asking", None if start_s is None else Span(start_s, end_s), score)


def similar(start_s: float | None, end_s: float = 0.0) -> Proposal:
    return Proposal(
        "similarity", None if start_s is None else Span(start_s, end_s), 0.8 if start_s is not None else 0.0
    )


def row(*, key: str = "clip", **said: Any) -> dict[str, Any]:
    none: dict[str, Any] = {"listed": (), "asked": (), "events": (), "tubes": (), "borrowed": (), "changes": None}
    none |= {"tubes_note": ""}
    likes = {"similar": (), "similar_spans": (), "similarities": (), "similar_frames_s": ()}
    return {"key": key} | {name: arrow.plain(value) for name, value in (none | likes | said).items()}


def agree(*rows: dict[str, Any], likes: bool = False, **rules: Any) -> list[dict[str, Any]]:
    step = Agree(similar=likes, rules=AgreeRules(**rules))
    assert isinstance(step, Annotator)
    out: list[dict[str, Any]] = step(pa.Table.from_pylist(list(rows), schema=schema(*step.needs))).to_pylist()
    assert [o["fault"] for o in out] == [None] * len(rows)
    return out


def events(*rows: dict[str, Any], **how: Any) -> list[Event]:
    (out,) = agree(*rows, **how)
    return list(arrow.typed(tuple[Event, ...], out["listed_events"]))


def one(phrase: str = SAYS, start_s: float = 0.0, end_s: float = 2.0) -> tuple[ListedEvent, ...]:
    return (ListedEvent(phrase, Span(start_s, end_s)),)


def test_teacher_and_tubes_agree():
    (made,) = events(row(listed=one(), asked=(asked(0.0, 2.0),), events=(event(RED, "moves", 0.2, 1.9),)))
    assert made.verdict.accepted
    assert (made.kind, made.phrase, made.subject, made.subject_id) == (EventKind.STATED, SAYS, "", "")
    assert made.span == Span(0.2, 1.9), "tubes saw every frame"
    assert [p.localiser for p in made.proposals] == ["listing", "asking", "tubes"]
    assert made.confidence == pytest.approx((0.5 * 0.9 * 1.7 / 2.0) ** (1 / 3), abs=1e-4)
    assert (made.method, made.parent_key) == ("model", "clip")


def test_a_teacher_is_not_its_own_second_opinion():
    (made,) = events(row(listed=one(), asked=(asked(0.0, 2.0),)))
    assert (made.verdict.reason, made.span) == ("one_localiser", Span(0.0, 2.0))
    assert [p.localiser for p in made.proposals] == ["listing", "asking"]


def test_who_disagrees_is_named_with_its_span():
    found = events(row(listed=one(), asked=(asked(0.0, 2.0),), events=(event(RED, "moves", 4.0, 5.0),)))
    assert [(e.verdict.reason, e.span) for e in found] == [
        ("localisers_disagree", Span(0.0, 2.0)),
        ("localisers_disagree", Span(4.0, 5.0)),
    ]
    assert "tubes [4.000, 5.000)" in found[0].verdict.detail
    (nowhere,) = events(row(listed=one(), asked=(asked(0.0, 2.0),), events=(event(RED, "enters", 4.0, 5.0),)))
    assert "tubes nowhere" in nowhere.verdict.detail


def test_what_nobody_finds_keeps_its_listed_time():
    (made,) = events(row(listed=one(), asked=(asked(None),), events=(event(RED, "enters", 4.0, 5.0),)))
    assert (made.verdict.reason, made.verdict.detail, made.span) == (
        "not_found",
        "nowhere by teacher+tubes",
        Span(0.0, 2.0),
    )
    assert made.confidence == 0.0


def test_an_answer_that_is_none_leaves_the_list():
    assert teacher([asked(1.0, 2.0)], [asked(None, score=0.0)]) == [Witness("teacher", (Span(1.0, 2.0),), 0.5)]
    assert teacher([asked(1.0, 2.0)], [asked(None)]) == [Witness("teacher", (), 0.5)]
    assert teacher([], [asked(None, score=0.0)]) == []


def test_a_phrase_may_happen_more_than_once():
    moves = (event(RED, "moves", 0.0, 1.0), event(RED, "moves", 3.0, 4.0))
    likes: dict[str, Any] = {
        "similar": (similar(0.1, 1.1),),
        "similar_spans": ((Span(0.1, 1.1), Span(3.1, 4.1)),),
        "similarities": ((0.9, 0.1, 0.1, 0.9, 0.1, 0.1),),
        "similar_frames_s": tuple(float(i) + 0.5 for i in range(6)),
    }
    found = events(row(listed=one(), asked=(asked(None, score=0.0),), events=moves, **likes), likes=True)
    assert [(e.span, e.verdict.accepted) for e in found] == [(Span(0.0, 1.0), True), (Span(3.0, 4.0), True)]
    alone = events(row(listed=one(), asked=(asked(0.0, 1.0),), events=moves))
    assert [(e.span, e.verdict.reason) for e in alone] == [
        (Span(0.0, 1.0), ""),
        (Span(3.0, 4.0), "localisers_disagree"),
    ]


def likely(values: tuple[float, ...]) -> dict[str, Any]:
    return {
        "similar": (similar(0.0, 2.0),),
        "similar_spans": ((Span(0.0, 2.0),),),
        "similarities": (values,),
        "similar_frames_s": tuple(float(i) for i in range(len(values))),
    }


def test_inside_must_be_more_alike_than_outside():
    said: dict[str, Any] = {"listed": one("a man waves"), "asked": (asked(0.0, 2.0),)}
    (good,) = agree(row(**said, **likely((0.3, 0.3, 0.1, 0.1))), likes=True)
    assert good["listed_events"][0]["verdict"]["state"] == "accepted"
    assert good["contrasts"] == [
        {"event_key": good["listed_events"][0]["key"], "margin": 0.2, "inside": 2, "outside": 2}
    ]
    (bad,) = events(row(**said, **likely((0.1, 0.3, 0.25, 0.15))), likes=True)
    assert bad.verdict.reason == "inside_like_outside"
    assert "2 frames inside, 2 outside" in bad.verdict.detail
    (strict,) = events(row(**said, **likely((0.3, 0.3, 0.1, 0.1))), likes=True, least_margin=0.25)
    assert strict.verdict.reason == "inside_like_outside"
    (whole,) = events(row(**said, **likely((0.3, 0.3))), likes=True)
    assert whole.verdict.accepted, "nothing is outside to hold it against"


def test_outside_is_outside_all_that_was_proposed():
    frames = (0.0, 1.0, 2.0, 3.0)
    found = contrast((0.4, 0.9, 0.9, 0.2), frames, Span(0.0, 1.0), [Span(1.0, 3.0)])
    assert found == Contrast("", 0.2, 1, 1)
    assert contrast((0.4, 0.9), (0.0, 1.0), Span(0.0, 2.0), []).margin is None


def test_two_wordings_are_one_event_with_all_proposals():
    listed = (*one(), *one("The red circle moves.", 0.5, 2.0), *one("a man waves"))
    (out,) = agree(row(listed=listed, asked=(asked(0.0, 2.0), asked(0.2, 2.0), asked(3.0, 4.0))))
    assert arrow.typed(tuple[MergedPhrase, ...], out["merged_phrases"]) == (
        MergedPhrase("The red circle moves.", SAYS),
    )
    said = {e["phrase"]: e for e in out["listed_events"]}
    assert set(said) == {SAYS, "a man waves"}
    assert len(said[SAYS]["proposals"]) == 4
    assert said[SAYS]["span"] == {"start_s": 0.0, "end_s": 2.0}


# ---- what does not happen --------------------------------------------------------------------------------------------


def absent(*proposals: Proposal, phrase: str = "the green star moves", **said: Any) -> AbsentPhrase:
    lent = BorrowedPhrase(phrase, "other", proposals)
    (out,) = agree(row(listed=one(), asked=(asked(0.0, 2.0),), borrowed=(lent,), **said))
    made: AbsentPhrase = arrow.typed(tuple[AbsentPhrase, ...], out["absent_phrases"])[0]
    return made


MOVES = (event(RED, "moves", 0.0, 2.0),)


def test_absent_is_what_two_can_say_and_neither_finds():
    made = absent(asked(None), events=MOVES)
    assert made.verdict.accepted
    assert (made.phrase, made.from_key) == ("the green star moves", "other")
    assert [(p.localiser, p.span) for p in made.proposals] == [("asking", None), ("tubes", None)]
    assert absent(asked(None), similar(None), phrase="a man waves").verdict.accepted


@pytest.mark.parametrize(
    ("proposals", "said", "reason"),
    [
        ((asked(None),), {"phrase": "a man waves"}, "one_localiser"),
        ((asked(None, score=0.0),), {"phrase": "a man waves"}, "one_localiser"),
        ((asked(1.0, 2.0),), {"events": MOVES}, "found_here"),
        ((asked(None), similar(1.0, 2.0)), {"phrase": "a man waves"}, "found_here"),
        ((asked(None),), {"phrase": "A red circle moves.", "events": MOVES}, "said_here"),
    ],
)
def test_what_is_not_sure_is_not_denied(proposals: Any, said: Any, reason: str):
    assert absent(*proposals, **said).verdict.reason == reason


def test_borrowed_phrases_are_held_with_what_was_said_of_them():
    step = HoldBorrowed(similar=True)
    spans = (Span(1.0, 2.0), Span(3.0, 4.0))
    given = {"key": "k", "phrases": ["a", "b"], "lenders": ["x", "y"], "asked_phrases": (asked(None), asked(1.0, 2.0))}
    given |= {"similar": (similar(1.0, 2.0), similar(None)), "similar_spans": (spans, ())}
    (out,) = step(pa.Table.from_pylist([_plain(given)], schema=schema(*step.needs))).to_pylist()
    held = arrow.typed(tuple[BorrowedPhrase, ...], out["borrowed"])
    assert [(h.phrase, h.from_key, [p.span for p in h.proposals]) for h in held] == [
        ("a", "x", [None, *spans]),
        ("b", "y", [Span(1.0, 2.0), None]),
    ]


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    return {name: arrow.plain(value) for name, value in given.items()}


# ---- ends ------------------------------------------------------------------------------------------------------------


def changing(from_s: float, until_s: float) -> Changes:
    """A change map of one cell, in which that cell changes between two times of four seconds."""
    at_s = tuple(round(i * 0.04, 2) for i in range(100))
    cells = tuple(500 if from_s <= t < until_s else 0 for t in at_s)
    return Changes(at_s, 4.0, 1, 1, 1, cells, (0,) * 400)


def refined(note: str = "", **rules: Any) -> Event:
    said: dict[str, Any] = {"listed": one("a man waves"), "asked": (asked(0.0, 2.0),), **likely((0.3, 0.3, 0.1, 0.1))}
    (out,) = agree(row(**said, changes=changing(0.32, 1.72), tubes_note=note), likes=True, **rules)
    made: Event = arrow.typed(tuple[Event, ...], out["listed_events"])[0]
    return made


def test_a_consensus_without_tubes_is_refined_and_says_so() -> None:
    made = refined()
    assert made.verdict.accepted
    assert made.span == Span(0.32, 1.72)
    assert [p.localiser for p in made.proposals] == ["listing", "asking", "similarity", "changes"]
    assert made.proposals[-1].span == made.span


def test_it_is_left_alone_before_a_moving_camera_or_where_nobody_would_agree() -> None:
    assert refined("camera_moves: 9 of 9 steps").span == Span(0.0, 2.0)
    assert refined(snap_s=0.0).span == Span(0.0, 2.0)
    assert refined(least_tiou=0.9).span == Span(0.0, 2.0)


# ---- laws ------------------------------------------------------------------------------------------------------------


def opinions(name: str) -> st.SearchStrategy[Witness]:
    return st.lists(A_SPAN, max_size=3).map(lambda spans: Witness(name, joined(spans), 0.5))


WITNESSES = st.tuples(opinions("teacher"), opinions("tubes"), opinions("similarity"))


@given(WITNESSES)
def test_an_occurrence_is_agreed_by_all_in_it_and_by_each_once(witnesses):
    found = occurrences(witnesses, 0.5)
    for group in found:
        names = [w.name for w, _ in group]
        assert len(set(names)) == len(names)
        assert all(a.tiou(b) >= 0.5 for _, a in group for _, b in group)
        span = agreed_span(group)
        assert all(span.tiou(s) >= 0.5 for _, s in group) or len(group) == 3
        assert min(s.start_s for _, s in group) <= span.start_s < span.end_s <= max(s.end_s for _, s in group)
    said = [(w.name, s) for group in found for w, s in group]
    assert len(set(said)) == len(said)


@given(WITNESSES)
def test_the_order_of_witnesses_decides_nothing_about_who_agrees(witnesses):
    kinds = {frozenset(len(g) > 1 for g in occurrences(order, 0.5)) for order in permutations(witnesses)}
    assert len(kinds) == 1


@given(st.lists(A_SPAN))
def test_one_witness_never_overlaps_itself(spans):
    out = joined(spans)
    assert all(a.end_s <= b.start_s for a, b in pairwise(out))
    assert sum(s.duration_s for s in out) <= sum(s.duration_s for s in spans) + 1e-9


def test_similarity_has_all_its_spans_or_says_nowhere():
    spans = (Span(0.0, 1.0), Span(2.0, 3.0))
    proposals, (witness,) = by_similarity([similar(0.0, 1.0)], spans)
    assert ([p.span for p in proposals], witness.spans) == ([*spans], spans)
    nothing, (says,) = by_similarity([similar(None)], ())
    assert (nothing, says.spans) == ([similar(None)], ())
    assert by_similarity([], ()) == ([], [])


def test_a_row_alone_is_the_row_in_any_batch():
    rows = [
        row(key="a", listed=one(), asked=(asked(0.0, 2.0),), events=MOVES),
        row(key="b"),
        row(key="c", listed=one("a man waves"), asked=(asked(None),)),
    ]
    whole = agree(*rows)
    assert [agree(r)[0] for r in rows] == whole
    assert agree(*rows[::-1]) == whole[::-1]
    assert whole[1]["listed_events"] == []
