"""Reading order: rows, columns, headings, tables, pages that are turned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.annotators.ocr.order import in_reading_order


def quad(left, top, width, height=20):
    return np.array([[left, top], [left + width, top], [left + width, top + height], [left, top + height]], float)


def turned(quads, degrees):
    """The page turned about (400, 300), each quad still begun at the line's own top left."""
    a = np.radians(degrees)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return [(q - [400, 300]) @ turn.T + [400, 300] for q in quads]


LEFT = [quad(50, 100 + 30 * i, 300) for i in range(4)]
RIGHT = [quad(400, 100 + 30 * i, 300) for i in range(4)]
PAGE = [quad(100, 40, 560, 40), *LEFT, *RIGHT, quad(60, 240, 640)]


def test_lines_are_read_from_top_to_bottom():
    assert in_reading_order([quad(10, 80, 200), quad(10, 20, 200), quad(10, 50, 200)]) == [1, 2, 0]


def test_words_of_a_row_are_read_from_left_to_right_though_they_sit_unevenly():
    assert in_reading_order([quad(200, 23, 60), quad(10, 20, 60), quad(100, 18, 60)]) == [1, 2, 0]


def test_nothing_and_one():
    assert in_reading_order([]) == []
    assert in_reading_order([quad(0, 0, 10)]) == [0]


def test_two_columns_are_read_one_after_the_other():
    assert in_reading_order([q for pair in zip(LEFT, RIGHT, strict=True) for q in pair]) == [0, 2, 4, 6, 1, 3, 5, 7]


def test_columns_whose_lines_do_not_align():
    right = [q + np.array([0, 13]) for q in RIGHT]
    assert in_reading_order(LEFT + right) == list(range(8))


def test_a_heading_and_a_footer_across_both_columns():
    assert in_reading_order(PAGE) == list(range(10))


def test_three_columns():
    columns = [[quad(40 + 250 * c, 50 + 30 * i, 220) for i in range(3)] for c in range(3)]
    assert in_reading_order([q for c in columns for q in c]) == list(range(9))


def test_a_table_is_read_row_by_row():
    cells = [quad(50 + 150 * c, 50 + 40 * r, 50) for r in range(4) for c in range(3)]
    assert in_reading_order(cells) == list(range(12))


def test_lines_whose_boxes_overlap_a_little_are_still_rows():
    assert in_reading_order([quad(10, 26, 200, 32), quad(10, 0, 200, 32), quad(10, 52, 200, 32)]) == [1, 0, 2]


@pytest.mark.parametrize("degrees", [-12, 7, 90, 180, 270])
def test_a_turned_page_is_read_as_if_it_stood(degrees):
    assert in_reading_order(turned(PAGE, degrees)) == list(range(10))


@given(st.permutations(range(10)))
def test_the_order_does_not_depend_on_how_lines_were_found(places):
    shuffled = [PAGE[i] for i in places]
    assert [places[i] for i in in_reading_order(shuffled)] == list(range(10))


@given(st.lists(st.tuples(*[st.integers(0, 500)] * 2, *[st.integers(1, 200)] * 2), max_size=25))
def test_every_line_is_read_once(boxes):
    assert sorted(in_reading_order([quad(*b) for b in boxes])) == list(range(len(boxes)))
