"""Perturbations as functions of n: never the identity, distinct stages, and nothing lost that was not dropped."""

from __future__ import annotations

import random
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.pipelines.views import perturb
from reelmill.schemas.span import Span

SMALL = range(2, 8)


@pytest.mark.parametrize("n", SMALL)
def test_no_draw_is_the_identity_and_none_loses_an_item(n):
    everything = set(range(n))
    for size in perturb.block_sizes(n):
        drawn = {perturb.shuffled_blocks(n, size, random.Random(seed)) for seed in range(400)}
        drawn.add(perturb.reversed_blocks(n, size))
        assert all(not perturb.is_identity(o, n) and set(o) == everything and len(o) == n for o in drawn)
    swaps = [perturb.swapped(n, at) for at in range(n - 1)]
    assert len(set(swaps)) == n - 1
    assert not any(perturb.is_identity(o, n) for o in swaps)
    for count in perturb.drop_counts(n):
        drops = {perturb.dropped(n, count, random.Random(seed)) for seed in range(50)}
        assert all(len(o) == n - count and list(o) == sorted(o) and set(o) <= everything for o in drops)
        assert len(drops) > 1


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_shuffle_of_single_items_reaches_every_order_but_the_identity(n):
    drawn = {perturb.shuffled_blocks(n, 1, random.Random(seed)) for seed in range(600)}
    assert drawn == set(permutations(range(n))) - {tuple(range(n))}


@pytest.mark.parametrize(("n", "size"), [(2, 1), (3, 1), (4, 1), (5, 2), (8, 4), (7, 3)])
def test_there_are_as_many_shuffles_as_orders_are_drawn(n, size):
    drawn = {perturb.shuffled_blocks(n, size, random.Random(seed)) for seed in range(600)}
    assert perturb.shuffles(n, size) == len(drawn)


def test_two_blocks_have_one_other_order():
    """TEMPLE's r = 2 shuffles two blocks, and half of its shuffles change nothing."""
    assert {perturb.shuffled_blocks(8, 4, random.Random(s)) for s in range(20)} == {(4, 5, 6, 7, 0, 1, 2, 3)}
    with pytest.raises(ValueError, match="want two blocks or more, seen 1"):
        perturb.shuffled_blocks(3, 3, random.Random(0))


@given(st.integers(0, 40))
def test_stages_are_distinct_and_begin_with_the_strongest(n):
    sizes, counts = perturb.block_sizes(n), perturb.drop_counts(n)
    structures = [perturb.blocks(n, size) for size in sizes]
    assert len(set(structures)) == len(structures)
    assert all(len(s) >= 2 and sum(map(len, s)) == n for s in structures)
    assert [len(s) for s in structures] == sorted((len(s) for s in structures), reverse=True)
    assert list(counts) == sorted(set(counts), reverse=True)
    assert all(1 <= c < n for c in counts)
    assert bool(sizes) == bool(counts) == (n >= 2)


def test_temples_strengths_are_kept_where_the_list_is_long_enough():
    assert [perturb.block_sizes(n) for n in (1, 2, 4, 7, 8, 16, 32)] == [
        (),
        (1,),
        (1, 2),
        (1, 3),
        (1, 2, 4),
        (1, 2, 4, 8),
        (2, 4, 8, 16),
    ]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_weaving_keeps_what_each_owner_does_in_its_own_order(owners, rng):
    order = rng.sample(range(len(owners)), len(owners))
    woven = perturb.woven(owners, order)
    assert sorted(woven) == list(range(len(owners)))
    assert [owners[i] for i in woven] == [owners[i] for i in order]
    for owner in set(owners):
        assert [i for i in woven if owners[i] == owner] == [i for i, o in enumerate(owners) if o == owner]
    assert perturb.keeps_turns(owners, woven)


def test_an_order_that_lets_a_thing_leave_first_does_not_keep_turns():
    assert not perturb.keeps_turns("aab", (1, 0, 2))
    assert perturb.keeps_turns("aab", (0, 2, 1))


def test_items_follow_the_frames_that_they_stand_at():
    assert perturb.framed((0, 0, 2, 3), (2, 3, 0, 1)) == (2, 3, 0, 1)
    assert perturb.framed((0, 1, 2), (0, 1, 2)) == (0, 1, 2)


def test_the_share_that_is_touched():
    assert perturb.moved_share((1, 0, 2, 3), 4) == 0.5
    assert perturb.moved_share((0, 3), 4) == 0.5
    assert perturb.moved_share((0, 1, 2, 3), 4) == 0.0


def test_a_span_is_moved_whole_or_not_at_all():
    assert perturb.shifted(Span(1.0, 2.0), 0.5, 4.0) == Span(1.5, 2.5)
    assert perturb.shifted(Span(1.0, 2.0), -1.5, 4.0) is None
    assert perturb.shifted(Span(1.0, 2.0), 2.5, 4.0) is None
