"""What of an annotation is left out, and why; what is good stays as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.annotators.annotator import Annotator
from reelmill.pipelines.sources.annotated.fields import annotation, tube_of
from reelmill.pipelines.sources.annotated.validating import ValidateAnnotation, judged, unchecked
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation, LeftOut, Region, Stated
from reelmill.schemas.column import schema
from reelmill.schemas.errors import Unusable
from reelmill.schemas.sample import Role, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box, Tube

QUAD = (1.0, 1.0, 9.0, 1.0, 9.0, 5.0, 1.0, 5.0)
INSIDE = Box(1.0, 2.0, 30.0, 40.0)


def tube(*boxes: Box, tube_id: str = "1", size: tuple[int | None, int | None] = (100, 50)) -> Tube:
    return tube_of(tube_id, "dog", {n / 10: box for n, box in enumerate(boxes)}, size, 0.1)


def text(words: str = "EXIT") -> TextLine:
    return TextLine(words, QUAD, 0.5, 0, 0, 0.0, "human")


def turn(words: str, *tgt_s: float, boxes: tuple[Box, ...] = ()) -> Turn:
    return Turn(Role.ASSISTANT, words, (), tgt_s, boxes)


SOUND = annotation(
    "demo",
    "7",
    "a.mp4",
    size=(100, 50),
    duration_s=10.0,
    stated=(Stated("a dog runs", Span(0.0, 10.0), "1"), Stated("a dog", None, "")),
    regions=(Region("a dog", "", INSIDE),),
    tubes=(tube(INSIDE),),
    texts=(text(),),
    turns=(turn("It is at <time> and <box>.", 1.0, 2.0, boxes=(INSIDE,)),),
)


def asked(one: Annotation, again: int = 0) -> dict[str, Any]:
    step = ValidateAnnotation()
    row = {"key": "k", "original": arrow.plain(one), "again": again}
    (out,) = step(pa.Table.from_pylist([row], schema=schema(*step.needs))).to_pylist()
    assert out["fault"] is None, out["fault"]
    return dict(out)


def test_a_sound_annotation_stays_as_it_was() -> None:
    assert isinstance(ValidateAnnotation(), Annotator)
    assert judged(SOUND) == (SOUND, ())
    out = asked(SOUND)
    assert arrow.typed(Annotation, out["annotation"]) == SOUND
    assert (out["left_out"], out["unchecked"], out["verdict"]) == ([], [], None)


@pytest.mark.parametrize(
    ("part", "bad", "reason"),
    [
        ("stated", Stated("late", Span(1.0, 10.1), ""), "span_beyond_duration"),
        ("stated", Stated(" \n", None, ""), "empty_text"),
        ("regions", Region("", "", INSIDE), "empty_text"),
        ("regions", Region("dog", "", Box(5.0, 5.0, 5.0, 9.0)), "empty_box"),
        ("regions", Region("dog", "", Box(5.0, 5.0, 102.0, 9.0)), "box_outside_frame"),
        ("regions", Region("dog", "", Box(-2.0, 5.0, 9.0, 9.0)), "box_outside_frame"),
        ("tubes", tube(INSIDE, Box(3.0, 3.0, 3.0, 3.0)), "empty_box"),
        ("tubes", tube(INSIDE, Box(100.0, 3.0, 120.0, 9.0)), "box_outside_frame"),
        ("tubes", tube(*[INSIDE] * 102), "span_beyond_duration"),
        ("texts", text(""), "empty_text"),
        ("texts", TextLine("EXIT", tuple(200.0 + q for q in QUAD), 0.5, 0, 0, 0.0, "human"), "box_outside_frame"),
        ("turns", turn(""), "empty_text"),
        ("turns", turn("At <time>."), "times_and_places"),
        ("turns", turn("There: <box>, <box>.", boxes=(INSIDE,)), "times_and_places"),
        ("turns", turn("At <time>.", 3.0, 2.0), "falling_times"),
        ("turns", turn("At <time>.", 3.0, 12.0), "span_beyond_duration"),
        ("turns", turn("There.", boxes=(Box(0.0, 0.0, 0.0, 0.0),)), "empty_box"),
    ],
)
def test_a_bad_part_is_left_out_with_its_reason_and_its_place(part: str, bad: Any, reason: str) -> None:
    spoilt: Annotation = replace(SOUND, **{part: (*getattr(SOUND, part), bad)})  # type: ignore[arg-type]
    place = len(getattr(SOUND, part))
    sound, left_out = judged(spoilt)
    assert [(out.original_id, out.part, out.number, out.reason) for out in left_out] == [("7", part, place, reason)]
    assert left_out[0].detail
    want = replace(SOUND, turns=()) if part == "turns" else SOUND
    assert sound == want, "a dialogue with a hole is left out whole, all else but the bad part stays"


def test_what_overhangs_by_rounding_or_by_the_sets_rules_stays() -> None:
    rounded = replace(SOUND, regions=(Region("dog", "", Box(-1.0, 0.0, 101.0, 51.0)),))
    amodal = replace(SOUND, tubes=(tube(Box(-40.0, 3.0, 20.0, 60.0)),))
    assert judged(rounded) == (rounded, ())
    assert judged(amodal) == (amodal, ())


def test_a_sentence_loses_the_name_of_a_tube_that_was_left_out() -> None:
    sound, _ = judged(replace(SOUND, tubes=(tube(Box(1.0, 1.0, 1.0, 1.0)),)))
    assert [s.tube_id for s in sound.stated] == ["", ""]
    assert [s.text for s in sound.stated] == ["a dog runs", "a dog"]


@pytest.mark.parametrize(
    ("one", "again", "reason"),
    [
        (SOUND, 1, "duplicate_id"),
        (replace(SOUND, media_uri=" "), 0, "no_medium"),
        (replace(SOUND, width_px=0), 0, "impossible_size"),
        (replace(SOUND, duration_s=-1.0), 0, "impossible_size"),
        (annotation("demo", "7", "a.mp4"), 0, "says_nothing"),
        (annotation("demo", "7", "a.mp4", stated=(Stated("", None, ""),)), 0, "empty_text"),
    ],
)
def test_a_row_that_is_wrong_as_a_whole_is_rejected(one: Annotation, again: int, reason: str) -> None:
    verdict = asked(one, again)["verdict"]
    assert (verdict["step"], verdict["state"], verdict["reason"]) == ("validate_annotation", "rejected", reason)
    assert verdict["detail"]


def test_what_the_set_declares_too_little_for_is_said() -> None:
    bare = replace(SOUND, width_px=None, height_px=None, duration_s=None)
    assert unchecked(bare) == ("duration", "frame_size")
    assert unchecked(replace(bare, regions=(), texts=(), turns=())) == ("duration",)
    assert unchecked(annotation("demo", "7", "a.mp4", stated=(Stated("a dog", None, ""),))) == ()
    unsized = annotation("demo", "7", "a.mp4", duration_s=3.0, tubes=(tube(INSIDE, size=(None, None)),))
    assert unchecked(unsized) == ("frame_size",)
    assert judged(unsized) == (unsized, ())


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0.01, 5)), max_size=6), st.floats(1, 20))
def test_every_sentence_is_kept_or_left_out_never_both(times: list[tuple[float, float]], duration_s: float) -> None:
    stated = tuple(Stated(f"s{n}", Span(a, a + b), "") for n, (a, b) in enumerate(times))
    one = annotation("demo", "7", "a.mp4", duration_s=duration_s, stated=stated)
    try:
        sound, left_out = judged(one)
    except Unusable as judgement:
        assert all(s.span and s.span.end_s > duration_s for s in stated)
        assert judgement.reason == ("span_beyond_duration" if stated else "says_nothing")  # noqa: PT017
        return
    dropped = [stated[out.number] for out in left_out]
    assert sorted([*sound.stated, *dropped], key=lambda s: s.text) == list(stated)
    assert all(s.span and s.span.within(duration_s) for s in sound.stated)
    assert all(s.span and s.span.end_s > duration_s for s in dropped)


def test_left_out_parts_are_rows_like_any_other() -> None:
    out = LeftOut("7", "stated", 0, "empty_text", "x")
    assert arrow.typed(LeftOut, arrow.plain(out)) == out
