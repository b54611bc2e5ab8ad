"""SODA_c and its parts against cases worked out by hand (D15), and against a search over all matches."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmill.schemas.errors import BadInput
from reelmill.schemas.metrics.dense import Prf, matched_sum, segments, soda_c, story

TRUE = [((0.0, 4.0), "a dog runs"), ((4.0, 8.0), "a cat sleeps")]
TOLD = [((0.0, 2.0), "a dog runs"), ((4.0, 8.0), "a dog sleeps")]
# tIoU 1/2 times 1, and 1 times ROUGE-L 2/3 ("a ... sleeps" of three words): 7/6 of two events on either side.


def same(found: Prf | None, precision: float, recall: float, f1: float) -> None:
    assert found is not None
    assert (found.precision, found.recall, found.f1) == pytest.approx((precision, recall, f1))


def test_soda_c_by_hand() -> None:
    same(soda_c([(TOLD, TRUE)]).micro, 7 / 12, 7 / 12, 7 / 12)
    same(soda_c([(TOLD[:1], TRUE)]).macro, 1 / 2, 1 / 4, 1 / 3)
    same(soda_c([(TRUE[::-1], TRUE)]).micro, 1, 1, 1)  # events are put in order of time first
    same(soda_c([([], TRUE)]).micro, 0, 0, 0)


def test_micro_and_macro_by_hand() -> None:
    # A video of 7/6 over 2 and 2, one that was not read with one true event.
    # Micro: 7/6 / 2 = 7/12 and 7/6 / 3 = 7/18, F1 7/15. Macro: half of 7/12 throughout.
    found = soda_c([(TOLD, TRUE), (None, TRUE[:1])])
    same(found.micro, 7 / 12, 7 / 18, 7 / 15)
    same(found.macro, 7 / 24, 7 / 24, 7 / 24)
    assert (found.unread, found.count) == (1, 2)


def test_any_scorer_can_be_put_in() -> None:
    same(soda_c([(TOLD, TRUE)], lambda told, own: float(told == own[0])).micro, 1 / 4, 1 / 4, 1 / 4)


def test_matches_do_not_cross() -> None:
    # Told in order of time: the cat, whose time has a tIoU of 2/6 with the true one, and the dog with 1/7. Only one of
    # two that cross can be matched: 1/3 of two.
    crossed = [((2.0, 6.0), "a cat sleeps"), ((3.0, 7.0), "a dog runs")]
    same(soda_c([(crossed, TRUE)], lambda told, own: float(told == own[0])).micro, 1 / 6, 1 / 6, 1 / 6)
    same(story(["a cat sleeps", "a dog runs"], [s for _, s in TRUE], lambda a, b: float(a == b[0])), 0.5, 0.5, 0.5)


def test_segments_by_hand() -> None:
    # [0, 2) is best with [0, 4): 1/2; [1, 5) with it too: 3/5. Of the true ones [0, 4) has 3/5, [4, 8) has 1/7.
    # Precision 11/20, recall (3/5 + 1/7) / 2 = 13/35.
    expected = 2 * (11 / 20) * (13 / 35) / (11 / 20 + 13 / 35)
    same(segments([(0.0, 2.0), (1.0, 5.0)], [t for t, _ in TRUE]), 11 / 20, 13 / 35, expected)
    same(segments([], [(0.0, 1.0)]), 0, 0, 0)


def test_story_by_hand() -> None:
    # Told one of two: its best is 1. Precision 1, recall 1/2, F1 2/3.
    same(story(["a cat sleeps"], [s for _, s in TRUE]), 1, 1 / 2, 2 / 3)


def test_no_video_has_no_figure_and_no_truth_is_refused() -> None:
    assert soda_c([]).micro is soda_c([]).macro is None
    for call in (lambda: soda_c([(TOLD, [])]), lambda: segments([(0.0, 1.0)], []), lambda: story(["x"], [])):
        with pytest.raises(BadInput, match="true events"):
            call()


def best_of_all(table: list[list[float]]) -> float:
    rows, columns = len(table), len(table[0])
    return max(
        sum(table[i][j] for i, j in zip(own, other, strict=True))
        for size in range(min(rows, columns) + 1)
        for own in combinations(range(rows), size)
        for other in combinations(range(columns), size)
    )


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(st.floats(0, 1), min_size=n, max_size=n), min_size=1, max_size=4)
    )
)
def test_no_other_match_in_order_is_better(table: list[list[float]]) -> None:
    assert matched_sum(table) == pytest.approx(best_of_all(table))
