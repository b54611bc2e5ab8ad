"""What moves the weights: AdamW all of them, or Muon the matrices inside and AdamW the rest.

Muon (Jordan et al., 2024) moves a matrix by its averaged gradient made orthogonal, so that directions which few tokens
teach count as much as those of many. It is torch's own, its steps scaled to those of AdamW (Liu et al., arXiv
2502.16982, 2.2): one learning rate serves both. Words, places, the head, codecs and vectors stay with AdamW, as its
author has it. What it does to models from scratch: docs/decisions/0047-muon.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from reelmill.training.loop.plan import Rates
from reelmill.training.vlm import VLM

Group = dict[str, Any]


class Together:
    """Optimizers by name as one, each with its own of the groups of a run. A step is one of each."""

    def __init__(self, named: Mapping[str, Optimizer]) -> None:
        self.named = named

    @property
    def param_groups(self) -> list[Group]:
        """Of all; a rate that is set in one is the rate of its step."""
        return [group for one in self.named.values() for group in one.param_groups]

    @property
    def state(self) -> dict[Tensor, dict[str, Any]]:
        """What each weight's steps go by, without copies."""
        return {weight: held for one in self.named.values() for weight, held in one.state.items()}

    def step(self) -> None:
        """Moves all weights that have a gradient."""
        for one in self.named.values():
            one.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients."""
        for one in self.named.values():
            one.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """By the optimizer's name."""
        return {name: one.state_dict() for name, one in self.named.items()}

    def load_state_dict(self, held: Mapping[str, Any]) -> None:
        """What `state_dict` gave of a run of the same plan."""
        for name, one in self.named.items():
            one.load_state_dict(held[name])


def optimizer(kind: str, groups: Sequence[Group], model: VLM, rates: Rates, **adamw: Any) -> Together | AdamW:
    """Over `groups`, whose rates are set before every step; `adamw` goes to AdamW alone."""
    adam = {"lr": rates.rate, "betas": rates.betas, "weight_decay": 0.0, **adamw}
    if kind == "adamw":
        return AdamW(groups, **adam)
    chosen = {id(weight) for weight in matrices(model)}
    named: dict[str, Optimizer] = {}
    if inside := _those(groups, chosen, kept=True):
        named["muon"] = Muon(inside, lr=rates.rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    if rest := _those(groups, chosen, kept=False):
        named["adamw"] = AdamW(rest, **adam)
    return Together(named)


def matrices(model: VLM) -> list[nn.Parameter]:
    """Weights of linear layers inside: not the words, though a head may share them, nor the head, nor codecs."""
    outside = {id(weight) for weight in model.codecs.parameters()}
    outside |= {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    head = model.lm.get_output_embeddings()
    if head is not None:
        outside.add(id(head.weight))
    linear = (m.weight for m in model.modules() if isinstance(m, nn.Linear))
    return [weight for weight in linear if id(weight) not in outside]


def _those(groups: Sequence[Group], chosen: set[int], *, kept: bool) -> list[Group]:
    """The groups with the weights that are chosen, or with all others; none that is empty."""
    found = [{**group, "params": [p for p in group["params"] if (id(p) in chosen) is kept]} for group in groups]
    return [group for group in found if group["params"]]
