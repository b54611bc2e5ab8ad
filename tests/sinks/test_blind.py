"""Blind readers find a planted leak of each sort and nothing where there is none; what mirrors itself stays."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from pair_rows import pairs_of
from view_rows import event, video

from reelmill.sinks.publishing import blind
from reelmill.sinks.publishing.blind import Kept, Pair, Side, audit, audit_in_sequence, length_ratio, mirrored, pair_of

NAMES = ("red circle", "blue square", "pink star", "green cross")


def side(*steps: tuple[str, str], times: tuple[float, ...] = ()) -> Side:
    return Side(" ".join(f"The {name} {kind}." for name, kind in steps), steps, times)


def made(n: int, rng: random.Random, chosen, rejected, kind: str = "k") -> list[Pair]:
    """Pairs of two drawn names a and b; two pairs per source."""
    drawn = [rng.sample(NAMES, 2) for _ in range(n)]
    return [Pair(f"p{i:04d}", kind, f"s{i // 2}", chosen(a, b), rejected(a, b)) for i, (a, b) in enumerate(drawn)]


def told(pairs: list[Pair]) -> dict[str, blind.Told]:
    return {t.reader: t for t in audit(pairs)}


def test_where_only_names_are_exchanged_nobody_can_tell():
    pairs = made(
        100,
        random.Random(1),
        lambda a, b: side((a, "enters"), (b, "stops")),
        lambda a, b: side((b, "enters"), (a, "stops")),
    )
    found = told(pairs)
    assert (found["length"].auc, found["order"].auc) == (0.5, 0.5)
    assert found["words"].low < 0.5 < found["words"].high
    assert 0.3 < audit_in_sequence(pairs).auc < 0.7
    assert mirrored(pairs) == {p.key for p in pairs}


def test_an_order_that_nothing_has_is_found_out():
    pairs = made(
        80,
        random.Random(2),
        lambda a, b: side((a, "enters"), (b, "stops"), (a, "leaves")),
        lambda a, b: side((a, "leaves"), (b, "stops"), (a, "enters")),
    )
    found = told(pairs)
    assert found["order"].auc == 1.0
    assert found["length"].auc == 0.5
    assert audit_in_sequence(pairs).auc > 0.95
    assert mirrored(pairs) == frozenset()


def test_a_shorter_side_a_rare_word_and_an_odd_time_are_found_out():
    rng = random.Random(3)
    shorter = made(40, rng, lambda a, b: side((a, "enters"), (b, "stops")), lambda a, b: side((a, "enters")))
    assert told(shorter)["length"].auc == 1.0
    rare = made(40, rng, lambda a, b: side((a, "stops")), lambda a, b: side(("grey blob", "stops")))
    assert told(rare)["words"].auc == 1.0
    late = made(
        40,
        rng,
        lambda a, b: side((a, "stops"), times=(0.5, 1.0)),
        lambda a, b: side((a, "stops"), times=(0.2, 0.7)),
    )
    assert told(late)["times"].auc == 1.0
    assert "times" not in told(rare)


def test_no_source_is_learned_from_and_asked_about():
    pairs = made(60, random.Random(4), lambda a, b: side((a, "enters")), lambda a, b: side((b, "enters")))
    for train, test in blind._folds(pairs, 5, 0):
        assert {pairs[i].source for i in train}.isdisjoint({pairs[i].source for i in test})
        assert len(train) + len(test) == len(pairs)
    assert audit(pairs[:6]) == (), "three sources cannot be dealt to five folds"


def test_a_pair_stays_with_its_mirror_and_kind_by_kind():
    one, other = side(("red circle", "enters"), ("red circle", "stops")), side(("red circle", "stops"))
    there, back = Pair("a", "k", "s", one, other), Pair("b", "k", "s", other, one)
    assert mirrored([there, back]) == {"a", "b"}
    assert mirrored([there, replace(back, kind="another")]) == frozenset()
    assert mirrored([there, replace(there, key="c"), back]) == {"a", "b"}
    renamed = replace(
        back, chosen=side(("blue square", "stops")), rejected=side(("blue square", "enters"), ("blue square", "stops"))
    )
    assert mirrored([there, renamed]) == {"a", "b"}


def test_another_colour_is_mirrored_by_the_exchange_back_only():
    def turned(to: str, by: str, key: str) -> Pair:
        return Pair(key, "k", "s", side((f"{to} circle", "stops")), side((f"{by} circle", "stops")))

    assert mirrored([turned("red", "blue", "a"), turned("blue", "red", "b")]) == {"a", "b"}
    assert mirrored([turned("red", "blue", "a"), turned("blue", "pink", "b")]) == frozenset()


def test_a_sample_becomes_what_a_reader_has():
    two = (event("the red circle", "enters", 1.0, 1.5), event("the blue square", "enters", 3.0, 3.4))
    pairs = [pair_of(s) for s in pairs_of(two) if s.verdict.accepted]
    orders = {f"account: {kind}" for kind in ("shuffle", "reverse", "swap", "frames")}
    (account,) = [p for p in pairs if p.kind in orders]  # of two items, all four are the same
    assert account.chosen.steps == (("red circle", "enters"), ("blue square", "enters"))
    assert account.rejected.steps == account.chosen.steps[::-1]
    assert {p.kind for p in pairs} >= {"order: swap", "grounding: borrowed"}
    borrowed = [p for p in pairs if p.kind == "grounding: borrowed"]
    assert {p.chosen.times for p in borrowed} == {(1.0 / 6, 1.5 / 6), (0.5, 3.4 / 6)}
    assert all("1.00 to 1.50 s" in p.chosen.text + p.rejected.text for p in borrowed)
    assert account.source == "d" * 64


def test_a_denial_speaks_of_nothing():
    """Else "no" and "yes, the red circle enters" would look the same to a reader of happenings."""
    two = (event("the red circle", "enters", 1.0, 1.5), event("the blue square", "stops", 3.0, 3.4))
    pairs = [pair_of(s) for s in pairs_of(two) if s.task == "occurrence" and s.perturbation.kind == "drop"]
    assert {(len(p.chosen.steps), len(p.rejected.steps)) for p in pairs} == {(1, 0)}


@pytest.mark.parametrize(
    ("lengths", "ratio"),
    [
        ([(10, 10), (20, 20)], 0.98),
        ([(10, 20), (20, 10)], 0.98),
        ([(10, 20), (10, 10)], 0.48),
        ([(100, 90), (50, 60), (10, 100)], 0.88),
    ],
)
def test_the_ratio_that_balances_lengths(lengths, ratio):
    assert length_ratio(lengths) == pytest.approx(ratio)


def test_no_lengths_have_no_ratio():
    with pytest.raises(ValueError, match="seen none"):
        length_ratio([])


def test_what_a_card_says_is_one_line_for_each_kind():
    kept, added = Kept(), Counter[str]()
    for n in range(30):
        two = (event("the red circle", "enters", 1.0, 1.5), event("the blue square", "enters", 3.0, 3.4))
        for sample in pairs_of(two, key=f"clip{n}", media=replace(video(), digest=f"{n:064x}")):
            if sample.verdict.accepted:
                kept.add(sample)
                added[f"{sample.task}: {sample.perturbation.kind}"] += 1
    lines = {u.kind: u for u in kept.unseen()}
    order, attribute = lines["order: swap"], lines["account: attribute"]
    assert (order.pairs, attribute.pairs) == (added["order: swap"], added["account: attribute"])
    assert order.pairs == 60
    assert 15 < attribute.pairs <= 30, "one a clip, less those that the balance of words refuses"
    assert order.best is attribute.best is None, "too few to say"


def test_a_card_looks_at_the_first_pairs_of_a_kind_and_counts_all(monkeypatch):
    monkeypatch.setattr(blind, "LEAST", 20)
    monkeypatch.setattr(blind, "ENOUGH", 40)
    two = (event("the red circle", "enters", 1.0, 1.5), event("the blue square", "enters", 3.0, 3.4))
    kept = Kept()
    for n in range(60):
        for sample in pairs_of(two, key=f"clip{n}", media=replace(video(), digest=f"{n:064x}")):
            if sample.task == "order":
                kept.add(sample)
    (order,) = kept.unseen()
    assert order.best is not None
    assert order.length is not None
    assert (order.pairs, order.best.pairs, order.length.pairs) == (120, 40, 40)
    assert order.best.auc >= order.length.auc
