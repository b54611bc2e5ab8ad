"""Muon for the matrices inside, AdamW for the rest: whose which weights are, how far a step goes, runs of before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_documents as tiny
import torch
from torch.optim import AdamW

from reelmill.schemas.errors import BadInput
from reelmill.training import ladder
from reelmill.training.assemble import from_scratch
from reelmill.training.loop.fit import groups
from reelmill.training.loop.optimizer import Together, matrices, optimizer
from reelmill.training.loop.plan import PLAN, Data, Plan, Rates, planned
from reelmill.training.loop.stages import Stages
from reelmill.training.vlm import VLM

SHARDS = (Data("x"),)


def model(variant: str = "distime") -> VLM:
    return from_scratch(variant, ladder.XS, tiny.VOCABULARY, frames=4)[0]


def made(of: VLM, kind: str, rates: Rates | None = None) -> Together | AdamW:
    rates = rates or Rates()
    return optimizer(kind, groups(of, rates, Stages()), of, rates)


def names(of: VLM, weights: list[torch.nn.Parameter]) -> set[str]:
    known = {id(p): name for name, p in of.named_parameters()}
    return {known[id(w)] for w in weights}


def test_words_head_places_patches_and_codecs_are_not_among_the_matrices() -> None:
    of = model()
    inside = names(of, matrices(of))
    assert {n for n in inside if n.startswith("lm.")} == {
        f"lm.model.layers.{i}.{part}.weight"
        for i in range(ladder.XS.layers)
        for part in (
            *(f"self_attn.{p}_proj" for p in "qkvo"),
            *(f"mlp.{p}_proj" for p in ("gate", "up", "down")),
        )
    }
    assert any(n.startswith("tower.") for n in inside)
    assert any(n.startswith("reducer.") for n in inside)
    assert not [
        n for n in inside if "embedding" in n or "embed_tokens" in n or "lm_head" in n or n.startswith("codecs")
    ]


@pytest.mark.parametrize("variant", ["small", "mqt", "llava_mole", "llava_mini", "dynamic_llava"])
def test_every_weight_that_learns_is_moved_once(variant: str) -> None:
    of = model(variant)
    found = made(of, "muon")
    moved = [id(p) for group in found.param_groups for p in group["params"]]
    assert sorted(moved) == sorted(id(p) for group in groups(of, Rates(), Stages()) for p in group["params"])


def test_a_matrix_moves_as_far_as_with_adamw_in_every_direction() -> None:
    """0.2 sqrt(larger side) times an orthogonal matrix, whatever the gradient's scale and however uneven it is; five
    rounds of Newton and Schulz leave singular values between 0.6 and 1.3."""
    of, rates = model(), Rates(rate=1e-2)
    found = made(of, "muon", rates)
    weight = of.lm.model.layers[0].mlp.up_proj.weight
    before = weight.detach().clone()
    uneven = torch.diag(torch.logspace(0, -2, weight.shape[1]))
    weight.grad = 1e-3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) @ uneven
    found.step()
    step = (before - weight.detach()) / (rates.rate * 0.2 * max(weight.shape) ** 0.5)
    singular = torch.linalg.svdvals(step)
    assert 0.6 < singular.min() < singular.max() < 1.3
    assert (before - weight.detach()).square().mean().sqrt() == pytest.approx(0.2 * rates.rate, rel=0.15)


def test_rates_and_states_reach_both() -> None:
    of = model()
    found = made(of, "muon")
    for group in found.param_groups:
        group["lr"] = 0.0
    before = {n: p.detach().clone() for n, p in of.named_parameters()}
    for p in of.parameters():
        p.grad = torch.ones_like(p)
    found.step()
    assert all(torch.equal(before[n], p) for n, p in of.named_parameters())
    moved = {id(p) for group in found.param_groups for p in group["params"]}
    assert {id(p) for p in found.state} == moved
    again = made(of, "muon")
    again.load_state_dict(found.state_dict())
    for p, held in found.state.items():
        assert {n: torch.as_tensor(v).sum() for n, v in held.items()} == {
            n: torch.as_tensor(v).sum() for n, v in again.state[p].items()
        }
    found.zero_grad()
    assert all(p.grad is None for p in of.parameters())


def test_from_scratch_it_is_muon_and_on_pretrained_weights_adamw() -> None:
    assert Plan("mqt", SHARDS).optimizer == "muon"
    assert Plan("mqt", SHARDS, tower="a", lm="b").optimizer == Plan("mqt", SHARDS, model="c").optimizer == "adamw"
    assert Plan("mqt", SHARDS, model="c", optimizer="muon").optimizer == "muon"
    with pytest.raises(BadInput, match="optimizer 'sgd'; seen: adamw and muon are known; do: choose one"):
        Plan("mqt", SHARDS, optimizer="sgd")


def test_a_run_of_before_goes_on_with_adamw(tmp_path: Path) -> None:
    """Its plan.json does not know the word."""
    Plan("mqt", SHARDS, optimizer="adamw").write(tmp_path)
    assert "optimizer" not in json.loads((tmp_path / PLAN).read_text())
    assert planned(tmp_path).optimizer == "adamw"
    with pytest.raises(BadInput, match=r"seen: optimizer adamw there, muon here; do:"):
        Plan("mqt", SHARDS).write(tmp_path)
