"""Next-token losses: the plain one, over nested scales, and over a drawn budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from reelmill.training.documents import Pack
from reelmill.training.values import Loss, Seq
from reelmill.training.vlm import VLM


class Auxiliary(nn.Module):
    """A module that adds to the loss: `aux` is set in every pass, by its name, and taken once."""

    aux: tuple[str, Tensor] | None = None


def auxiliary(model: nn.Module) -> dict[str, Tensor]:
    """Sums by name of what modules add to the loss of the pass that just was."""
    found: dict[str, Tensor] = {}
    for module in model.modules():
        if isinstance(module, Auxiliary) and module.aux is not None:
            name, value = module.aux
            found[name] = found[name] + value if name in found else value
            module.aux = None
    return found


@dataclass
class LM:
    """Cross-entropy of every learned token, and what codecs add."""

    def __call__(self, model: VLM, pack: Pack) -> Loss:
        """A sum over tokens."""
        return of_row(model, model(pack))


def of_row(model: VLM, seq: Seq) -> Loss:
    """The loss of a row that was read."""
    found = model.said(seq)
    weight = seq.weight[found.at]
    said, tokens = (found.nll * weight).sum(), weight.sum()
    more = {name: value * tokens for name, value in auxiliary(model).items()}
    return Loss(said + sum(more.values(), said.new_zeros(())), tokens, {"lm": said, **more})


@dataclass
class Nested:
    """Mean of the losses at several budgets (M3, arXiv 2405.17430). Each budget reads the pack anew."""

    budgets: Sequence[int]

    @property
    def passes(self) -> Sequence[int]:
        """Budgets that a pack is read with."""
        return self.budgets

    def __call__(self, model: VLM, pack: Pack) -> Loss:
        """A sum over tokens, divided by the number of budgets."""
        losses = [of_row(model, model(pack, budget)) for budget in self.budgets]
        total = torch.stack([loss.total for loss in losses]).mean()
        return Loss(total, losses[0].weight, {f"lm@{b}": x.total for b, x in zip(self.budgets, losses, strict=True)})


@dataclass
class SampleBudget:
    """The loss at one budget, drawn for each pack (MQT, arXiv 2405.19315). `state` is the generator's, for resume."""

    budgets: Sequence[int]
    seed: int = 0
    draws: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.draws = torch.Generator().manual_seed(self.seed)

    def __call__(self, model: VLM, pack: Pack) -> Loss:
        """A sum over tokens."""
        chosen = int(torch.randint(len(self.budgets), (1,), generator=self.draws))
        return of_row(model, model(pack, self.budgets[chosen]))

    @property
    def state(self) -> Tensor:
        """Where the draws stand."""
        return self.draws.get_state()

    @state.setter
    def state(self, at: Tensor) -> None:
        self.draws.set_state(at)
