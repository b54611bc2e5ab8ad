"""Two readings of one frame: which lines they agree on, and that the second engine really reads."""

from __future__ import annotations

import dataclasses
import io
import shutil

import pyarrow as pa
import pytest
from PIL import Image
from view_rows import line, picture, row, shown

from reelmill.annotators.read_second import AgreeTexts, ReadSecond, agreed, compared, shared
from reelmill.annotators.shown import JPEGS
from reelmill.annotators.text import ReadText
from reelmill.pipelines.scenes.pictures import compose_picture, draw_picture, picture_truth
from reelmill.schemas.column import schema
from reelmill.schemas.tube import Box

installed = pytest.mark.skipif(shutil.which("tesseract") is None, reason="the program tesseract is not installed")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("GATE 24", "gate 24.", True),
        ("“OPEN”", "OPEN", True),
        ("$1.50", "$150", False),
        ("a@b.org", "ab.org", False),
        ("10:30", "1030", False),
        ("GATE A", "GATE", False),
        ("TWO", "2", False),
        ("EXIT", "EX IT", False),
        ("ﬁsh", "fish", True),
    ],
)
def test_case_and_outer_signs_do_not_count_and_all_else_does(one, other, same):
    assert (compared(one) == compared(other)) is same


def test_a_line_is_agreed_where_the_smaller_box_is_mostly_inside():
    inner, outer = Box(10, 10, 50, 20), Box(0, 0, 60, 30)
    assert shared(inner, outer) == shared(outer, inner) == 1.0
    assert shared(Box(0, 0, 10, 10), Box(5, 0, 25, 10)) == 0.5
    assert shared(Box(0, 0, 10, 10), Box(20, 0, 30, 10)) == shared(Box(0, 0, 0, 5), inner) == 0.0


def test_agreed_lines_keep_the_first_reading_and_the_lesser_confidence():
    first = (line("GATE 24", 10, 10, confidence=0.98, order=0), line("EXIT", 10, 100, confidence=0.7, order=1))
    second = (line("Gate 24.", 12, 12, width=70, confidence=0.9), line("EXIT", 11, 101, confidence=0.95, order=1))
    found = list(agreed(first, second, 0.5))
    assert found == [dataclasses.replace(first[0], confidence=0.9), first[1]]


def test_what_lies_elsewhere_or_in_another_frame_or_reads_otherwise_is_not_agreed():
    (first,) = [line("GATE 24", 10, 10)]
    others = (line("GATE 24", 200, 10), line("GATE 24", 10, 10, frame=12), line("GATE Z4", 10, 10), line("--", 10, 10))
    assert list(agreed([first], others, 0.5)) == []
    assert list(agreed([line("--", 10, 10)], others, 0.5)) == []


def test_one_reading_bears_out_one_line_only():
    twice = [line("EXIT", 10, 10, order=0), line("EXIT", 12, 12, order=1)]
    assert [one.order for one in agreed(twice, [line("EXIT", 11, 11)], 0.5)] == [0]


def test_the_step_gives_a_row_its_own_answer():
    step = AgreeTexts()
    texts, other = (line("EXIT"),), (line("OPEN"),)
    rows = [
        row(picture(), shown(0), key="a", texts=texts, second_texts=texts),
        row(picture(), shown(0), key="b", texts=texts, second_texts=other),
    ]
    both = step(pa.Table.from_pylist(rows, schema=schema(*step.needs))).to_pylist()
    assert [len(out["agreed_texts"]) for out in both] == [1, 0]


@installed
def test_tesseract_reads_the_frames_again_and_agrees_where_it_reads_right():
    exact, rgb = picture_truth(compose_picture(0)), draw_picture(compose_picture(0))
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=95)
    size = (exact.width_px, exact.height_px)
    made = row(picture(size), shown(0, size=size), texts=exact.texts) | {"jpegs": [out.getvalue()]}
    step = ReadSecond()
    step.setup()
    table = pa.Table.from_pylist([made], schema=schema(*step.needs))
    (second,) = step(table).to_pylist()
    assert second["second_engine"].startswith("tesseract")
    whole = ReadText("tesseract")
    whole.setup()
    assert JPEGS in whole.needs
    assert whole(table).to_pylist()[0]["texts"] == second["second_texts"]
    rows = [made | second]
    (agree,) = AgreeTexts()(pa.Table.from_pylist(rows, schema=schema(*AgreeTexts.needs))).to_pylist()
    assert {t["text"] for t in agree["agreed_texts"]} == {t.text for t in exact.texts}
