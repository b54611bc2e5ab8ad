"""Decoding what the recogniser says of a line: letters, spaces it was unsure of, and where words lie."""

from __future__ import annotations

import numpy as np
import pytest

from reelmill.annotators.ocr.line import upright
from reelmill.annotators.ocr.rapid import RapidLines, decoded_line, words_of
from reelmill.schemas.errors import EngineDown
from reelmill.schemas.script import script_of

CHARACTERS = ["blank", "E", "X", "I", "T", "4", "港", "区", " "]


def chances(path, space=0.0, at=None):
    """Columns in which one character each is likeliest; `space` is the chance of a space in column `at`."""
    table = np.full((len(path), len(CHARACTERS)), 0.001, np.float32)
    for column, c in enumerate(path):
        table[column, CHARACTERS.index("blank" if c == "-" else c)] = 0.9
    if at is not None:
        table[at, CHARACTERS.index(" ")] = space
    return table


def test_repeats_and_blanks_fall_away():
    text, confidence, letters = decoded_line(chances("-EEX-XII-T-"), CHARACTERS, 11)
    assert text == "EXXIT"
    assert confidence == pytest.approx(0.9)
    assert [round(middle * 11, 1) for middle, _ in letters] == [1.5, 3.5, 5.5, 6.5, 9.5]


@pytest.mark.parametrize(("space", "text"), [(0.05, "T 4"), (0.01, "T4")])
def test_a_space_that_the_blank_outweighs_is_set(space, text):
    assert decoded_line(chances("-T--4-", space, at=3), CHARACTERS, 6)[0] == text


def test_no_second_space_and_none_inside_a_script_that_sets_none():
    assert decoded_line(chances("T- -4", 0.3, at=1), CHARACTERS, 5)[0] == "T 4"
    assert decoded_line(chances("港--区", 0.3, at=1), CHARACTERS, 4)[0] == "港区"


def test_nothing_is_read_from_blanks():
    assert decoded_line(chances("----"), CHARACTERS, 4) == ("", 0.0, [])


def test_padding_does_not_count_as_length():
    _, _, letters = decoded_line(chances("E---X-----"), CHARACTERS, 5)
    assert [middle for middle, _ in letters] == pytest.approx([0.1, 0.9])


def test_words_part_at_spaces_and_at_a_change_of_script():
    quad = upright(0, 0, 100, 10)
    said = "港区EX 4"
    letters = [(0.1, 1.0), (0.2, 1.0), (0.4, 0.8), (0.5, 0.6), (0.5, 0.1), (0.9, 0.9)]
    words = list(words_of(said, letters, quad))
    assert [w.text for w in words] == ["港区", "EX", "4"]
    assert [w.confidence for w in words] == pytest.approx([1.0, 0.7, 0.9])
    edges = [v for w in words for v in (w.quad[0, 0], w.quad[1, 0])]
    assert edges == sorted(edges)
    assert edges[1] == pytest.approx(30)
    assert edges[2] >= edges[1]
    assert edges[0] >= 0
    assert edges[-1] <= 100


def test_a_single_word_takes_the_whole_line():
    (word,) = words_of("E", [(0.5, 1.0)], upright(10, 0, 30, 10))
    assert (word.quad[0, 0], word.quad[1, 0]) == (10, 30)
    assert list(words_of("  ", [(0.1, 1.0), (0.2, 1.0)], upright(0, 0, 9, 9))) == []


def test_what_it_can_read_is_in_its_dictionary():
    scripts = {script_of(c) for c in RapidLines().characters()}
    assert {"Latn", "Hani", "Jpan", "Grek"} <= scripts
    assert not {"Hang", "Cyrl", "Arab", "Thai"} & scripts


def test_missing_models_end_the_run(monkeypatch):
    monkeypatch.setattr("reelmill.annotators.ocr.rapid._MODELS", ("none.onnx",))
    with pytest.raises(EngineDown, match=r"none\.onnx"):
        RapidLines()
