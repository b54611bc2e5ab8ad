"""Times and boxes as words: read back, they are no further from the numbers than their convention promises."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.schemas.errors import Unusable
from reelmill.schemas.sample import Role, Tubelet, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box
from reelmill.sinks.exports.wording import BOUNDS, Boxes, Frame, Times, Words, corners, frame_times, instant, interval

EXACT = 1e-9
DURATIONS = st.floats(0.2, 7200.0)
SHARES = st.floats(0.0, 1.0)
SIZES = st.integers(2, 8000)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Box, Frame, tuple[int, int]]:
    """A box inside a medium, the exported frame that may be smaller, and the medium's size."""
    width, height = draw(SIZES), draw(SIZES)
    frame_width, frame_height = draw(st.integers(1, width)), draw(st.integers(1, height))
    xs, ys = sorted((draw(SHARES), draw(SHARES))), sorted((draw(SHARES), draw(SHARES)))
    box = Box(xs[0] * width, ys[0] * height, xs[1] * width, ys[1] * height)
    frame = Frame(frame_width, frame_height, (frame_width / width, frame_height / height))
    return box, frame, (width, height)


def numbers(text: str) -> list[float]:
    assert re.fullmatch(r"\[[-\d.]+(, [-\d.]+){3}\]", text), text
    return [float(v) for v in text.strip("[]").split(", ")]


@given(st.floats(0.0, 7200.0))
def test_seconds_are_at_most_half_a_hundredth_off(at_s: float) -> None:
    assert abs(float(instant(at_s, 7200.0, Times.SECONDS)) - at_s) <= 0.005 + EXACT


@given(DURATIONS, SHARES)
def test_percent_is_at_most_half_a_part_off_and_a_whole_one_at_the_end(duration_s: float, share: float) -> None:
    at_s = share * duration_s
    said = instant(at_s, duration_s, Times.PERCENT)
    assert re.fullmatch(r"\d\d%", said)
    bound = duration_s / (200 if share < 0.995 else 100)
    assert abs(int(said[:-1]) / 100 * duration_s - at_s) <= bound * (1 + EXACT)


def test_the_end_of_a_clip_is_99_and_the_family_of_99_parts_would_read_it_elsewhere() -> None:
    """D5: tokens of 0..99 over a length times 99 (LLaVA-ST) and parts of 100 (VTimeLLM) differ by up to 1 % of it."""
    assert instant(60.0, 60.0, Times.PERCENT) == "99%"
    assert instant(30.0, 60.0, Times.PERCENT) == "50%"
    parts = [int(instant(t * 60 / 1000, 60.0, Times.PERCENT)[:-1]) for t in range(1001)]
    apart = max(abs(p / 99 - p / 100) for p in parts)
    assert 0.0099 < apart <= 0.01 + EXACT
    assert "capped at 99" in BOUNDS[Times.PERCENT]


@given(scenes())
def test_whole_pixels_are_at_most_half_a_pixel_of_the_frame_off(scene: tuple[Box, Frame, tuple[int, int]]) -> None:
    box, frame, _ = scene
    said = numbers(corners(box, frame, Boxes.PIXELS))
    x, y = frame.scale
    for got, want in zip(said, (box.x0_px * x, box.y0_px * y, box.x1_px * x, box.y1_px * y), strict=True):
        assert abs(got - want) <= 0.5 + 1e-6


@given(scenes(), st.sampled_from([Boxes.UNIT, Boxes.THOUSAND]))
def test_shares_are_at_most_half_a_thousandth_of_a_side_off(
    scene: tuple[Box, Frame, tuple[int, int]], boxes: Boxes
) -> None:
    box, frame, (width, height) = scene
    unit = 1 if boxes is Boxes.UNIT else 1000
    sides = (width, height, width, height)
    said = numbers(corners(box, frame, boxes))
    for got, side, want in zip(said, sides, (box.x0_px, box.y0_px, box.x1_px, box.y1_px), strict=True):
        assert abs(got / unit * side - want) <= side * (0.0005 + EXACT)


@given(scenes())
def test_padded_shares_are_at_most_half_a_thousandth_of_the_longer_side_off(
    scene: tuple[Box, Frame, tuple[int, int]],
) -> None:
    box, frame, _ = scene
    side = max(frame.width_px, frame.height_px)
    left, top = (side - frame.width_px) // 2, (side - frame.height_px) // 2
    placed = frame.scaled(box)
    wants = (placed.x0_px + left, placed.y0_px + top, placed.x1_px + left, placed.y1_px + top)
    for got, want in zip(numbers(corners(box, frame, Boxes.SQUARE)), wants, strict=True):
        assert abs(got * side - want) <= side * (0.0005 + EXACT)


def test_the_two_forms_of_shares_differ_where_a_picture_is_not_square() -> None:
    """D6: the same box on a picture of 400 x 200, unpadded and padded."""
    box, frame = Box(100, 40, 220, 120), Frame(400, 200)
    assert corners(box, frame, Boxes.UNIT) == "[0.250, 0.200, 0.550, 0.600]"
    assert corners(box, frame, Boxes.SQUARE) == "[0.250, 0.350, 0.550, 0.550]"
    assert corners(box, Frame(200, 200), Boxes.SQUARE) == corners(box, Frame(200, 200), Boxes.UNIT)


def test_a_box_is_x_y_of_two_corners_and_never_width_and_height() -> None:
    said = numbers(corners(Box(10, 20, 110, 60), Frame(200, 100), Boxes.PIXELS))
    assert said == [10, 20, 110, 60]
    assert said != [10, 20, 100, 40]


def test_a_box_that_leaves_the_picture_is_cut_at_its_edge() -> None:
    assert corners(Box(-20, -5, 500, 90), Frame(400, 200), Boxes.UNIT) == "[0.000, 0.000, 1.000, 0.450]"


def words(times: Times = Times.SECONDS, boxes: Boxes = Boxes.PIXELS, duration_s: float = 6.0, **own: object) -> Words:
    return Words(Frame(320, 180), duration_s, times, boxes, **own)  # type: ignore[arg-type]


def test_each_place_takes_the_next_of_its_kind() -> None:
    question = Turn(Role.USER, "Between <time>, what is in <box>?", (1.0, 3.5), (), (Box(40, 60, 120, 120),))
    answer = Turn(Role.ASSISTANT, "During <time> and <time>.", (), (0.0, 1.0, 2.0, 6.0), ())
    assert words()(question) == "Between 1.00 - 3.50 seconds, what is in [40, 60, 120, 120]?"
    assert words()(answer) == "During 0.00 - 1.00 seconds and 2.00 - 6.00 seconds."
    assert words(Times.PERCENT)(answer) == "During 00% - 17% and 33% - 99%."


def test_tubes_are_counted_through_the_turns_and_say_when_they_end() -> None:
    tubes = [Tubelet((0.0, 0.5), (Box(0, 0, 10, 10), Box(5, 0, 15, 10)), 1.0), Tubelet((2.0,), (Box(1, 2, 3, 4),), 2.5)]
    write = words(tubes=iter(tubes))
    assert write(Turn(Role.USER, "What is <tube>?", (), (), ())) == (
        "What is 0.00 s [0, 0, 10, 10], 0.50 s [5, 0, 15, 10], until 1.00 s?"
    )
    assert write(Turn(Role.ASSISTANT, "As <tube>.", (), (), ())) == "As 2.00 s [1, 2, 3, 4], until 2.50 s."


def test_boxes_for_the_trainer_leave_a_mark_each_and_go_beside_the_text() -> None:
    write = Words(Frame(160, 90, (0.5, 0.5)), 0.0, Times.SECONDS, Boxes.OBJECTS)
    two = (Box(40, 60, 120, 120), Box(0, 0, 10, 10))
    assert write(Turn(Role.ASSISTANT, "<box> and <box>", (), (), two)) == "<bbox> and <bbox>"
    assert write.left == [Box(20, 30, 60, 60), Box(0, 0, 5, 5)]


@pytest.mark.parametrize(
    ("text", "times", "boxes"),
    [("<time> <time>", (1.0, 2.0), 0), ("no place", (1.0, 2.0), 0), ("<box> <box>", (), 1), ("<box>", (), 2)],
)
def test_places_and_what_stands_for_them_must_be_as_many(text: str, times: tuple[float, ...], boxes: int) -> None:
    turn = Turn(Role.ASSISTANT, text, (), times, (Box(0, 0, 5, 5),) * boxes)
    with pytest.raises(Unusable, match="places_differ"):
        words()(turn)


def test_what_words_do_not_say_is_counted() -> None:
    write = words(Times.PERCENT, duration_s=100.0)
    write(Turn(Role.ASSISTANT, "<time>", (), (10.0, 10.3), (Box(0, 0, 5, 5), Box(1, 1, 5, 5))))
    assert write.unsaid == {"intervals_shorter_than_a_step_of_the_form": 1, "boxes_without_a_place_in_the_text": 2}


def test_a_time_in_a_picture_is_refused() -> None:
    with pytest.raises(Unusable, match="times_in_a_picture"):
        words(Times.PERCENT, duration_s=0.0)(Turn(Role.ASSISTANT, "<time>", (), (0.0, 1.0), ()))


def test_frames_say_when_they_are() -> None:
    assert frame_times([0.0, 1.25], 6.0, Times.SECONDS) == (
        "The video lasts 6.00 seconds and is shown at 0.00, 1.25 seconds."
    )
    assert frame_times([0.0, 6.0], 6.0, Times.PERCENT) == "The video is shown at 00%, 99% of its length."
    assert interval(Span(1.0, 3.5), 6.0, Times.PERCENT) == "17% - 58%"
