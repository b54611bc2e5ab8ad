"""Scripts by characters, and where words end without a space."""

from __future__ import annotations

import pytest

from reelmill.schemas.script import joins_words, script_of, spaced


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("EXIT 4", "Latn"),
        ("Straße, naïve", "Latn"),
        ("ＥＸＩＴ", "Latn"),
        ("Выход", "Cyrl"),
        ("Έξοδος", "Grek"),
        ("مخرج", "Arab"),
        ("יציאה", "Hebr"),
        ("निकास", "Deva"),
        ("ทางออก", "Thai"),
        ("출구", "Hang"),
        ("愚园路", "Hani"),
        ("港区を", "Jpan"),
        ("ﾄｲﾚ", "Jpan"),
        ("大韓民國 만세", "Kore"),
        ("12.50", "Zyyy"),
        ("", "Zyyy"),
        ("ᚠᚢᚦ", "Zzzz"),
        ("愚园路 Yuyuan Road", "Latn"),
        ("愚园路 Yu", "Hani"),
    ],
)
def test_the_tag_is_that_of_most_letters(text: str, tag: str) -> None:
    assert script_of(text) == tag


@pytest.mark.parametrize(
    ("pair", "joined"),
    [("区M", False), ("を3", True), ("ab", True), ("港区", True), ("a3", True), ("한A", True), ("A区", False)],
)
def test_words_end_where_a_script_without_spaces_meets_one_with_them(pair: str, joined: bool) -> None:
    assert joins_words(*pair) is joined


def test_words_are_put_together_as_their_script_does() -> None:
    assert spaced(["NO", "LITTER"]) == "NO LITTER"
    assert spaced(["港", "区", "MINATO", "CITY"]) == "港区 MINATO CITY"
    assert spaced(["서울", "56Km"]) == "서울 56Km"
    assert spaced([]) == ""
