"""A run: killed and resumed it says the same bits, rows of unequal length count by their tokens."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tiny_documents as tiny
import torch

from reelmill.schemas.errors import BadInput, Corrupt, NotFound
from reelmill.training import curves, ladder
from reelmill.training.assemble import from_scratch
from reelmill.training.documents import IGNORED, Document, Pack, packed
from reelmill.training.loop import checkpoint
from reelmill.training.loop.fit import LOG, Fit, Told, frozen_copy, groups
from reelmill.training.loop.plan import Data, Plan, Rates, planned
from reelmill.training.objectives.dpo import DPO, sides
from reelmill.training.objectives.lm import LM, of_row
from reelmill.training.values import Loss
from reelmill.training.vlm import VLM


@dataclass
class Drawn:
    """Packs that are drawn anew from their number."""

    number: int = 0
    answers: tuple[int, ...] = (3,)

    def __iter__(self) -> Iterator[Pack]:
        while True:
            seed = self.number * 2
            self.number += 1
            yield packed([tiny.document(seed + i, answers=self.answers) for i in range(2)])

    def state(self) -> Mapping[str, Any]:
        return {"number": self.number}

    def load(self, state: Mapping[str, Any]) -> None:
        self.number = state["number"]


def plan(**more: Any) -> Plan:
    return Plan("mqt", (Data("nowhere"),), steps=6, keep_every=2, rates=Rates(warmup=2), **more)


def fit(run: Path, made: Plan | None = None, **more: Any) -> Fit:
    made = made or plan()
    made.write(run)
    model, variant = from_scratch(made.variant, ladder.XS, tiny.VOCABULARY, frames=4, seed=made.seed)
    return Fit(made, model, variant.objective, Drawn(), run, **more)


def bits(model: VLM) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


class Killed(Exception):
    """In place of a signal; tests of the verb send real ones."""


@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_a_run_that_was_killed_ends_with_the_same_bits(tmp_path: Path, at: int) -> None:
    """MQT draws its budget at every step, so that generators count too."""
    made = plan(ema=0.9)
    whole = fit(tmp_path / "whole", made)
    whole.go()

    def kill(told: Told) -> None:
        if told.step == at:
            raise Killed

    with pytest.raises(Killed):
        fit(tmp_path / "cut", made, tell=kill).go()
    torch.manual_seed(99)
    again = fit(tmp_path / "cut", made)
    assert again.resume() is (at > 2)
    again.go()
    for name, value in bits(whole.model).items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    assert whole.average is not None
    assert again.average is not None
    assert all(torch.equal(v, again.average.held[n]) for n, v in whole.average.held.items())
    assert (tmp_path / "whole" / LOG).read_bytes() == (tmp_path / "cut" / LOG).read_bytes()


def test_rows_of_unequal_length_count_by_their_tokens() -> None:
    model = ladder.trunk(ladder.XS, tiny.WORDS)
    documents = [tiny.document(1, answers=(1,)), tiny.document(2, answers=(9,)), tiny.document(3, answers=(4,))]
    found = []
    for packs in ([packed(documents)], [packed(documents[:1]), packed(documents[1:])]):
        model.zero_grad()
        losses = [LM()(model, pack) for pack in packs]
        torch.stack([loss.total for loss in losses]).sum().backward()
        weight = torch.stack([loss.weight for loss in losses]).sum()
        found.append([p.grad / weight for p in model.parameters() if p.grad is not None])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_document_s_weight_multiplies_its_tokens() -> None:
    model = ladder.trunk(ladder.XS, tiny.WORDS).eval()
    one, other = tiny.document(1), tiny.document(2)
    with torch.no_grad():
        first, second = (of_row(model, model(packed([d]))) for d in (one, other))
        both = of_row(model, model(packed([replace(one, weight=3.0), other])))
    torch.testing.assert_close(both.total, 3 * first.total + second.total)
    torch.testing.assert_close(both.weight, 3 * first.weight + second.weight)


def test_accumulated_rows_are_one_step(tmp_path: Path) -> None:
    run = fit(tmp_path / "run", plan(accumulate=3))
    told: list[Told] = []
    run.tell = told.append
    run.go()
    assert [t.step for t in told] == [1, 2, 3, 4, 5, 6]
    assert run.packs.state() == {"number": 18}
    assert told[0].tokens == sum(
        t["tokens"] for t in [json.loads((tmp_path / "run" / LOG).read_text().splitlines()[0])]
    )
    assert set(told[0].seconds) == {"wait", "move", "forward", "backward", "update"}
    assert told[0].operations > 0


def test_it_learns_what_it_is_told_again_and_again(tmp_path: Path) -> None:
    @dataclass
    class Same(Drawn):
        def __iter__(self) -> Iterator[Pack]:
            while True:
                self.number = 0
                yield packed([tiny.document(0)])

    made = Plan("llava15", (Data("nowhere"),), steps=40, keep_every=40, rates=Rates(warmup=5))
    made.write(tmp_path)
    model, variant = from_scratch("llava15", ladder.XS, tiny.VOCABULARY, frames=4)
    told: list[Told] = []
    Fit(made, model, variant.objective, Same(), tmp_path, tell=told.append).go()
    assert told[-1].losses["loss"] < 0.05 < 1 < told[0].losses["loss"]


@dataclass
class Nan:
    """A loss that is no number from the third step on."""

    calls: int = 0

    def __call__(self, model: VLM, pack: Pack) -> Loss:
        self.calls += 1
        loss = of_row(model, model(pack))
        return loss if self.calls < 3 else replace(loss, total=loss.total * float("nan"))


def test_a_loss_that_is_no_number_is_one_line_and_overwrites_nothing(tmp_path: Path) -> None:
    run = fit(tmp_path)
    run.objective = Nan()
    with pytest.raises(BadInput, match=r"loss of step 3; seen: nan at rate 0.002; the last checkpoint is of step 2"):
        run.go()
    assert [c.step for c in checkpoint.steps(tmp_path)] == [2]


def test_a_step_that_learns_nothing_is_one_line(tmp_path: Path) -> None:
    """As when every answer of a dataset is left out."""

    @dataclass
    class Mute(Drawn):
        def __iter__(self) -> Iterator[Pack]:
            for pack in super().__iter__():
                yield replace(pack, labels=torch.full_like(pack.labels, IGNORED))

    run = fit(tmp_path)
    run.packs, run.objective = Mute(), LM()
    with pytest.raises(BadInput, match="the loss of step 1; seen: nan"):
        run.go()


def test_no_memory_is_one_line(tmp_path: Path) -> None:
    def full(model: VLM, pack: Pack) -> Loss:
        raise torch.OutOfMemoryError("CUDA out of memory")

    run = fit(tmp_path)
    run.objective = full
    with pytest.raises(BadInput, match="row of 4096 tokens; seen: no memory left"):
        run.go()


def test_data_that_ends_is_one_line(tmp_path: Path) -> None:
    run = fit(tmp_path)
    run.packs = _Ended()
    with pytest.raises(BadInput, match="step 1 of 6; seen: no data left"):
        run.go()


class _Ended(Drawn):
    def __iter__(self) -> Iterator[Pack]:
        yield from ()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    fit(tmp_path).go()
    other, _ = from_scratch("llava15", ladder.XS, tiny.VOCABULARY, frames=4)
    with pytest.raises(BadInput, match=r"holds another model.*of the same variant"):
        checkpoint.newest(tmp_path).weights_into(other)


def test_a_checkpoint_whose_bytes_changed_is_refused(tmp_path: Path) -> None:
    run = fit(tmp_path)
    run.go()
    last = checkpoint.newest(tmp_path)
    path = last.folder / checkpoint.WEIGHTS
    path.write_bytes(path.read_bytes()[:-4] + b"\1\2\3\4")
    with pytest.raises(Corrupt, match=r"model.safetensors is corrupt.*the one before it stands"):
        last.weights_into(run.model)


def test_no_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="none finished"):
        checkpoint.newest(tmp_path)


def test_only_the_newest_are_kept_and_halves_are_not_seen(tmp_path: Path) -> None:
    fit(tmp_path).go()
    assert [c.step for c in checkpoint.steps(tmp_path)] == [4, 6]
    (tmp_path / "checkpoints" / ".step-000008").mkdir()
    assert [c.step for c in checkpoint.steps(tmp_path)] == [4, 6]


def test_a_plan_is_read_as_it_was_written_and_not_replaced(tmp_path: Path) -> None:
    made = plan(settings={"queries": 4})
    made.write(tmp_path)
    assert planned(tmp_path) == made
    made.write(tmp_path)
    with pytest.raises(BadInput, match="has another plan; seen: seed 0 there, 7 here"):
        plan(settings={"queries": 4}, seed=7).write(tmp_path)
    with pytest.raises(NotFound, match=r"no plan.json"):
        planned(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("wrong", "says"), [({"size": "XXL"}, "size 'XXL'"), ({"data": ()}, "needs a dataset"), ({"steps": 0}, "from 1")]
)
def test_a_plan_that_cannot_be_is_one_line(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises((BadInput, NotFound), match=says):
        Plan(**{"variant": "mqt", "data": (Data("x"),), **wrong})


def test_the_rate_rises_stays_and_falls() -> None:
    rates = Rates(rate=1.0, warmup=10, constant=0.6, last=0.05)
    seen = [rates.at(step, 100) for step in range(100)]
    assert seen[0] == pytest.approx(0.1)
    assert set(seen[9:60]) == {1.0}
    assert seen[80] == pytest.approx(0.525)
    assert seen[99] == pytest.approx(0.05, abs=0.03)


def test_a_frozen_part_learns_nothing(tmp_path: Path) -> None:
    run = fit(tmp_path, plan())
    run.plan = replace(run.plan, rates=replace(run.plan.rates, parts={"tower": 0.0, "lm": 0.1}))
    run.__post_init__()
    before = bits(run.model)
    run.go()
    same = {name for name, value in before.items() if torch.equal(value, run.model.state_dict()[name])}
    assert {n for n in before if n.startswith("tower.")} <= same
    assert not any(n.startswith("reducer.query") for n in same)
    assert {g["name"]: g["factor"] for g in groups(run.model, run.plan.rates, run.stages)}["lm"] == 0.1


def pair(seed: int, *answers: int) -> Document:
    return replace(tiny.document(seed, answers=answers), pair=True)


def sides_of(model: VLM, pack: Pack) -> tuple[torch.Tensor, torch.Tensor]:
    seq = model(pack)
    return sides(seq, model.worded(seq), pack)


def test_a_pair_in_one_document_is_two_apart() -> None:
    """With a dialogue between the pairs."""
    model = ladder.trunk(ladder.XS, tiny.WORDS).eval()
    first = pair(4, 3, 5)
    with torch.no_grad():
        logs, counts = sides_of(model, packed([first, tiny.document(7, answers=(4, 1)), pair(5, 2, 2)]))
        apart = [-model.said(model(packed([tiny.branch_alone(first, b)]))).nll.sum() for b in (1, 2)]
    torch.testing.assert_close(logs[0], torch.stack(apart), atol=1e-5, rtol=1e-5)
    assert counts.tolist() == [[3.0, 5.0], [2.0, 2.0]]


def test_preferring_starts_at_one_bit_and_learns(tmp_path: Path) -> None:
    model, _ = from_scratch("llava15", ladder.XS, tiny.VOCABULARY, frames=4)
    model.eval()
    objective, pack = DPO(frozen_copy(model), beta=0.5), packed([pair(6, 3, 3)])
    start = objective(model, pack)
    assert start.total.item() == pytest.approx(0.6931, abs=1e-4)
    made = Plan("llava15", (Data("x"),), steps=8, rates=Rates(rate=1e-3, warmup=1))
    made.write(tmp_path)
    told: list[Told] = []
    Fit(made, model, objective, _Same(), tmp_path, tell=told.append).go()
    assert told[-1].losses["accuracy"] == 1.0
    assert told[-1].losses["loss"] < 0.1
    assert not any(p.requires_grad for p in objective.reference.parameters())


class _Same(Drawn):
    def __iter__(self) -> Iterator[Pack]:
        while True:
            yield packed([pair(6, 3, 3)])


def test_what_is_no_pair_is_replayed_and_counts_as_one() -> None:
    """A dialogue beside a pair adds the mean cross-entropy of its tokens, numbers too, and nothing else changes."""
    model, _ = from_scratch("distime", ladder.XS, tiny.VOCABULARY, frames=4)
    objective = DPO(frozen_copy(model.eval()))
    dialogue, preferred = tiny.document(8, answers=(2, 6), slots=[("time", (0.2, 0.5))]), pair(9, 3, 4)
    alone = objective(model, packed([preferred]))
    both = objective(model, packed([dialogue, preferred]))
    learned = of_row(model, model(packed([dialogue])))
    with torch.no_grad():
        words = model.worded(model(packed([dialogue]))).nll.sum()
    assert learned.total - words > 0.1
    torch.testing.assert_close(both.total, alone.total + learned.total / learned.weight)
    assert (float(alone.weight), float(both.weight)) == (1.0, 2.0)
    told = {name: (value / both.counts[name]).item() for name, value in both.parts.items()}
    assert told["replay"] == pytest.approx((learned.total / learned.weight).item(), rel=1e-5)
    assert told["dpo"] == pytest.approx(alone.total.item(), rel=1e-5)
    assert "replay" not in alone.parts
    both.total.backward()
    assert any(float(p.grad.abs().sum()) for p in model.lm.parameters() if p.grad is not None)


def test_a_step_without_pairs_tells_nothing_of_them(tmp_path: Path) -> None:
    """The curves take a part from the steps that tell it."""

    @dataclass
    class Turns(Drawn):
        def __iter__(self) -> Iterator[Pack]:
            for number in itertools.count():
                yield packed([pair(number, 3, 4) if number % 2 else tiny.document(number)])

    made = Plan("llava15", (Data("x"),), steps=4, rates=Rates(warmup=1))
    made.write(tmp_path)
    model, _ = from_scratch("llava15", ladder.XS, tiny.VOCABULARY, frames=4)
    told: list[Told] = []
    Fit(made, model, DPO(frozen_copy(model)), Turns(), tmp_path, tell=told.append).go()
    assert [sorted(t.losses) for t in told] == [["loss", "replay"], ["accuracy", "dpo", "loss", "margin"]] * 2
    values, _ = [line for line in drawn(tmp_path) if len(line) == 2 and line[0] == told[0].losses["replay"]]
    assert values.tolist() == [told[0].losses["replay"], told[2].losses["replay"]]


def drawn(run: Path) -> list[Any]:
    """Every line of the losses' picture, its numbers."""
    canvas = curves.losses([json.loads(line) for line in (run / LOG).read_text().splitlines()])
    return [line.get_ydata() for line in canvas.axes[0].get_lines()]


def test_a_pair_without_an_answer_is_refused() -> None:
    model = ladder.trunk(ladder.XS, tiny.WORDS)
    with pytest.raises(ValueError, match="both with an answer"):
        sides_of(model, packed([pair(0, 3)]))
