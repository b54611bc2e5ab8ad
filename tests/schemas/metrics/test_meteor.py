"""METEOR of 2005 against cases worked out by hand (D15) and against a search over all alignments; why it is a lower
bound of the figure with synonyms."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmill.schemas.errors import BadInput
from reelmill.schemas.metrics.captions import macro
from reelmill.schemas.metrics.dense import soda_c
from reelmill.schemas.metrics.meteor import aligned, chunks, meteor, score_of
from reelmill.schemas.metrics.porter import stem

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "meteor.json").read_text())


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: c["answer"] or "nothing")
def test_d15_figures_by_hand(case: dict[str, object]) -> None:
    """Each case says its matches, chunks and the fraction that follows from the paper's formula."""
    answer, references = str(case["answer"]), list(case["references"])  # type: ignore[call-overload]
    over, under = (int(n) for n in str(case["meteor"]).split("/"))
    assert meteor(answer, references) == pytest.approx(over / under, abs=1e-12)
    if len(references) == 1:
        pairs = aligned(tuple(answer.split()), tuple(references[0].split()))
        assert (len(pairs), chunks(pairs)) == (case["matches"], case["chunks"])


def test_equal_words_go_before_equal_stems() -> None:
    assert aligned(("runs", "run"), ("run", "runs")) == ((0, 1), (1, 0))
    assert aligned(("running", "run"), ("run",)) == ((1, 0),)


def test_the_fewest_crossings_are_taken() -> None:
    assert aligned(("the", "dog", "the", "cat"), ("the", "cat")) == ((2, 0), (3, 1))
    assert aligned(tuple("aba"), tuple("aab")) == ((0, 0), (1, 2), (2, 1))


def test_what_cannot_be_scored_is_refused_and_what_was_not_read_gets_nothing() -> None:
    for references in ([], ["..."]):
        with pytest.raises(BadInput, match="references of a caption"):
            meteor("a dog", references)
    assert macro([("a dog", ["a dog"]), (None, ["a dog"])], meteor).mean == pytest.approx((1 - 0.5 / 8) / 2)


def test_soda_c_takes_it() -> None:
    events = [((0.0, 4.0), "a dog runs"), ((4.0, 8.0), "a cat sleeps")]
    found = soda_c([(events, events)], meteor).micro
    assert found is not None
    assert found.f1 == pytest.approx(1 - 0.5 / 27), "its own reference gets 1 - 0.5 / words^3"


few = st.lists(st.sampled_from(["a", "dog", "dogs", "runs", "running"]), min_size=1, max_size=4).map(tuple)


def best(told: tuple[str, ...], own: tuple[str, ...]) -> tuple[int, int, int, int]:
    """Equal words, all matches, crossings of equal words, of the best of all one-to-one alignments."""
    found = (0, 0, 0, 0)
    places = [*range(len(own)), *[-1] * len(told)]
    for chosen in set(permutations(places, len(told))):
        pairs = [(i, j) for i, j in enumerate(chosen) if j >= 0]
        if all(stem(told[i]) == stem(own[j]) for i, j in pairs):
            found = max(found, judged(told, own, pairs))
    return found


def judged(told: tuple[str, ...], own: tuple[str, ...], pairs: list[tuple[int, int]]) -> tuple[int, int, int, int]:
    equal = [(i, j) for i, j in pairs if told[i] == own[j]]
    return len(equal), -crossings(equal), len(pairs), -crossings(pairs)


def crossings(pairs: list[tuple[int, int]]) -> int:
    return sum(j > k for n, (_, j) in enumerate(pairs) for _, k in pairs[n + 1 :])


@settings(max_examples=40, deadline=None)
@given(few, few)
def test_no_other_alignment_is_better(told: tuple[str, ...], own: tuple[str, ...]) -> None:
    """As the paper has it: each stage takes the most, and of those the fewest crossings. Of two that are as good in the
    stage of equal words either may leave more crossings to stems, so those are compared only where none are left."""
    found, wanted = judged(told, own, list(aligned(told, own))), best(told, own)
    assert found[:3] == wanted[:3]
    if wanted[0] == wanted[2]:
        assert found == wanted


@settings(max_examples=100, deadline=None)
@given(few, few, st.data())
def test_a_further_match_as_by_a_synonym_never_lowers_it(
    told: tuple[str, ...], own: tuple[str, ...], data: st.DataObject
) -> None:
    pairs = aligned(told, own)
    free = [(i, j) for i in range(len(told)) for j in range(len(own))]
    free = [(i, j) for i, j in free if i not in dict(pairs) and j not in {k for _, k in pairs}]
    if free:
        more = tuple(sorted([*pairs, data.draw(st.sampled_from(free))]))
        assert score_of(more, told, own) > score_of(pairs, told, own)


@settings(max_examples=100, deadline=None)
@given(few, few)
def test_it_lies_in_its_range_and_counts_of_itself_one_chunk(told: tuple[str, ...], own: tuple[str, ...]) -> None:
    assert 0 <= meteor(" ".join(told), [" ".join(own)]) < 1
    assert meteor(" ".join(own), [" ".join(own)]) == pytest.approx(1 - 0.5 / len(own) ** 3)
    both = [" ".join(own), " ".join(told)]
    assert meteor(both[1], both) == max(meteor(both[1], [one]) for one in both)
