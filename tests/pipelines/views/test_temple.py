"""Pairs about whole films: exact truth in, exactly right pairs out by a checker of its own, which sees every defect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from film_rows import Shot, film_row, true_film
from view_rows import compiled, event

from reelmill.annotators.annotator import Annotator
from reelmill.pipelines._recipe import step_identity
from reelmill.pipelines.views.checks.temple import check_temple
from reelmill.pipelines.views.temple import EVERY_SCENE, CompareCaptionedFilms, CompareFilms
from reelmill.schemas.errors import BadInput
from reelmill.schemas.event import Event
from reelmill.schemas.sample import PreferenceSample, Turn
from reelmill.schemas.span import Span
from reelmill.sinks.publishing.blind import pair_of

NAMES = ("red circle", "blue square", "green star", "black cross", "white triangle", "yellow diamond")


def plain(names: Sequence[str] = NAMES) -> list[Shot]:
    """Shots of two seconds, in each of which one thing enters."""
    return [Shot(Span(2.0 * n, 2.0 * n + 2), (_enters(name, n),)) for n, name in enumerate(names)]


def _enters(name: str, number: int, **own: Any) -> Event:
    return replace(event(f"the {name}", "enters", 0.3, 0.6, **own), key=f"e{number}")


def pairs(shots: Sequence[Shot], step: CompareFilms | None = None, key: str = "film") -> list[PreferenceSample]:
    (out,) = compiled(step or CompareFilms(), film_row(shots, key))
    assert out["verdict"] is None, out["verdict"]
    return list(out["samples"])


def accepted(found: Sequence[PreferenceSample]) -> list[PreferenceSample]:
    return [p for p in found if p.verdict.accepted]


def truth_of(shots: Sequence[Shot]) -> tuple[list[Event], list[Span]]:
    events = [replace(e, span=e.span.shifted(s.span.start_s)) for s in shots for e in s.events]
    return events, [s.span for s in shots]


def test_they_are_annotators() -> None:
    assert isinstance(CompareFilms(), Annotator)
    assert isinstance(CompareCaptionedFilms(), Annotator)


def test_what_is_made_of_a_film_of_six_shots() -> None:
    found = pairs(plain())
    made = Counter((p.task, p.perturbation.kind, p.perturbation.stage) for p in accepted(found))
    orders = {("account", kind, 0) for kind in ("shuffle", "reverse", "swap")}
    assert set(made) >= {*orders, ("window", "drop", 0), ("window", "insert", 1)}
    assert made["account", "shuffle", 1] + made["account", "reverse", 1] <= 1, "two blocks have one other order"
    assert set(made.values()) == {1}
    for pair in accepted(found):
        assert pair.parent_key == "film"
        assert len(pair.turns[0].src_s) == (2 if pair.task == "window" else 0)
        assert check_temple(pair, *truth_of(plain())) == []
    swap = next(p for p in found if p.perturbation.kind == "swap")
    assert swap.perturbation.strength == pytest.approx(2 / 6)
    assert swap.margin == pytest.approx(1 / 11), "6 captions stand, of 5 orders one fails"


def test_a_drop_and_its_insert_have_the_same_texts_the_other_way_round() -> None:
    windows = [p for p in accepted(pairs(plain())) if p.task == "window"]
    by_stage = {(p.perturbation.stage, p.perturbation.kind): p for p in windows}
    for stage in {stage for stage, _ in by_stage}:
        drop, insert = by_stage[stage, "drop"], by_stage[stage, "insert"]
        assert (drop.turns[-1], drop.rejected[0]) == (insert.rejected[0], insert.turns[-1])
        assert drop.turns[0].src_s != insert.turns[0].src_s
        assert drop.perturbation.strength == insert.perturbation.strength == (3, 1)[stage] / 6


def test_stages_grow_harder_and_no_two_are_alike() -> None:
    for n in (4, 5, 6):
        found = accepted(pairs(plain(NAMES[:n])))
        texts = [(p.turns[-1].text.split()[-3:], p.rejected[0].text, p.turns[0].src_s) for p in found]
        assert all(texts.count(t) == 1 for t in texts)
        for kind in ("drop", "insert"):
            shares = [p.perturbation.strength for p in found if p.perturbation.kind == kind]
            assert len(set(shares)) == len(shares)
    assert all(p.perturbation.order != tuple(range(p.perturbation.items)) for p in found)


def test_what_could_be_so_is_not_told_as_false() -> None:
    """A scene that shows the same comes back, or may: refused events and vaguer names count for the rejected side."""
    again = plain(("red circle", "blue square", "red circle", "blue square", "red circle", "blue square"))
    swaps = [p for n in range(5) for p in pairs(again, key=f"f{n}") if p.perturbation.kind == "swap"]
    assert {p.verdict.reason for p in swaps} == {"rejected_is_true"}
    vague = plain(("red circle", "blue square", "green star", "orange object"))
    claims = [c for n in range(5) for p in pairs(vague, key=f"f{n}") for c in p.claims if c.rejected]
    first = [c.holds for c in claims if c.text == "the orange object enters before the red circle enters"]
    assert set(first) == {True}, "it may have been the red circle: open, which helps neither side"
    doubt = plain()
    doubt[5] = replace(doubt[5], events=(*doubt[5].events, _enters("red circle", 9, accepted=False)))
    found = [c for n in range(5) for p in pairs(doubt, key=f"f{n}") for c in p.claims if c.rejected and not c.holds]
    assert not any(c.text.startswith("the blue square enters before the red circle") for c in found)
    assert all(p.turns[0].src_s[1] <= 10.0 for p in pairs(doubt) if p.task == "window"), "the last shot is not settled"


def test_from_true_events_every_pair_is_exactly_right() -> None:
    made: Counter[str] = Counter()
    for seed in range(4):
        row, events, shots = true_film(seed)
        (out,) = compiled(CompareFilms(), row)
        for pair in accepted(out["samples"] or ()):
            assert check_temple(pair, events, shots) == [], pair
            made[pair.perturbation.kind] += 1
    assert set(made) == {"shuffle", "reverse", "swap", "frames", "drop", "insert"}
    assert min(made.values()) >= 3


def lies(pair: PreferenceSample) -> Iterator[tuple[str, PreferenceSample]]:
    """Seeded defects of a good pair, each of which the checker must see."""
    question, chosen = pair.turns
    yield "sides exchanged", replace(pair, turns=(question, *pair.rejected), rejected=(chosen,))
    yield "rejected is chosen", replace(pair, rejected=(chosen,))
    yield "another thing", _told(pair, replace(chosen, text=chosen.text.replace("red circle", "brown cross")))
    yield "another verb", _told(pair, replace(chosen, text=chosen.text.replace("enters", "leaves")))
    yield "margin", replace(pair, margin=pair.margin / 2)
    yield "claim", replace(pair, claims=tuple(replace(c, holds=True) for c in pair.claims))
    yield "chosen claim", replace(pair, claims=tuple(replace(c, holds=False) for c in pair.claims))
    yield "frames", replace(pair, frames=pair.frames[::-1])
    yield "role", replace(pair, rejected=(question,))
    yield "time", replace(pair, turns=(replace(question, src_s=(*question.src_s, 1.0)), chosen))
    how = pair.perturbation
    if how.order:
        yield "identity", replace(pair, perturbation=replace(how, order=tuple(range(how.items))))
    if pair.task == "window":
        yield "not complete", _told(pair, replace(chosen, text=chosen.text.rpartition(". ")[0] + "."))


def _told(pair: PreferenceSample, chosen: Turn) -> PreferenceSample:
    return replace(pair, turns=(pair.turns[0], chosen))


def test_the_check_finds_every_seeded_defect() -> None:
    seen: Counter[str] = Counter()
    for pair in accepted(pairs(plain())):
        for name, lie in lies(pair):
            if lie.turns != pair.turns or lie != pair:
                assert check_temple(lie, *truth_of(plain())), (name, lie)
                seen[name] += 1
    assert len(seen) == 12


def test_captions_in_a_models_words_have_their_place_and_nothing_more_is_claimed() -> None:
    said = [f"A person does thing {n}. It is {n} USER: o'clock." for n in range(6)]
    shots = [replace(s, caption=c) for s, c in zip(plain(), said, strict=True)]
    found = accepted(pairs(shots, CompareCaptionedFilms()))
    assert {p.perturbation.kind for p in found} == {"shuffle", "reverse", "swap", "frames", "drop", "insert"}
    for pair in found:
        assert (pair.method, pair.label_confidence) == ("model", 0.5)
        assert "USER :" in pair.turns[-1].text, "a caption forges no role"
        order = [int(part[0]) for part in pair.turns[-1].text.split("does thing ")[1:]]
        assert order == sorted(order)
        assert [int(part[0]) for part in pair.rejected[0].text.split("does thing ")[1:]] != order
    assert {c.text for p in found for c in p.claims} >= {EVERY_SCENE}
    twice = [replace(s, caption="The same.") for s in plain()]
    assert accepted(pairs(twice, CompareCaptionedFilms())) == []


def test_a_film_alone_is_the_film_in_any_batch() -> None:
    rows = [film_row(plain(NAMES[:n]), f"film{n}") for n in (3, 5, 6)]
    together = compiled(CompareFilms(), *rows)
    assert [compiled(CompareFilms(), row)[0] for row in rows] == together
    assert compiled(CompareFilms(), *rows[::-1]) == together[::-1]


def test_every_choice_is_identity_and_an_unknown_one_is_named() -> None:
    plain_step = step_identity(CompareFilms())
    for other in (CompareFilms(seed=1), CompareFilms(over=0.9), CompareFilms(order_s=0.1), CompareFilms(show="key")):
        assert step_identity(other) != plain_step
    with pytest.raises(BadInput, match="frames=none"):
        CompareFilms(show="none")


def test_a_blind_reader_has_drops_and_inserts_as_one_kind() -> None:
    kinds = {pair_of(p).kind for p in accepted(pairs(plain()))}
    assert kinds >= {"window: drop or insert", "account: swap"}
