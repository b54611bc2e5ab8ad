"""Rows are full, and no document is lost, doubled, cut or left behind."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmill.schemas.errors import BadInput
from reelmill.training.data.mixing import Mix
from reelmill.training.data.packing import Packer

LENGTHS = st.lists(st.integers(1, 40), max_size=60)


def rows(lengths: Sequence[int], length: int, buffer: int) -> Iterator[list[int]]:
    """All rows of documents that are named by their number."""
    packer = Packer[int](length, buffer)
    for number, tokens in enumerate(lengths):
        packer.add(number, str(number), tokens)
        while packer.full and (row := packer.row()):
            yield row
    while row := packer.row():
        yield row


@given(LENGTHS, st.integers(8, 32), st.integers(1, 12))
def test_nothing_is_lost_doubled_cut_or_too_long(lengths: list[int], length: int, buffer: int) -> None:
    made = list(rows(lengths, length, buffer))
    fits = [n for n, tokens in enumerate(lengths) if tokens <= length]
    assert sorted(n for row in made for n in row) == fits
    assert all(sum(lengths[n] for n in row) <= length for row in made)
    assert made == list(rows(lengths, length, buffer))
    assert all(row == sorted(row) for row in made)


@given(LENGTHS, st.integers(8, 32), st.integers(1, 12))
def test_a_row_has_no_room_for_what_waited(lengths: list[int], length: int, buffer: int) -> None:
    """Had anything that was left in the buffer fitted, it would be in the row."""
    packer = Packer[int](length, buffer)
    for number, tokens in enumerate(lengths):
        packer.add(number, str(number), tokens)
        if packer.full:
            room = length - sum(lengths[n] for n in packer.row())
            assert all(lengths[n] > room for n in packer.waiting)


@given(st.lists(st.integers(1, 20), min_size=10, max_size=80))
def test_nobody_waits_for_ever(lengths: list[int]) -> None:
    """A row begins with who waits longest, so a document is at most as many rows behind as there were before it."""
    for number, row in enumerate(rows(lengths, 20, 10)):
        assert min(row) <= number * 20


def test_documents_that_fit_no_row_are_named() -> None:
    packer = Packer[str](10, 4)
    for name, tokens in (("long", 11), ("right", 10), ("longer", 300)):
        packer.add(name, name, tokens)
    assert packer.refused == {"long": 11, "longer": 300}
    assert (len(packer), packer.row(), packer.row()) == (1, ["right"], [])


@pytest.mark.parametrize(("median", "spread"), [(300, 0.8), (1200, 0.8), (2500, 0.6)])
def test_rows_of_16k_are_98_percent_full(median: float, spread: float) -> None:
    """Log-normal lengths, from many short dialogues to a dozen long ones a row; the last rows drain the buffer."""
    draw = random.Random(0)
    lengths = [min(16_384, max(30, round(draw.lognormvariate(math.log(median), spread)))) for _ in range(6_000)]
    made = [sum(lengths[n] for n in row) for row in rows(lengths, 16_384, 512)]
    full = made[: -1 - 512 * sum(lengths) // len(lengths) // 16_384]
    assert sum(full) / len(full) / 16_384 >= 0.98


def test_short_documents_fill_a_row_too() -> None:
    """A buffer of eight of these is not half a row."""
    lengths = [30 + n % 50 for n in range(2_000)]
    full = [sum(lengths[n] for n in row) for row in rows(lengths, 1_000, 8)][:-3]
    assert sum(full) / len(full) / 1_000 >= 0.98


def test_the_state_is_what_waits_in_order() -> None:
    """Taken up by adding what waits once more: only its order counts, not when it came."""
    draw = random.Random(1)
    lengths = [draw.randint(1, 30) for _ in range(200)]
    whole, stopped = Packer[int](64, 20), Packer[int](64, 20)
    for number in range(100):
        for packer in (whole, stopped):
            packer.add(number, str(number), lengths[number])
            if packer.full:
                packer.row()
    again = Packer[int](64, 20)
    for number in stopped.waiting:
        again.add(number, str(number), lengths[number])
    for number in range(100, 200):
        for packer in (whole, again):
            packer.add(number, str(number), lengths[number])
        if whole.full:
            assert whole.row() == again.row()


# --- mixing ---


@settings(max_examples=50)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_shares_hold_over_any_stretch(weights: list[int]) -> None:
    mix, total = Mix([float(w) for w in weights]), sum(weights)
    for turns in range(1, 300):
        mix.turn()
        off = max(abs(n - turns * w / total) for n, w in zip(mix.turns, weights, strict=True))
        assert off < len(weights) / 2 + 0.51, (weights, turns)
    assert sum(mix.turns) == 299


def test_shares_are_exact_after_a_whole_round() -> None:
    mix = Mix([5.0, 3.0, 2.0])
    for _ in range(40):
        mix.turn()
    assert mix.turns == [20, 12, 8]


def test_the_rest_goes_on_when_one_ends() -> None:
    mix = Mix([2.0, 1.0, 1.0])
    mix.ended.add(0)
    assert [mix.turn() for _ in range(4)] == [1, 2, 1, 2]
    mix.ended |= {1, 2}
    assert mix.turn() is None


@pytest.mark.parametrize("weights", [[], [1.0, 0.0], [-1.0]])
def test_weights_must_be_positive(weights: list[float]) -> None:
    with pytest.raises(BadInput, match="give each source a weight"):
        Mix(weights)
