"""Spans, boxes and tubes obey the laws of their measures: symmetry, bounds, identity, agreement with plain counting."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reelmill.schemas.event import EventKind
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box, Tube, viou
from reelmill.schemas.verdict import ACCEPTED, State, rejected

GRID = st.integers(0, 40)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    """Spans on a grid of eighths of a second, so that equal ends and touching spans are common."""
    start, end = sorted(draw(st.lists(GRID, min_size=2, max_size=2, unique=True)))
    return Span(start / 8, end / 8)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Upright boxes with whole corners; some have no area."""
    xs, ys = sorted(draw(st.tuples(GRID, GRID))), sorted(draw(st.tuples(GRID, GRID)))
    return Box(xs[0], ys[0], xs[1], ys[1])


def tube(at_s: tuple[float, ...], boxed: tuple[Box, ...], end_s: float | None = None) -> Tube:
    return Tube("t", "the red circle", at_s, boxed, 64, 48, end_s or at_s[-1] + 0.04, 1.0, "truth")


@st.composite
def tubes(draw: st.DrawFn) -> Tube:
    frames = sorted(draw(st.sets(st.integers(0, 12), min_size=1, max_size=6)))
    return tube(tuple(f / 25 for f in frames), tuple(draw(boxes()) for _ in frames))


def eighths(span: Span) -> set[int]:
    return set(range(round(span.start_s * 8), round(span.end_s * 8)))


def pixels(box: Box) -> set[tuple[int, int]]:
    return {(x, y) for x in range(int(box.x0_px), int(box.x1_px)) for y in range(int(box.y0_px), int(box.y1_px))}


# --- spans ---


@given(spans(), spans())
def test_tiou_counts_shared_time_over_time_of_either(one: Span, other: Span) -> None:
    either = eighths(one) | eighths(other)
    assert one.tiou(other) == pytest.approx(len(eighths(one) & eighths(other)) / len(either))
    assert one.overlap_s(other) == len(eighths(one) & eighths(other)) / 8


@given(spans(), spans())
def test_tiou_is_symmetric_bounded_and_one_for_the_same_alone(one: Span, other: Span) -> None:
    assert one.tiou(other) == other.tiou(one)
    assert 0.0 <= one.tiou(other) <= 1.0
    assert (one.tiou(other) == 1.0) is (one == other)


@given(spans(), spans(), st.integers(0, 80).map(lambda n: n / 8))
def test_tiou_does_not_change_when_both_are_moved(one: Span, other: Span, by_s: float) -> None:
    assert one.shifted(by_s).tiou(other.shifted(by_s)) == one.tiou(other)
    assert one.shifted(by_s).duration_s == one.duration_s


def test_spans_that_touch_share_nothing() -> None:
    """Half-open: the instant 2.0 belongs to the second alone."""
    assert Span(0, 2).overlap_s(Span(2, 3)) == 0.0
    assert Span(0, 2).tiou(Span(2, 3)) == 0.0


@pytest.mark.parametrize(
    ("start", "end"), [(1.0, 1.0), (2.0, 1.0), (-0.1, 1.0), (math.nan, 1.0), (0.0, math.nan), (math.inf, math.inf)]
)
def test_a_span_without_length_or_before_the_start_is_refused(start: float, end: float) -> None:
    """D3: `0 <= s < e`, whatever a label file says."""
    with pytest.raises(ValueError, match="want 0 <= start_s < end_s") as trouble:
        Span(start, end)
    assert str(end) in str(trouble.value)


@pytest.mark.parametrize(
    ("span", "duration_s", "inside"),
    [
        (Span(0, 0.5), 0.5, True),
        (Span(0.2, 0.5), 0.5, True),
        (Span(29.5, 30.03), 30.03, True),
        (Span(0, 30.5), 30.03, False),
        (Span(40, 41), 30.03, False),
    ],
)
def test_a_span_must_end_inside_its_medium(span: Span, duration_s: float, inside: bool) -> None:
    """D3: events that touch the end are right, events beyond it are not, and a clip of half a second is a clip."""
    assert span.within(duration_s) is inside


def test_times_of_ntsc_frames_add_up_within_the_slack() -> None:
    """D1: at 30000/1001 frames a second the last frame's end is the duration, not one float error beyond it."""
    frame_s = 1001 / 30000
    ends = sum([frame_s] * 900)
    assert Span(899 * frame_s, ends).within(900 * frame_s)


# --- boxes ---


@given(boxes(), boxes())
def test_iou_counts_shared_pixels_over_pixels_of_either(one: Box, other: Box) -> None:
    """D6: far corners are exclusive, so a box holds exactly `area_px` pixels."""
    shared, either = pixels(one) & pixels(other), pixels(one) | pixels(other)
    assert one.area_px == len(pixels(one))
    assert one.iou(other) == pytest.approx(len(shared) / len(either) if either else 0.0)


@given(boxes(), boxes())
def test_iou_is_symmetric_bounded_and_one_for_itself(one: Box, other: Box) -> None:
    assert one.iou(other) == other.iou(one)
    assert 0.0 <= one.iou(other) <= 1.0
    assert one.iou(one) == (1.0 if one.area_px else 0.0)


@given(boxes(), boxes(), st.integers(2, 5))
def test_iou_does_not_depend_on_the_scale(one: Box, other: Box, by: int) -> None:
    def scaled(b: Box) -> Box:
        return Box(b.x0_px * by, b.y0_px * by, b.x1_px * by, b.y1_px * by)

    assert scaled(one).iou(scaled(other)) == pytest.approx(one.iou(other))


@given(boxes(), st.integers(1, 30), st.integers(1, 30))
def test_clipping_keeps_exactly_the_pixels_in_the_frame(box: Box, width: int, height: int) -> None:
    inside = box.clipped(width, height)
    assert pixels(inside) == {(x, y) for x, y in pixels(box) if x < width and y < height}
    assert 0 <= inside.x0_px <= inside.x1_px <= width
    assert 0 <= inside.y0_px <= inside.y1_px <= height
    assert inside.clipped(width, height) == inside


@pytest.mark.parametrize("box", [Box(-20, -20, -5, -5), Box(100, 5, 120, 9), Box(-5, 60, 5, 80)])
def test_a_box_wholly_out_of_view_has_no_area_left(box: Box) -> None:
    assert box.clipped(64, 48).area_px == 0.0


def test_the_centre_is_between_the_corners_of_a_frame_that_is_not_square() -> None:
    """D6: x before y; a swapped pair shows on a wide box."""
    assert Box(10, 2, 30, 6).centre_px == (20.0, 4.0)


def test_a_box_turned_inside_out_has_no_area() -> None:
    assert Box(10, 10, 5, 20).area_px == 0.0


# --- tubes ---


@given(tubes(), tubes())
def test_viou_is_symmetric_bounded_and_counts_frames_of_either(one: Tube, other: Tube) -> None:
    mine, theirs = dict(zip(one.at_s, one.boxes, strict=True)), dict(zip(other.at_s, other.boxes, strict=True))
    shared = sum(mine[t].iou(theirs[t]) for t in mine.keys() & theirs.keys())
    assert viou(one, other) == pytest.approx(shared / len(mine.keys() | theirs.keys()))
    assert viou(one, other) == pytest.approx(viou(other, one))
    assert 0.0 <= viou(one, other) <= 1.0


@given(tubes())
def test_a_tube_is_itself(one: Tube) -> None:
    assume(all(b.area_px for b in one.boxes))
    assert viou(one, one) == pytest.approx(1.0)


def test_frames_are_matched_by_their_times_not_by_their_places() -> None:
    """D4: the tenth box of one tube is not the tenth of another that begins later."""
    box = Box(0, 0, 10, 10)
    early, late = tube((0.0, 0.04, 0.08), (box,) * 3), tube((0.08, 0.12, 0.16), (box,) * 3)
    assert viou(early, late) == pytest.approx(1 / 5)
    assert viou(early, dataclasses.replace(early, at_s=(0.0, 0.04 + 4e-7, 0.08))) == pytest.approx(1.0)


def test_a_tubes_span_ends_with_its_last_frame_not_with_that_frames_start() -> None:
    assert tube((0.0, 0.04), (Box(0, 0, 1, 1),) * 2, end_s=0.08).span == Span(0.0, 0.08)


@pytest.mark.parametrize(
    ("at_s", "boxed", "end_s"),
    [
        ((), 0, 1.0),
        ((0.0, 0.04), 1, 1.0),
        ((0.0, 0.0), 2, 1.0),
        ((0.08, 0.04), 2, 1.0),
        ((0.0, 0.04), 2, 0.04),
        ((0.0, 0.04), 2, 0.01),
    ],
)
def test_a_tube_whose_times_do_not_rise_is_refused(at_s: tuple[float, ...], boxed: int, end_s: float) -> None:
    """D12: a broken row is refused where it is made, not found in a finished dataset."""
    with pytest.raises(ValueError, match="Tube t:"):
        Tube("t", "", at_s, (Box(0, 0, 1, 1),) * boxed, 64, 48, end_s, 1.0, "truth")


# --- text, verdicts, events ---


def line(*quad: float) -> TextLine:
    return TextLine("Exit", quad, 0.9, 0, 0, 0.0, "ocr")


def test_a_lines_box_is_the_smallest_around_its_quad() -> None:
    assert line(10, 5, 50, 8, 48, 20, 8, 17).box == Box(8, 5, 50, 20)


@pytest.mark.parametrize("count", [0, 4, 7, 9])
def test_a_quad_has_eight_numbers(count: int) -> None:
    with pytest.raises(ValueError, match=f"seen {count}"):
        line(*range(count))


def test_a_verdict_is_accepted_or_says_where_and_why_not() -> None:
    """D10: nothing is let go without a reason."""
    no = rejected("read_text", "no_text_found", "0 lines above 0.5 of 3")
    assert (no.accepted, no.state, no.step, no.reason) == (False, State.REJECTED, "read_text", "no_text_found")
    assert ACCEPTED.accepted
    assert list(State) == ["accepted", "rejected"]


def test_event_kinds_are_the_words_that_phrases_use() -> None:
    assert list(EventKind) == ["enters", "leaves", "moves", "stops", "stated"]


@pytest.mark.parametrize("value", [Span(0, 1), Box(0, 0, 1, 1), ACCEPTED])
def test_values_cannot_be_changed(value: object) -> None:
    name = dataclasses.fields(value)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, 3)
    with pytest.raises((AttributeError, TypeError)):
        object.__setattr__(value, "another", 3)
