"""Caption measures against cases worked out by hand (D15), against sacrebleu, and on answers that are none (D8)."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.schemas.errors import BadInput
from reelmill.schemas.metrics.captions import Cider, bleu, macro, rouge_l, sentence_bleu, tokens

RUNS, SLEEPS = "a dog runs", "a cat sleeps"
CORPUS = Cider.of([[RUNS], [SLEEPS]])
sentences = st.lists(
    st.sampled_from(["the", "a", "red", "blue", "circle", "moves", "stops"]), min_size=1, max_size=9
).map(" ".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The dog, (still) sits: here - there.", "the dog still sits here there"),
        ("Don't; it\u2019s a man's dog, we can't, cannot!", "do n't it 's a man 's dog we ca n't can not"),
        ("A well-known U.S. sign of 1,000 m, at 12:30.", "a well-known u.s. sign of 1,000 m at 12:30"),
        ("3.5 km. 50% & more\u2026", "3.5 km 50 % & more"),
        ("Zw\u00f6lf B\u00e4ume", "zw\u00f6lf b\u00e4ume"),
        ("...", ""),
    ],
)
def test_words_by_the_stated_rules(text: str, expected: str) -> None:
    assert tokens(text) == tuple(expected.split())


ROWS = [("the the cat", ["the cat sat"]), ("a dog", [RUNS])]


def test_corpus_bleu_by_hand() -> None:
    # Words: "the" counts once, "cat" once of 3; "a dog" 2 of 2: 4 of 5. Pairs: "the cat" of 2, "a dog" of 1: 2 of 3.
    # Triples: 0 of 1. Lengths 3 + 2 against 3 + 3: brevity exp(1 - 6/5).
    found = bleu(ROWS)
    short = math.exp(-0.2)
    assert found.bleu == pytest.approx((0.8 * short, math.sqrt(0.8 * 2 / 3) * short, 0.0, 0.0))
    assert found.brevity == pytest.approx(short)
    assert (found.unread, found.count) == (0, 2)


def test_an_unread_answer_costs_micro_brevity_and_macro_a_whole_row() -> None:
    # Micro: the counts stay 4 of 5, the lengths are 5 against 9: 0.8 exp(1 - 9/5). Macro: (1 + 0) / 2.
    found = bleu([*ROWS, (None, [SLEEPS])])
    assert found.bleu[0] == pytest.approx(0.8 * math.exp(-0.8))
    assert (found.unread, found.count) == (1, 3)
    mean = macro([(RUNS, [RUNS]), (None, [SLEEPS])], rouge_l)
    assert (mean.mean, mean.unread, mean.count) == (0.5, 1, 2)


def test_micro_and_macro_differ() -> None:
    # Row 1 has 4 of 4 words right, row 2 0 of 1. Micro: 4/5. Macro of BLEU-1: 1/2.
    rows = [("a b c d", ["a b c d"]), ("x", ["y"])]
    assert bleu(rows).bleu[0] == pytest.approx(0.8)
    assert macro(rows, lambda a, r: sentence_bleu(a, r, 1)).mean == 0.5


def test_the_nearest_reference_is_the_shorter_of_two_as_near() -> None:
    # Of lengths 1 and 3 against 2 the shorter counts: no brevity penalty. 1 of 2 words is right.
    assert bleu([("a b", ["a", "x y z"])]).bleu[0] == 0.5
    assert bleu([("a b", ["x y z", "a"])]).brevity == 1.0


def test_smoothed_sentence_bleu_by_hand() -> None:
    # "the the cat" for "the cat sat": 2/3, (1+1)/(2+1), (0+1)/(1+1), (0+1)/(0+1): fourth root of 2/3 * 2/3 * 1/2.
    assert sentence_bleu(*ROWS[0]) == pytest.approx((2 / 9) ** 0.25)
    assert sentence_bleu("x", [RUNS]) == sentence_bleu("", [RUNS]) == 0.0


def test_rouge_l_by_hand() -> None:
    # "a dog" for "a dog runs": precision 1, recall 2/3; F with beta 1.2: 2.44 * 2/3 / (2/3 + 1.44).
    assert rouge_l("a dog", [RUNS]) == pytest.approx(2.44 * (2 / 3) / (2 / 3 + 1.44))
    # The best precision comes from the first reference (2/2), the best recall from the second (1/1).
    assert rouge_l("a dog", [RUNS, "dog"]) == 1.0
    # In the order a, c the sequences share 2, whatever stands between. b and c are crossed.
    assert rouge_l("a c b", ["a b c"], beta=1.0) == pytest.approx(2 / 3)
    assert rouge_l("", [RUNS]) == rouge_l("x", [RUNS]) == 0.0


def test_cider_by_hand() -> None:
    # "a" stands in both documents: weight ln(2/2) = 0. All other n-grams have ln 2, which the cosine takes out.
    # Itself: orders 1 to 3 give 1, order 4 has no n-gram: 10 * 3/4.
    assert CORPUS.cider(RUNS, [RUNS]) == pytest.approx(7.5)
    assert CORPUS.cider_d(RUNS, [RUNS]) == pytest.approx(7.5)
    # "a dog dog runs" for "a dog runs". Order 1: (dog 2, runs 1) and (1, 1): 3 / sqrt(5 * 2); clipped 2 / sqrt(10).
    # Order 2: 2 of 3 and of 2: 2 / sqrt(6). Orders 3 and 4: 0. Lengths differ by 1: exp(-1 / 72).
    assert CORPUS.cider("a dog dog runs", [RUNS]) == pytest.approx(10 * (3 / 10**0.5 + 2 / 6**0.5) / 4)
    expected = 10 * (2 / 10**0.5 + 2 / 6**0.5) / 4 * math.exp(-1 / 72)
    assert CORPUS.cider_d("a dog dog runs", [RUNS]) == pytest.approx(expected)
    # Two references: the mean of 7.5 and of 0, the only word in common ("a") having no weight.
    assert CORPUS.cider_d(RUNS, [RUNS, SLEEPS]) == pytest.approx(3.75)
    assert CORPUS.cider_d("", [RUNS]) == CORPUS.cider("a", [RUNS]) == 0.0


def test_document_frequency_counts_documents_and_not_references() -> None:
    twice = Cider.of([[RUNS, RUNS, "dog"], [SLEEPS]])
    assert (twice.frequency["dog",], twice.frequency["a",], twice.documents) == (1, 2, 2)


def test_what_nothing_could_match_is_refused() -> None:
    for measure in (rouge_l, sentence_bleu, CORPUS.cider):
        for references in ([], [RUNS, "..."]):
            with pytest.raises(BadInput, match="references of a caption"):
                measure(RUNS, references)
    with pytest.raises(BadInput, match="1 documents"):
        Cider.of([[RUNS]])


def test_no_rows_have_no_figure() -> None:
    assert bleu([]).bleu == (None,) * 4
    assert macro([], rouge_l).mean is None


@given(sentences, sentences)
def test_every_measure_lies_in_its_range_and_is_full_for_the_reference_itself(one: str, other: str) -> None:
    for measure in (rouge_l, sentence_bleu):
        assert 0 <= measure(one, [other]) <= 1
        assert measure(one, [one]) == pytest.approx(1)
    assert 0 <= CORPUS.cider_d(one, [other]) <= CORPUS.cider(one, [other]) + 1e-9 <= 10 + 2e-9


def test_bleu_is_that_of_sacrebleu() -> None:
    metrics = pytest.importorskip("sacrebleu.metrics", reason="sacrebleu, of the extra `dev`, is not installed")
    rng = random.Random(0)
    words = ["a", "the", "red", "blue", "circle", "square", "moves", "stops", "and", "enters", "leaves", "frame"]

    def sentence() -> str:
        return " ".join(rng.choice(words) for _ in range(rng.randint(1, 12)))

    for _ in range(60):
        width = rng.randint(1, 3)
        rows = [(sentence(), [sentence() for _ in range(width)]) for _ in range(rng.randint(1, 8))]
        columns = [[references[i] for _, references in rows] for i in range(width)]
        for order, ours in enumerate(bleu(rows).bleu, 1):
            theirs = metrics.BLEU(smooth_method="none", tokenize="none", max_ngram_order=order)
            assert ours == pytest.approx(theirs.corpus_score([a for a, _ in rows], columns).score / 100, abs=1e-12)
        smooth = metrics.BLEU(smooth_method="add-k", smooth_value=1, tokenize="none")
        assert sentence_bleu(*rows[0]) == pytest.approx(smooth.sentence_score(*rows[0]).score / 100, abs=1e-12)
