"""Pairs by false statements: counted by hand, drawn by seed, and nothing false on the chosen side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from view_rows import row, shown, video

from reelmill.annotators.annotator import Annotator
from reelmill.pipelines import fact_pairs, sampled_answers
from reelmill.pipelines.views.fact_pairs import PAIRS, CompareFacts, checked
from reelmill.schemas import arrow
from reelmill.schemas.answer import CheckedFact
from reelmill.schemas.column import schema
from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import PreferenceSample

ANSWERS = ("A red circle enters.", "A red dog enters and stops.", "a red  circle enters.", "Nice.", "A dog stops.")
HOLDS = ((True,), (True, False, False), (True,), (), (False,))


def facts(holds: Sequence[Sequence[bool]]) -> tuple[CheckedFact, ...]:
    return tuple(
        CheckedFact(number, f"statement {number}.{i}", held, 1.0 if held else -1.0)
        for number, own in enumerate(holds)
        for i, held in enumerate(own)
    )


def outcomes(step: CompareFacts, *keys: str, holds: Sequence[Sequence[bool]] = HOLDS) -> list[dict[str, Any]]:
    rows = [row(video(), shown(0, 50), key=key, answers=ANSWERS, facts=facts(holds)) for key in keys]
    out: list[dict[str, Any]] = step(pa.Table.from_pylist(rows, schema=schema(*step.needs))).to_pylist()
    assert all(one["fault"] is None for one in out), out
    return out


def pairs(step: CompareFacts | None = None, key: str = "clip") -> tuple[PreferenceSample, ...]:
    found: tuple[PreferenceSample, ...] = arrow.typed(PAIRS.hint, outcomes(step or CompareFacts(), key)[0]["samples"])
    return found


def test_it_is_an_annotator() -> None:
    assert isinstance(CompareFacts(), Annotator)


def test_answers_of_one_text_are_one_and_those_without_statements_are_none() -> None:
    assert [(a.number, a.false) for a in checked(ANSWERS, facts(HOLDS))] == [(0, 0), (1, 2), (4, 1)]


def test_pairs_by_hand() -> None:
    found = {p.rejected[0].text: p for p in pairs()}
    assert set(found) == {ANSWERS[1], ANSWERS[4]}
    assert {p.turns[-1].text for p in found.values()} == {ANSWERS[0]}
    two = found[ANSWERS[1]]
    assert two.perturbation.strength == pytest.approx(2 / 3)
    assert (two.margin, two.perturbation.items) == (2.0, 3)
    assert (two.method, two.perturbation.kind) == ("model:false_statements", "sampled")
    assert [(c.rejected, c.holds) for c in two.claims] == [(False, True), (True, True), (True, False), (True, False)]


def test_a_wider_gap_leaves_fewer_pairs_and_the_draw_is_by_seed() -> None:
    assert [p.margin for p in pairs(CompareFacts(least_gap=2))] == [2.0]
    drawn = {seed: [p.key for p in pairs(CompareFacts(most_pairs=1, seed=seed))] for seed in range(8)}
    assert {len(keys) for keys in drawn.values()} == {1}
    assert len({keys[0] for keys in drawn.values()}) == 2
    assert pairs() == pairs()


@pytest.mark.parametrize("holds", [((True,), (True, True), (True,), (), (True,)), ((False,), (False,), (), (), ())])
def test_nothing_to_choose_or_to_reject_is_refused(holds: Sequence[Sequence[bool]]) -> None:
    (out,) = outcomes(CompareFacts(), "clip", holds=holds)
    assert out["verdict"]["reason"] == "no_pair"


def test_a_row_alone_is_the_row_beside_others() -> None:
    step = CompareFacts(most_pairs=1)
    assert outcomes(step, "other", "clip")[1] == outcomes(step, "clip")[0]


def test_missing_engines_are_named() -> None:
    for made in (sampled_answers.recipe, fact_pairs.recipe):
        with pytest.raises(BadInput, match="an engine is missing"):
            made(answer_engine="openai:m@http://127.0.0.1:1/v1")


def test_sampling_is_identity_and_engine_addresses_are_not() -> None:
    def of(port: int, **changed: Any) -> str:
        engine = f"openai:m@http://127.0.0.1:{port}/v1"
        return fact_pairs.recipe(engine, engine, **changed).fingerprint_hash()

    assert of(1) == of(2)
    assert len({of(1), of(1, samples=4), of(1, temperature=1.0), of(1, least_gap=2), of(1, seed=3)}) == 5
