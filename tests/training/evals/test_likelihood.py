"""Pairs and streams against figures by hand, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from asked import ask, pair, stream, tell
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmill.schemas.errors import Fault, GuardBroken
from reelmill.training.evals.likelihood import (
    Followed,
    Follower,
    LogProbs,
    Pair,
    Told,
    fluency,
    followed,
    gaps_s,
    leading,
    pair_of,
    preferred,
    silences_s,
)
from reelmill.training.evals.report import figures


class Fixed:
    """Log-probabilities that are given."""

    def __init__(self, *found: LogProbs) -> None:
        self.found = found

    def log_probs(self, pairs: Sequence[Pair]) -> Sequence[LogProbs]:
        return self.found


class Following:
    """Of each stream some answers, and silence kept at two of three places."""

    def __init__(self, *told: Sequence[Told | None], due: int = 3) -> None:
        self.told = [Followed(tuple(one), due, min(due, 2)) for one in told]

    def follow(self, streams: object) -> Sequence[Followed]:
        return self.told


def test_a_pair_shares_its_question() -> None:
    found = pair_of(pair("A dog runs.", "A cat runs.", q="Who runs?"))
    assert (found.before, found.chosen, found.rejected) == (
        (ask("Who runs?"),),
        (tell("A dog runs."),),
        (tell("A cat runs."),),
    )


def test_preference_by_hand() -> None:
    # -6 over 3 tokens against -5 over 1: the sum prefers the rejected side, the mean the chosen one.
    rows = preferred([pair("a", "b", kind="drop")], Fixed(LogProbs(-6.0, 3, -5.0, 1)))
    assert {r.measure: r.value for r in rows} == {
        "prefers": 0.0,
        "prefers_per_token": 1.0,
        "margin": -1.0,
        "margin_per_token": 3.0,
    }
    assert {r.kind for r in rows} == {"drop"}


def test_equal_sides_are_half_right() -> None:
    rows = preferred([pair("a", "a")], Fixed(LogProbs(-1.0, 2, -1.0, 2)))
    assert [r.value for r in rows] == [0.5, 0.5, 0.0, 0.0]


@settings(max_examples=30)
@given(st.floats(-50, 0), st.floats(-50, 0), st.integers(1, 9), st.integers(1, 9))
def test_exchanged_sides_exchange_the_score(one: float, other: float, few: int, many: int) -> None:
    rows = preferred([pair("a", "b")], Fixed(LogProbs(one, few, other, many)))
    back = preferred([pair("a", "b")], Fixed(LogProbs(other, many, one, few)))
    for row, turned in zip(rows, back, strict=True):
        assert row.value + turned.value == pytest.approx(1 if row.measure.startswith("prefers") else 0)


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_no_number_is_a_fault(bad: float) -> None:
    with pytest.raises(Fault, match="log p of the sides of p"):
        preferred([pair("a", "b")], Fixed(LogProbs(bad, 1, -1.0, 1)))


def test_pairs_and_answers_are_counted() -> None:
    with pytest.raises(GuardBroken, match="0 answers to 1 pairs"):
        preferred([pair("a", "b")], Fixed())


# --- streams ---

RIGHT = (True, True, False, True)


@pytest.mark.parametrize(
    ("off", "expected"),
    [
        (0, (6 + 2) / 10),  # on time: six silent frames, two leading tokens
        (-2, (6 - 2) / 10),  # two frames early
        (-9, 0.0),  # earlier than its silence began
        (3, (6 - 1) / 10),  # late, by however much
    ],
)
def test_fluency_by_hand(off: int, expected: float) -> None:
    assert fluency(Told(6, off, off / 2, (-1.0,) * 4, RIGHT)) == pytest.approx(expected)


@settings(max_examples=50)
@given(st.integers(0, 20), st.integers(-30, 30), st.lists(st.booleans(), min_size=1, max_size=8))
def test_fluency_is_a_share_and_one_where_all_is_right(silent: int, off: int, right: list[bool]) -> None:
    told = Told(silent, off, 0.0, (-1.0,) * len(right), tuple(right))
    assert 0 <= fluency(told) <= 1
    assert (fluency(told) == 1) == (off == 0 and all(right))
    assert leading(told) == len(right[: right.index(False)] if False in right else right)


WATCH = stream((0.0, ask("Tell me when it stops.")), (2.0, tell("It stops.")), (5.0, tell("Again.")))


def test_streams_by_hand() -> None:
    told = [Told(4, 0, 0.0, (-1.0, -1.0, -4.0), (True, True, True)), Told(6, 1, -0.5, (-2.0,), (False,))]
    rows = followed([WATCH], Following(told))
    found = {(r.key, r.measure): r.value for r in rows}
    assert [found["w.0", m] for m in ("nll", "time_diff_s", "fluency", "lm_right")] == [2.0, 0.0, 1.0, 1.0]
    assert [found["w.1", m] for m in ("nll", "time_diff_s", "fluency", "lm_right")] == [2.0, 0.5, 5 / 7, 0.0]


def test_perplexity_is_of_tokens_and_not_of_answers() -> None:
    # -1 over one token and -5 over three: the mean over tokens is (1 + 5) / 4, over answers it would be (1 + 5/3) / 2.
    told = [Told(1, 0, 0.0, (-1.0,), (True,)), Told(1, 0, 0.0, (-1.0, -1.0, -3.0), (True,) * 3)]
    found = {f.measure: f.mean.mean for f in figures(followed([WATCH], Following(told))) if f.by == "all"}
    assert found["nll"] == pytest.approx(1.5)
    assert found["lm_ppl"] == pytest.approx(math.exp(1.5))


def test_every_answer_of_every_stream_is_wanted() -> None:
    short: Follower = Following([Told(1, 0, 0.0, (-1.0,), (True,))])
    with pytest.raises(GuardBroken, match="1 answers in 1 streams for 2 turns"):
        followed([WATCH], short)


@pytest.mark.parametrize("log_p", [(), (math.nan,), (-1.0, -1.0)])
def test_tokens_have_numbers(log_p: tuple[float, ...]) -> None:
    told = [Told(1, 0, 0.0, log_p, (True,)), Told(1, 0, 0.0, (-1.0,), (True,))]
    with pytest.raises(Fault, match=r"log p of w\.0"):
        followed([WATCH], Following(told))


def test_silences_run_from_the_turn_before() -> None:
    assert silences_s(WATCH) == [2.0, 3.0]
    assert silences_s(stream((1.5, tell("It moves.")))) == [1.5]


def test_who_never_speaks_is_late_by_the_time_to_the_next_later_turn_or_the_end() -> None:
    assert gaps_s(WATCH) == [3.0, 5.0]
    at_once = stream((1.0, tell("It moves.")), (1.0, ask("Still?")), (4.0, tell("No.")), (10.0, tell("Over.")))
    assert gaps_s(at_once) == [3.0, 6.0, 0.0]


def test_turns_that_no_frame_shows_have_no_rows() -> None:
    rows = followed([WATCH], Following([None, Told(6, 0, 0.0, (-2.0,), (True,))]))
    assert {r.key for r in rows if r.measure != "quiet"} == {"w.1"}


def test_a_stream_in_which_nothing_is_to_be_said_is_scored_by_its_silence() -> None:
    rows = followed([stream((0.0, ask("Tell me when it stops.")))], Following([]))
    assert [(r.key, r.measure, r.value, r.prior) for r in rows] == [("w", "quiet", 2 / 3, 1.0)]
    assert followed([stream((0.0, ask("Tell me when it stops.")))], Following([], due=0)) == []


def test_beside_fluency_stands_that_of_silence() -> None:
    rows = followed([WATCH], Following([Told(4, 0, 0.0, (-1.0,) * 4, RIGHT), Told(1, 0, 0.0, (-1.0,), (True,))]))
    assert [r.prior for r in rows if r.measure == "fluency"] == [3 / 8, 0.0]
