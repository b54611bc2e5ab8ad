"""Events read off tubes, and what the second localiser accepts of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from drawn import BLUE, RED, Drawn, Shot, Thing, evenly, path
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmill.annotators.events import EventRules, ReadEvents
from reelmill.annotators.motion.changes import PIECES, ChangeMap, Changes
from reelmill.annotators.motion.phases import PhaseRules, Reading, phases
from reelmill.annotators.tubes import Eyes, TubeRules
from reelmill.schemas import arrow
from reelmill.schemas.event import Event
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box, Tube

FRAME = 0.04
WHOLE_STORY = path((0.6, -24, 50), (1.4, 60, 50), (2.2, 60, 50), (3.2, 160, 50))


def evidence(shot: Shot, end_s: float) -> tuple[tuple[Tube, ...], Changes]:
    eyes = Eyes(len(shot.times), TubeRules())
    for at_s, picture in zip(shot.times, shot.pictures(), strict=True):
        eyes.see(Drawn(at_s, picture))
    tubes, _ = eyes.tubes("clip", (160, 120), end_s)
    return tubes, eyes.changes.done(end_s)


def batch(*rows: tuple[str, tuple[Tube, ...], Changes]) -> pa.Table:
    schema = pa.schema(
        [
            ("key", pa.string()),
            pa.field("tubes", arrow.type_of(tuple[Tube, ...])),
            pa.field("changes", arrow.type_of(Changes)),
        ]
    )
    return pa.Table.from_pylist(
        [{"key": k, "tubes": arrow.plain(t), "changes": arrow.plain(c)} for k, t, c in rows], schema=schema
    )


AGREED = ReadEvents(rules=EventRules(agreement=True))


def read(tubes: tuple[Tube, ...], changes: Changes, step: ReadEvents | None = None) -> list[Event]:
    row = (step or AGREED)(batch(("clip", tubes, changes))).to_pylist()[0]
    assert row["fault"] is None, row["fault"]
    return list(arrow.typed(tuple[Event, ...], row["events"]))


def told(shot: Shot, end_s: float) -> list[Event]:
    return read(*evidence(shot, end_s))


def near(span: Span, start_s: float, end_s: float, frames: float = 1.05) -> bool:
    return max(abs(span.start_s - start_s), abs(span.end_s - end_s)) <= frames * FRAME


def drawn_tube(boxes: Sequence[tuple[float, ...]], times: list[float], end_s: float) -> Tube:
    return Tube("t", "the red square", tuple(times), tuple(Box(*b) for b in boxes), 160, 120, end_s, 0.9, "rules")


def quiet(end_s: float) -> Changes:
    seen = ChangeMap()
    for t in evenly(end_s):
        seen.see(t, np.zeros((120, 160, 3), np.uint8))
    return seen.done(end_s)


# ---- what is read off the boxes --------------------------------------------------------------------------------------


def test_a_whole_story_is_told_with_every_span_right_to_a_frame():
    shot = Shot(evenly(4.0), [Thing(RED, WHOLE_STORY)])
    events = told(shot, 4.0)
    spans = {(str(e.kind), i): e.span for i, e in enumerate(events)}
    kinds = [str(e.kind) for e in events]
    assert kinds == ["enters", "moves", "stops", "moves", "leaves"]
    assert all(e.verdict.accepted for e in events), [e.verdict for e in events]
    first = next(t for t in shot.times if shot.box(shot.things[0], t))
    whole = next(t for t in shot.times if (b := shot.box(shot.things[0], t)) and b[0] > 0)
    assert near(spans["enters", 0], first, whole)
    assert near(spans["moves", 1], first, 1.44)
    assert near(spans["stops", 2], 1.44, 2.24)
    last = [t for t in shot.times if shot.box(shot.things[0], t)][-1]
    assert near(spans["moves", 3], 2.24, last + FRAME)
    assert spans["leaves", 4].end_s == pytest.approx(last + FRAME)
    assert {e.subject for e in events} == {"the red square"}
    assert events[0].phrase == "the red square enters"


def test_a_thing_that_is_there_at_first_does_not_enter_and_one_that_stays_does_not_leave():
    shot = Shot(evenly(3.0), [Thing(RED, path((0.8, 30, 50), (1.8, 110, 50)))])
    events = told(shot, 3.0)
    assert [str(e.kind) for e in events] == ["moves", "stops"]
    assert near(events[0].span, 0.84, 1.84)
    assert near(events[1].span, 1.84, 3.0)
    assert events[1].span.end_s == 3.0
    assert all(e.verdict.accepted for e in events)


def test_a_move_that_the_clip_cuts_at_its_start_is_refused_and_at_its_end_is_not():
    shot = Shot(evenly(2.4), [Thing(RED, path((0.0, 10, 20), (0.8, 60, 20), (1.6, 60, 20), (2.4, 120, 20)))])
    events = told(shot, 2.4)
    assert [(str(e.kind), e.verdict.reason) for e in events] == [
        ("moves", "cut_at_start"),
        ("stops", ""),
        ("moves", ""),
    ]
    assert events[-1].span.end_s == 2.4


def test_a_thing_half_in_view_at_the_clip_end_has_not_left():
    shot = Shot(evenly(2.0), [Thing(BLUE, path((0.6, 40, 50), (2.0, 148, 50)))])
    assert "leaves" not in [str(e.kind) for e in told(shot, 2.0)]


def test_a_tube_that_begins_and_ends_in_mid_frame_is_told_so():
    times = evenly(3.0)[10:60]
    boxes = [(20.0 + i, 40.0, 44.0 + i, 64.0) for i in range(50)]
    found = phases(Reading(drawn_tube(boxes, times, 2.4), 3.0, PhaseRules()))
    assert [(str(p.kind), p.fault) for p in found] == [("moves", "start_not_seen")]
    rests = [(20.0, 40.0, 44.0, 64.0)] * 30 + [(20.0 + i, 40.0, 44.0 + i, 64.0) for i in range(1, 21)]
    found = phases(Reading(drawn_tube(rests, evenly(2.0), 2.0), 3.0, PhaseRules()))
    assert [(str(p.kind), p.fault) for p in found] == [("moves", "end_not_seen")]


def test_a_thing_that_never_comes_wholly_into_view_is_refused():
    times = evenly(2.0)[10:40]
    boxes = [(0.0, 40.0, 4.0 + i % 10, 64.0) for i in range(30)]
    found = phases(Reading(drawn_tube(boxes, times, 1.6), 2.0, PhaseRules()))
    assert {p.fault for p in found if p.kind in ("enters", "leaves")} == {"never_whole"}


def test_a_pixel_of_jitter_is_no_move_and_a_short_halt_no_stop():
    rng = np.random.default_rng(0)
    jitter = rng.integers(0, 2, (50, 4))
    boxes = [tuple(float(v) for v in (50 + j[0], 40 + j[1], 74 + j[2], 64 + j[3])) for j in jitter]
    assert phases(Reading(drawn_tube(boxes, evenly(2.0), 2.0), 2.0, PhaseRules())) == []
    way = path((0.4, 20, 40), (1.0, 60, 40), (1.2, 60, 40), (1.8, 100, 40))
    boxes = [(way(t)[0], 40.0, way(t)[0] + 24, 64.0) for t in evenly(2.6)]
    found = phases(Reading(drawn_tube(boxes, evenly(2.6), 2.6), 2.6, PhaseRules()))
    assert [str(p.kind) for p in found] == ["moves", "stops"]


# ---- what the second localiser says ----------------------------------------------------------------------------------


def test_every_event_carries_both_proposals():
    for event in told(Shot(evenly(4.0), [Thing(RED, WHOLE_STORY)]), 4.0):
        first, second = event.proposals
        assert (first.localiser, second.localiser) == ("tubes", "changes")
        assert first.span == event.span
        assert second.span is not None
        assert 0 < second.score <= 1
        assert 0 < event.confidence <= 1


def test_a_silent_change_map_refuses_what_moves_and_crosses():
    tubes, _ = evidence(Shot(evenly(4.0), [Thing(RED, WHOLE_STORY)]), 4.0)
    events = read(tubes, quiet(4.0))
    reasons = {str(e.kind): e.verdict.reason for e in events}
    assert reasons["enters"] == reasons["moves"] == reasons["leaves"] == "second_localiser_silent"
    assert reasons["stops"] == "localisers_disagree"
    assert all(e.proposals[1].span is None for e in events if e.kind == "moves")
    assert all(e.confidence == 0 for e in events if e.kind == "moves")


def test_tubes_that_are_late_are_refused_with_the_numbers():
    shot = Shot(evenly(4.0), [Thing(RED, WHOLE_STORY)])
    tubes, changes = evidence(shot, 4.0)
    late = tuple(
        dataclasses.replace(t, at_s=tuple(round(a + 0.4, 9) for a in t.at_s), end_s=t.end_s + 0.4) for t in tubes
    )
    events = read(late, changes)
    assert not any(e.verdict.accepted for e in events)
    assert "localisers_disagree" in {e.verdict.reason for e in events}
    detail = next(e.verdict.detail for e in events if e.verdict.reason == "localisers_disagree")
    assert "changes say [" in detail
    assert "want 0." in detail


def test_another_thing_elsewhere_does_not_vote():
    story, other = Thing(RED, WHOLE_STORY), Thing(BLUE, path((0.3, 20, 4), (3.8, 110, 4)), size=(14, 14))
    alone = [e.verdict.accepted for e in told(Shot(evenly(4.0), [story]), 4.0)]
    both = told(Shot(evenly(4.0), [story, other]), 4.0)
    red = [e.verdict.accepted for e in both if e.subject.startswith("the red")]
    assert red == alone


def test_thresholds_are_fields_and_change_the_verdict_alone():
    tubes, changes = evidence(Shot(evenly(4.0), [Thing(RED, WHOLE_STORY)]), 4.0)
    usual = read(tubes, changes)
    strict = read(tubes, changes, ReadEvents(rules=EventRules(least_s=99.0)))
    assert [e.key for e in strict] == [e.key for e in usual]
    assert {e.verdict.reason for e in strict} == {"too_brief"}


def test_of_a_tube_in_doubt_there_is_one_refused_move_over_all_of_its_time():
    tubes, changes = evidence(Shot(evenly(4.0), [Thing(RED, WHOLE_STORY)]), 4.0)
    doubted = tuple(dataclasses.replace(t, confidence=0.4) for t in tubes)
    (only,) = read(doubted, changes, ReadEvents())
    assert (str(only.kind), only.verdict.reason) == ("moves", "low_confidence")
    assert only.span == tubes[0].span


# ---- the step --------------------------------------------------------------------------------------------------------


def test_no_tubes_no_events_even_for_an_empty_map():
    assert read((), quiet(1.0)) == []
    assert read((), Changes((), 0.0, 16, 12, PIECES, (), ())) == []


def test_a_row_alone_equals_that_row_in_any_batch_and_keys_are_its_own():
    one = ("one", *evidence(Shot(evenly(4.0), [Thing(RED, WHOLE_STORY)]), 4.0))
    other = ("other", *evidence(Shot(evenly(2.0), [Thing(BLUE, path((0.5, 10, 10), (1.4, 100, 80)))]), 2.0))
    step = AGREED
    alone = {r[0]: step(batch(r)).to_pylist()[0] for r in (one, other)}
    assert step(batch(one, other)).to_pylist() == [alone["one"], alone["other"]]
    assert step(batch(other, one)).to_pylist() == [alone["other"], alone["one"]]
    events = [e for r in alone.values() for e in r["events"]]
    assert len({e["key"] for e in events}) == len(events) > 5
    assert {e["parent_key"] for e in alone["one"]["events"]} == {"one"}


coordinates = st.tuples(*[st.floats(-5, 165)] * 2, *[st.floats(-5, 125)] * 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(coordinates, min_size=1, max_size=50), st.integers(0, 20), st.integers(0, 10))
def test_whatever_the_boxes_every_event_lies_in_the_clip(corners, before, after):
    boxes = [
        (
            min(max(0, min(a, b)), 159),
            min(max(0, min(c, d)), 119),
            max(min(160, max(a, b)), 1),
            max(min(120, max(c, d)), 1),
        )
        for a, b, c, d in corners
    ]
    times = evenly((before + len(boxes) + after) / 25)
    end_s = len(times) * FRAME
    at = times[before : before + len(boxes)]
    tube = drawn_tube(boxes, at, (before + len(boxes)) * FRAME)
    for event in read((tube,), quiet(end_s)):
        assert 0 <= event.span.start_s < event.span.end_s <= end_s + 1e-9
        assert tube.span.start_s <= event.span.start_s
        assert event.span.end_s <= tube.end_s
        assert event.verdict.accepted or event.verdict.reason


def test_without_agreement_the_second_localiser_is_heard_and_decides_nothing():
    tubes, _ = evidence(Shot(evenly(4.0), [Thing(RED, WHOLE_STORY)]), 4.0)
    strict, free = (read(tubes, quiet(4.0), step) for step in (AGREED, ReadEvents()))
    assert "second_localiser_silent" in {e.verdict.reason for e in strict}
    assert [e.span for e in strict] == [e.span for e in free]
    assert [e.proposals for e in strict] == [e.proposals for e in free]
    assert all(e.verdict.accepted for e in free)
    for event in free:
        trust = next(t.confidence for t in tubes if t.tube_id == event.subject_id)
        assert trust / 2 - 1e-4 <= event.confidence <= trust + 1e-4, "a label that counts is never of no confidence"
