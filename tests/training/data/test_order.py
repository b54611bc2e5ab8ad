"""Units come once an epoch, in an order that a state takes up to the unit."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.schemas.errors import BadInput
from reelmill.training.data.order import Order

ENDS = st.lists(st.integers(1, 9), min_size=1, max_size=5).map(lambda sizes: list(itertools.accumulate(sizes)))


@given(ENDS, st.integers(0, 5), st.integers(0, 12))
def test_an_epoch_gives_every_unit_once(ends: list[int], seed: int, buffer: int) -> None:
    order = list(Order(ends, seed, buffer, epochs=3))
    size = ends[-1]
    assert [sorted(order[e * size : (e + 1) * size]) for e in range(3)] == [list(range(size))] * 3


@given(ENDS, st.integers(0, 3), st.integers(0, 12), st.integers(0, 60))
def test_a_state_is_taken_up_anywhere(ends: list[int], seed: int, buffer: int, stop: int) -> None:
    whole = Order(ends, seed, buffer)
    seen = list(itertools.islice(whole, 80))
    half = Order(ends, seed, buffer)
    head = list(itertools.islice(half, stop))
    rest = Order(ends, seed, buffer)
    rest.load(json.loads(json.dumps(half.state())))
    assert head + list(itertools.islice(rest, 80 - stop)) == seen


def test_epochs_and_seeds_differ_and_no_buffer_keeps_the_order() -> None:
    first = list(Order([40, 90], 0, 16, epochs=2))
    assert first[:90] != first[90:]
    assert first != list(Order([40, 90], 1, 16, epochs=2))
    assert list(Order([40, 90], 0, 0, epochs=1)) == list(range(90))


def test_another_process_draws_the_same() -> None:
    code = "from reelmill.training.data.order import Order; print(list(Order([7, 20], 3, 4, epochs=2)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(list(Order([7, 20], 3, 4, epochs=2)))


@given(ENDS, st.integers(1, 4))
def test_parts_share_an_epoch(ends: list[int], parts: int) -> None:
    shares = [list(Order(ends, 0, 3, epochs=1, part=p, parts=parts)) for p in range(parts)]
    assert sorted(itertools.chain(*shares)) == list(range(ends[-1]))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_buffer_mixes_shards_and_stays_small() -> None:
    order = Order([100, 200, 300], 0, 64)
    seen = list(itertools.islice(order, 150))
    assert len(order.state()["waiting"]) < 64
    assert len({unit // 100 for unit in seen[50:100]}) > 1


@pytest.mark.parametrize("other", [Order([3], 1, 4), Order([3], 0, 5), Order([4], 0, 4), Order([3], 0, 4, None, 0, 2)])
def test_a_state_of_other_settings_is_refused(other: Order) -> None:
    with pytest.raises(BadInput, match="resume with the settings"):
        other.load(Order([3], 0, 4).state())


def test_a_part_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadInput, match="part 2 of 2"):
        Order([3], 0, 4, None, 2, 2)
