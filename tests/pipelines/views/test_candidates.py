"""Candidates made wrong by rule: each rule does what it says, to as many events as it says, or nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.pipelines.views.candidates import RULES, Candidate, Item, Setting, Told, quotas
from reelmill.pipelines.views.cotasks import POOLS
from reelmill.schemas.span import Span

TRUE: Told = tuple(Item(Span(2.0 * n, 2.0 * n + 1.0), f"it does {n}") for n in range(4))


NAMED = {(who, does): f"{who} {does}" for who in ("ann", "bob", "cy") for does in ("runs", "sits")}
PLAY: Told = tuple(
    Item(Span(2.0 * n, 2.0 * n + 1.0), clause)
    for n, clause in enumerate(("ann runs", "bob runs", "ann sits", "bob sits", "cy sits", "it rains"))
)


def away(item: Item) -> bool:
    return all(item.span.tiou(own.span) < 0.5 for own in TRUE)


def made(rule: str, share: float, seed: int = 0, true: Told = TRUE, duration_s: float = 9.0) -> Candidate | None:
    others = {item.clause: ("it does not",) for item in TRUE[:2]}
    things, clause = {c: said for said, c in NAMED.items()}, NAMED
    return RULES[rule](true, share, Setting(random.Random(seed), duration_s, away, others, things, clause))


def sure(found: Candidate | None) -> Candidate:
    assert found is not None
    return found


def clauses(told: Sequence[Item]) -> list[str]:
    return [i.clause for i in told]


def test_drop_leaves_out_as_many_as_it_says_and_never_all() -> None:
    half = sure(made("drop", 0.5))
    assert (half.touched, len(half.told)) == (2, 2)
    assert half.told == tuple(TRUE[i] for i in half.order)
    assert (sure(made("drop", 1.0)).touched, len(sure(made("drop", 1.0)).told)) == (3, 1)
    assert made("drop", 1.0, true=TRUE[:1]) is None


def test_merge_tells_neighbours_as_one() -> None:
    every = sure(made("merge", 1.0))
    assert every.told == (Item(Span(0.0, 7.0), "it does 0, and it does 1, and it does 2, and it does 3"),)
    two = sure(made("merge", 0.34))
    assert (two.touched, len(two.told)) == (2, 3)
    first = two.order.index(next(i for i in two.order if i + 1 not in two.order and i < 3))
    assert two.told[first].span == Span(TRUE[first].span.start_s, TRUE[first + 1].span.end_s)
    assert made("merge", 1.0, true=TRUE[:1]) is None


@pytest.mark.parametrize("rule", sorted({rule for pool in POOLS.values() for rule in pool.even_rules}))
def test_whether_a_rule_that_keeps_the_form_makes_anything_wrong_is_no_draw(rule: str) -> None:
    accounts = [tuple(own) for n in range(len(PLAY) + 1) for own in combinations(PLAY, n)]
    none = [{made(rule, share, seed, true) is None for seed in range(4) for share in (0.34, 1.0)} for true in accounts]
    assert all(len(found) == 1 for found in none)
    assert {True, False} == set().union(*none)


@pytest.mark.parametrize("share", [0.34, 1.0])
def test_shift_moves_to_where_it_is_wrong_inside_the_clip(share: float) -> None:
    for seed in range(20):
        found = sure(made("shift", share, seed))
        changed = [(a, b) for a, b in zip(found.told, TRUE, strict=True) if a != b]
        assert len(changed) == found.touched <= max(1, round(4 * share))
        for told, true in changed:
            assert told.clause == true.clause
            assert away(told)
            assert 0 <= told.span.start_s < told.span.end_s <= 9.0
            assert told.span.duration_s == pytest.approx(true.span.duration_s, abs=2e-3)


def test_what_fills_the_clip_cannot_be_moved() -> None:
    assert made("shift", 1.0, true=(Item(Span(0.0, 9.0), "x"),)) is None


def test_swap_moves_sentences_and_swap_times_moves_times() -> None:
    for share, touched in ((0.34, 2), (1.0, 4)):
        said, timed = sure(made("swap", share)), sure(made("swap_times", share))
        assert said.touched == timed.touched == touched
        assert [i.span for i in said.told] == [i.span for i in TRUE]
        assert clauses(timed.told) == clauses(TRUE)
        assert sorted(clauses(said.told)) == clauses(TRUE)
        assert {i.span for i in timed.told} == {i.span for i in TRUE}
        assert clauses(said.told) == [TRUE[i].clause for i in said.order] != clauses(TRUE)
    assert made("swap", 1.0, true=TRUE[:1]) is made("swap_times", 1.0, true=TRUE[:1]) is None


def test_exchange_says_nothing_twice_and_nothing_without_a_false_neighbour() -> None:
    found = sure(made("exchange", 1.0))
    assert found.touched == 1
    assert clauses(found.told).count("it does not") == 1
    assert made("exchange", 1.0, true=TRUE[2:]) is None


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9), min_size=1), st.integers(0, 40))
def test_quotas_draw_what_there_is_and_prefer_no_pool(sizes: dict[str, int], total: int) -> None:
    drawn = quotas(sizes, total)
    assert sum(drawn.values()) == min(total, sum(sizes.values()))
    assert all(0 <= drawn[pool] <= size for pool, size in sizes.items())
    even = total // len(sizes)
    assert all(drawn[pool] >= min(size, even) for pool, size in sizes.items())


def test_two_things_change_names_and_nothing_else_changes() -> None:
    pairs = set()
    for seed in range(20):
        found = sure(made("rename", 1.0, seed, PLAY))
        changed = [(a.clause, b.clause) for a, b in zip(PLAY, found.told, strict=True) if a != b]
        assert found.touched == len(changed)
        assert [i.span for i in found.told] == [i.span for i in PLAY]
        assert all(a.split()[1] == b.split()[1] for a, b in changed)
        names = [frozenset((a.split()[0], b.split()[0])) for a, b in changed]
        assert len(set(names)) == 1
        pairs.add(names[0])
    assert len(pairs) == 3
    assert made("rename", 1.0, true=(PLAY[0], PLAY[2], PLAY[5])) is None, "one thing, and rain that nobody names"


def test_things_that_do_the_same_change_times() -> None:
    found = sure(made("exchange_times", 1.0, 0, PLAY))
    starts_s = [i.span.start_s for i in found.told]
    assert starts_s == [2.0, 0.0, 6.0, 4.0, 8.0, 10.0]
    assert clauses(found.told) == clauses(PLAY)
    assert found.touched == 4
    assert made("exchange_times", 1.0, 0, PLAY[2:]) is not None, "bob and cy sit once each"
    assert made("exchange_times", 1.0, 0, (*PLAY[:3], PLAY[4])) is None
