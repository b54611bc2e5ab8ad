"""Laws of what wraps linear layers: nothing changes before the first step, and merging changes nothing behind it."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from reelmill.training import ladder
from reelmill.training.adapters.lora import Lora
from reelmill.training.adapters.mole import Experts, Mole
from reelmill.training.splice import placed
from reelmill.training.trunk import run
from reelmill.training.values import TEXT, Seq

WORDS, WIDTH = 20, ladder.XS.words


def language() -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = ladder.language(ladder.XS, WORDS).eval()
    return model


def states(lm: nn.Module) -> Tensor:
    """What a row of eight words becomes."""
    torch.manual_seed(1)
    same = torch.zeros(8, dtype=torch.long)
    pos, before = placed(same, same)
    row = Seq(torch.randn(8, WIDTH), pos, same + TEXT, same, same, same - 100, torch.ones(8), pos, before)
    with torch.no_grad():
        return run(lm, row, documents=1).h


def moved(lm: nn.Module) -> nn.Module:
    """Factors of adapters as after some steps."""
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            if "lora_" in name or name.endswith((".up", ".down")):
                parameter.normal_(std=0.05)
    return lm


ADAPTERS = [Lora(rank=4, alpha=8), Mole(experts=1, rank=4, alpha=8), Mole(experts=3, rank=4, alpha=8)]


@pytest.mark.parametrize("adapter", ADAPTERS, ids=["lora", "one expert", "three experts"])
def test_nothing_changes_before_the_first_step(adapter: Lora | Mole) -> None:
    plain = language()
    wrapped = adapter.put_in(deepcopy(plain)).eval()
    assert sum(p.numel() for p in wrapped.parameters()) > sum(p.numel() for p in plain.parameters())
    torch.testing.assert_close(states(wrapped), states(plain), atol=1e-6, rtol=0)
    assert not torch.allclose(states(moved(wrapped)), states(plain), atol=1e-2)


@pytest.mark.parametrize("adapter", ADAPTERS[:2], ids=["lora", "one expert"])
def test_a_merged_model_says_what_the_wrapped_one_said(adapter: Lora | Mole) -> None:
    wrapped = moved(adapter.put_in(language()).eval())
    before = states(wrapped)
    merged = adapter.merge(wrapped)
    torch.testing.assert_close(states(merged), before, atol=1e-5, rtol=0)
    assert set(dict(merged.named_parameters())) == set(dict(language().named_parameters()))


def test_one_linear_layer_merges_to_a_millionth() -> None:
    torch.manual_seed(3)
    experts = moved_experts(1)
    x = torch.randn(50, 12)
    holder = nn.Module()
    holder.up_proj = experts
    wrapped = experts(x)
    linear: nn.Module = Mole(experts=1).merge(holder).up_proj
    assert isinstance(linear, nn.Linear)
    torch.testing.assert_close(linear(x), wrapped, atol=1e-6, rtol=0)


def moved_experts(experts: int, balance: float = 1.0) -> Experts:
    made = Experts(nn.Linear(12, 10), experts, rank=3, alpha=6, balance=balance)
    with torch.no_grad():
        made.up.normal_(std=0.1)
    return made


def test_one_expert_is_a_lora() -> None:
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(4)
    experts = moved_experts(1)
    holder = nn.Sequential(deepcopy(experts.linear))
    lora = inject_adapter_in_model(LoraConfig(r=3, lora_alpha=6, target_modules=["0"]), holder)
    layer = lora[0]
    with torch.no_grad():
        layer.lora_A["default"].weight.copy_(experts.down[0].T)
        layer.lora_B["default"].weight.copy_(experts.up[0].T)
    x = torch.randn(7, 12)
    torch.testing.assert_close(experts(x), lora(x), atol=1e-6, rtol=0)
    assert experts.aux is not None
    assert float(experts.aux[1].detach()) == 1.0


def test_a_token_takes_its_best_expert_alone_by_its_probability() -> None:
    torch.manual_seed(5)
    experts = moved_experts(3)
    x = torch.randn(9, 12)
    share = experts.router(x).softmax(-1)
    for token, of in enumerate(share.argmax(-1).tolist()):
        change = x[token] @ experts.down[of] @ experts.up[of] * 2 * share[token, of]
        torch.testing.assert_close(experts(x)[token], experts.linear(x)[token] + change, atol=1e-6, rtol=0)
    assert share.argmax(-1).unique().numel() > 1


@settings(max_examples=40)
@given(st.lists(st.integers(0, 6), min_size=3, max_size=3).filter(any))
def test_balance_is_least_where_experts_are_used_alike(counts: list[int]) -> None:
    """Of routers that are sure: E times the sum of squared shares, 1 where these are equal and more elsewhere."""
    experts = moved_experts(3)
    with torch.no_grad():
        experts.router.weight.zero_()
        experts.router.weight[:, :3] = 100 * torch.eye(3)
    x = torch.zeros(sum(counts), 12)
    x[torch.arange(len(x)), torch.arange(3).repeat_interleave(torch.tensor(counts))] = 1.0
    experts(x)
    assert experts.aux is not None
    loss = float(experts.aux[1].detach())
    assert loss == pytest.approx(3 * sum((n / sum(counts)) ** 2 for n in counts), abs=1e-5)
    assert loss >= 1 - 1e-5
    assert (loss < 1 + 1e-5) == (len(set(counts)) == 1)


def test_experts_of_many_cannot_be_one_matrix() -> None:
    with pytest.raises(ValueError, match="3 experts are chosen for each token"):
        Mole(experts=3).merge(language())


def test_a_lora_leaves_the_model_s_own_weights_frozen() -> None:
    wrapped = Lora(rank=4, alpha=8).put_in(language())
    learns = {name for name, p in wrapped.named_parameters() if p.requires_grad}
    assert learns
    assert all("lora_" in name for name in learns)
