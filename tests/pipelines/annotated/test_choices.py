"""Answers to questions that list their answers (D13): one of them, and the one whose letter was said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.pipelines.sources.annotated.choices import choice_fault, options_of
from reelmill.pipelines.sources.annotated.fields import annotation
from reelmill.pipelines.sources.annotated.validating import judged
from reelmill.schemas.annotation import Stated
from reelmill.schemas.sample import Role, Turn

ASKED = "What is on the mat?\nA. a dog\nB. a black cat\nC. a cat\nAnswer with the option's letter."


@pytest.mark.parametrize(
    "form",
    ["A. dog\nB. cat", "A) dog\nB) cat", " (A) dog\n (B) cat ", "A: dog\nB: cat", "Which?\n\nA. dog\n\nB. cat\n."],
)
def test_forms_of_lists(form: str) -> None:
    assert options_of(form) == {"A": "dog", "B": "cat"}


@pytest.mark.parametrize("text", ["A. dog", "A. dog\nC. cat", "B. dog\nC. cat", "dog or cat?", "See A. and B.", ""])
def test_what_is_no_list_is_not_judged(text: str) -> None:
    assert options_of(text) == {}
    assert choice_fault(text, "Z") is None


@pytest.mark.parametrize(
    "answer",
    [
        *("B", "(B)", "B.", "B. a black cat", "(B) A black cat.", "The answer is B.", "Option (B)", "a black cat"),
        *("B. A black cat, since its fur is dark.", "There is a black cat on it.", "A. a dog"),
    ],
)
def test_what_chooses_is_let_be(answer: str) -> None:
    assert choice_fault(ASKED, answer) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("D", "answer_is_no_option"),
        ("D. a bird", "answer_is_no_option"),
        ("a bird", "answer_is_no_option"),
        ("A bird sits there.", "answer_is_no_option"),
        ("a dog and a cat", "answer_is_no_option"),
        ("", "answer_is_no_option"),
        ("B. a cat", "answer_differs_from_its_option"),
        ("(A) a black cat", "answer_differs_from_its_option"),
    ],
)
def test_d13_what_contradicts_its_options_is_named(answer: str, reason: str) -> None:
    found = choice_fault(ASKED, answer)
    assert found is not None
    assert found[0] == reason


def test_d13_options_that_are_alike_have_no_answer() -> None:
    assert (choice_fault("A. Cat\nB. cat.\nC. dog", "C") or ("",))[0] == "options_alike"


words = st.lists(st.sampled_from(["red", "blue", "circle", "left"]), min_size=1, max_size=3).map(" ".join)


@given(st.lists(words, min_size=2, max_size=5, unique=True), st.data())
def test_of_any_list_each_letter_with_its_own_words_is_right_and_with_anothers_is_not(texts, data) -> None:
    letters = "ABCDE"[: len(texts)]
    question = "\n".join(["Which?", *(f"{c}. {t}" for c, t in zip(letters, texts, strict=True))])
    place, other = (data.draw(st.integers(0, len(texts) - 1)) for _ in range(2))
    assert choice_fault(question, f"{letters[place]}. {texts[place]}") is None
    found = choice_fault(question, f"{letters[place]}. {texts[other]}")
    assert (found is None) is f"{texts[other]} ".startswith(f"{texts[place]} ")


def test_d13_a_dialogue_that_contradicts_itself_is_left_out_whole_and_the_rest_stays() -> None:
    def said(*texts: str) -> tuple[Turn, ...]:
        return tuple(Turn((Role.USER, Role.ASSISTANT)[i % 2], t, (), (), ()) for i, t in enumerate(texts))

    right = annotation(
        "demo", "7", "a.mp4", stated=(Stated("a dog", None, ""),), turns=said("Is it?", "Yes", ASKED, "B")
    )
    assert judged(right) == (right, ())
    sound, left_out = judged(replace(right, turns=said("Is it?", "Yes", ASKED, "E")))
    assert [(out.part, out.number, out.reason) for out in left_out] == [("turns", 3, "answer_is_no_option")]
    assert sound == replace(right, turns=())
