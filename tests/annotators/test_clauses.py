"""Clauses as far as words show: which say the same, and which the words of tubes can speak to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from view_rows import event

from reelmill.annotators.clauses import Clause, alike, merged, placed, read, words_of
from reelmill.schemas.event import EventKind
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box, Tube

RED, BLUE = "the red circle", "the blue square"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("A man opens the door.", "the man opens a door", True),
        ("a man in a red shirt opens the door slowly", "a man in a red shirt opens the door", True),
        ("a man opens the door", "a man closes the door", False),
        ("the man raises his left hand and waves to them", "the man raises his right hand and waves to them", False),
        ("the cat chases the dog", "the dog chases the cat", False),
        ("he does not open the old wooden garden door", "he does open the old wooden garden door", False),
        ("a dog", "a dog runs", False),
        ("", "the", False),
    ],
)
def test_what_says_the_same(one, other, same):
    assert alike(one, other) is alike(other, one) is same


@given(st.lists(st.sampled_from(["cat", "dog", "runs", "not", "sits", "red", "left"]), min_size=1, max_size=8))
def test_a_clause_is_like_itself_and_like_nothing_with_a_word_exchanged(words):
    clause = " ".join(words)
    assert alike(clause, f"The {clause}.")
    assert not alike(clause, " ".join(["bird", *words[1:]]))


def test_words_keep_apostrophes_and_lose_articles():
    assert words_of("The dog's ball isn't a toy, is it?") == ("dog's", "ball", "isn't", "toy", "it")


@given(st.lists(st.sampled_from(["a dog runs", "the dog runs", "a cat sits", "a cat sits down now and then"])))
def test_every_phrase_is_in_one_group(phrases):
    places = [i for group in merged(phrases) for i in group]
    assert sorted(places) == list(range(len(phrases)))
    assert all(alike(phrases[g[0]], phrases[i]) for g in merged(phrases) for i in g)


@pytest.mark.parametrize(
    ("phrase", "kind", "words", "side"),
    [
        ("The red circle enters the frame.", "enters", {"red", "circle"}, ""),
        ("a gray square leaves", "leaves", {"grey", "square"}, ""),
        ("something moves on the left", "moves", set(), "left"),
        ("the object stops", "stops", set(), ""),
        ("a blue star appears in the frame on the right", "enters", {"blue", "star"}, "right"),
    ],
)
def test_clauses_in_the_words_of_tubes(phrase, kind, words, side):
    assert read(phrase) == Clause(EventKind(kind), frozenset(words), side)


@pytest.mark.parametrize("phrase", ["a man enters", "the red circle moves towards the door", "it rains", "", "moves"])
def test_any_other_word_is_beyond_tubes(phrase):
    assert read(phrase) is None
    assert placed(phrase, (event(RED, "moves", 1.0, 2.0),), ()) is None


EVENTS = (event(RED, "moves", 1.0, 2.0, confidence=0.8), event(BLUE, "moves", 3.0, 4.0), event(RED, "moves", 5.0, 6.0))


def test_tubes_say_every_time_or_that_there_is_none():
    assert placed("a red circle moves", EVENTS, ()) == ((Span(1.0, 2.0), Span(5.0, 6.0)), 0.8)
    assert placed("something moves", EVENTS, ()) == ((Span(1.0, 2.0), Span(3.0, 4.0), Span(5.0, 6.0)), 0.8)
    assert placed("the green circle moves", EVENTS, ()) == ((), 1.0)
    assert placed("the red circle leaves", EVENTS, ()) == ((), 1.0)


def test_what_was_not_followed_or_is_doubtful_is_no_opinion():
    assert placed("the red circle moves", (), ()) is None
    refused = (*EVENTS, event(RED, "moves", 4.0, 4.5, accepted=False))
    assert placed("the red circle moves", refused, ()) is None
    vague = (*EVENTS, event("the object", "moves", 0.0, 0.5))
    assert placed("the red circle moves", vague, ()) is None, "the object could be the red circle"
    assert placed("the red circle leaves", vague, ()) == ((), 1.0)


def test_a_side_is_where_the_tube_is_at_that_time():
    boxes = (Box(0, 0, 20, 20), Box(0, 0, 20, 20), Box(280, 0, 300, 20), Box(280, 0, 300, 20))
    tube = Tube(RED, RED, (0.0, 1.0, 5.0, 5.5), boxes, 320, 240, 6.0, 0.9, "rules")
    own = tuple(e for e in EVENTS if e.subject == RED)
    assert placed("something moves on the left", own, (tube,)) == ((Span(1.0, 2.0),), 0.8)
    assert placed("something moves on the right", own, (tube,)) == ((Span(5.0, 6.0),), 0.9)
    assert placed("something moves on the right", own[:1], (replace(tube, tube_id="t"),)) is not None
