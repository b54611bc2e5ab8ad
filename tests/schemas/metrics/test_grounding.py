"""Grounding metrics against cases worked out by hand (D15), and a parser that never drops what it cannot read (D8)."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.schemas.metrics import answers
from reelmill.schemas.metrics.grounding import (
    Temporal,
    TubeAnswer,
    coverage,
    referring,
    siou,
    spatio_temporal,
    temporal,
    tiou,
    viou,
)
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box

HERE, ASIDE, AWAY = Box(0, 0, 10, 10), Box(5, 0, 15, 10), Box(50, 50, 60, 60)


def figures(found: Any) -> list[float]:
    """The numbers of a result in the order of its fields."""
    values = found if isinstance(found, tuple) else dataclasses.astuple(found)
    return [n for v in values for n in (figures(v) if isinstance(v, tuple) else [v])]


def test_tiou_by_hand():
    assert tiou((1.0, 3.0), (2.0, 4.0)) == pytest.approx(1 / 3)  # [2, 3) of [1, 4)
    assert tiou((0.0, 1.0), (2.0, 3.0)) == 0.0
    assert tiou((2.0, 2.0), (0.0, 4.0)) == 0.0  # no length, nothing shared
    assert tiou((2.0, 2.0), (2.0, 2.0)) == 0.0


@given(*[st.tuples(st.integers(0, 20), st.integers(21, 40)) for _ in range(2)])
def test_tiou_is_that_of_spans(one, other):
    assert tiou(one, other) == pytest.approx(Span(*one).tiou(Span(*other)))


def test_d15_temporal_figures_by_hand():
    pairs = [
        ((1.0, 3.0), (2.0, 4.0)),  # 1/3
        ((0.0, 5.0), (0.0, 10.0)),  # 5/10: reaches 0.5 exactly
        ((0.0, 7.0), (0.0, 10.0)),  # 7/10: reaches 0.7 exactly
        (None, (0.0, 10.0)),  # not readable: 0, and in the denominator
    ]
    # mean (1/3 + 1/2 + 7/10 + 0) / 4 = 23/60; at least 0.3: 3 of 4, 0.5: 2 of 4, 0.7: 1 of 4
    assert figures(temporal(pairs)) == pytest.approx([23 / 60, 0.75, 0.5, 0.25, 1, 4])


def test_nothing_counted_is_no_figure():
    assert temporal([]) == Temporal(None, (None, None, None), 0, 0)
    assert referring([]).accuracy is None


def test_d17_few_good_boxes_are_seen_through():
    true = dict.fromkeys(range(4), HERE)
    few = {1: HERE, 2: HERE}
    assert siou(few, true) == 1.0  # both of the frames in common are perfect
    assert viou(few, true) == 0.5  # 2 / 4 frames of either
    assert coverage(few, true) == 0.5  # 2 of 4 true frames
    assert (siou({}, true), viou({}, true), coverage({}, true)) == (0.0, 0.0, 0.0)


def test_d15_tube_figures_by_hand():
    frames = frozenset(range(5))
    four, two = dict.fromkeys(range(4), HERE), dict.fromkeys(range(2), HERE)
    few = {1: HERE, 2: HERE, 4: HERE, 9: AWAY}  # 9 is no frame of which the truth is known
    aside = dict.fromkeys(range(2), ASIDE)  # 50 px shared of 150: 1/3 in each frame
    found = spatio_temporal(
        [
            TubeAnswer((0.0, 5.0), few, (0.0, 10.0), four, frames, read=True),
            TubeAnswer((0.0, 10.0), aside, (0.0, 10.0), two, frames, read=True),
            TubeAnswer(None, None, (0.0, 10.0), four, frames, read=False),
        ]
    )
    assert figures(found) == pytest.approx(
        [
            *(1 / 2, 2 / 3, 2 / 3, 1 / 3, 1, 3),  # tIoU 5/10, 1 and 0: mean, at least 0.3, 0.5 and 0.7; unread, count
            4 / 9,  # sIoU (1 + 1/3 + 0) / 3
            11 / 45,  # vIoU (2/5 + 1/3 + 0) / 3
            *(2 / 3, 0, 0),  # 2/5 and 1/3 reach 0.3
            1 / 2,  # coverage (2/4 + 2/2 + 0) / 3
            *(1, 3),
        ]
    )


def test_an_interval_that_was_not_asked_for_is_not_scored():
    found = spatio_temporal([TubeAnswer(None, {0: HERE}, None, {0: HERE}, frozenset({0}), read=True)])
    assert (found.temporal.count, found.temporal.m_tiou, found.m_viou) == (0, None, 1.0)


def test_d8_boxes_that_cannot_be_read_stay_in_the_denominator():
    half = Box(0, 0, 10, 20)  # IoU 100/200 with HERE: reaches 0.5 exactly
    found = referring([(HERE, HERE), (half, HERE), (ASIDE, HERE), (None, HERE)])
    assert found.accuracy == 0.5  # 2 of 4; with the unreadable one dropped it would be 2 of 3
    assert found.m_iou == pytest.approx((1 + 0.5 + 1 / 3) / 4)
    assert (found.unread, found.count) == (1, 4)


@given(st.floats(0, 1))
def test_d5_a_token_is_read_as_the_place_that_it_was_written_for(share):
    assert abs(answers.share_of(answers.token_of(share)) - share) <= 1 / 198 + 1e-12
    assert (answers.share_of(0), answers.share_of(99)) == (0.0, 1.0)


BOX = "[<WIDTH-001><HEIGHT-002><WIDTH-030><HEIGHT-040>]"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("It happens at {<TEMP-010><TEMP-099>}.", (10, 99)),
        ("{ <TEMP-010> <TEMP-010> }", (10, 10)),
        ("{<TEMP-010>}", None),
        ("{<TEMP-020><TEMP-010>}", None),
        ("{<TEMP-010><TEMP-020>} or {<TEMP-030><TEMP-040>}", None),
        ("{<TEMP-010><TEMP-100>}", None),
        ("{0.1, 0.2}", None),
        ("", None),
    ],
)
def test_intervals_are_read_strictly(text, read):
    assert answers.interval(text) == read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (f"It is at {BOX}.", (1, 2, 30, 40)),
        (BOX + BOX, None),
        ("[<WIDTH-030><HEIGHT-002><WIDTH-001><HEIGHT-040>]", None),
        ("[<HEIGHT-002><WIDTH-001><HEIGHT-040><WIDTH-030>]", None),
        ("[<WIDTH-001><HEIGHT-002><WIDTH-030>]", None),
        ("[0.1, 0.2, 0.3, 0.4]", None),
    ],
)
def test_boxes_are_read_strictly(text, read):
    assert answers.box(text) == read


@pytest.mark.parametrize(
    ("text", "times"),
    [
        (f"<TEMP-003>: {BOX}, <TEMP-007>:{BOX}", [3, 7]),
        (f"At {{<TEMP-003><TEMP-007>}}, <TEMP-003>: {BOX}", [3]),
        (f"<TEMP-007>: {BOX}, <TEMP-003>: {BOX}", None),
        (f"<TEMP-003>: {BOX}, <TEMP-003>: {BOX}", None),
        (f"<TEMP-003>: {BOX}, <TEMP-007>: [<WIDTH-001>]", None),
        (f"<TEMP-003>: {BOX} {BOX}", None),
        ("nowhere", None),
    ],
)
def test_tubes_are_read_strictly(text, times):
    found = answers.tube(text)
    assert (None if found is None else list(found)) == times


def test_an_events_caption_keeps_its_commas():
    text = f"Ends in <TEMP-050>, the dog, which is brown, sits. Object bounding box: <TEMP-003>: {BOX}"
    found = answers.event(text)
    assert found is not None
    assert (found.end, found.caption, list(found.tube)) == (50, "the dog, which is brown, sits", [3])
    assert answers.event(text.replace("Ends in", "Until")) is None
    assert answers.event("Ends in <TEMP-050>, it sits.") is None


@given(st.floats(-0.5, 1.5))
def test_d5_a_token_is_off_by_at_most_half_a_bin(share):
    kept = answers.share_of(answers.token_of(share))
    assert abs(kept - min(1.0, max(0.0, share))) <= 1 / 198 + 1e-12
    assert answers.token_of(kept) == answers.token_of(share)
