"""A mixture of low-rank experts in the feed-forward layers (LLaVA-MoLE, arXiv 2401.16160)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reelmill.training.objectives.lm import Auxiliary

_NAMES = ("gate_proj", "up_proj", "down_proj")


class Experts(Auxiliary):
    """A frozen linear layer plus, for each token, the low-rank expert that a linear router chooses (the best one).

    The chosen expert's output is multiplied by its probability, from which the router learns. The balance loss is
    E * sum(share of tokens * mean probability) over the E experts, least where all are used alike (Fedus et al., arXiv
    2101.03961). Second factors start at zero: nothing changes before the first step.
    """

    def __init__(self, linear: nn.Linear, experts: int, rank: int, alpha: int, balance: float) -> None:
        super().__init__()
        self.linear, self.scale, self.balance = linear, alpha / rank, balance
        self.router = nn.Linear(linear.in_features, experts, bias=False)
        self.down = nn.Parameter(torch.randn(experts, linear.in_features, rank) * linear.in_features**-0.5)
        self.up = nn.Parameter(torch.zeros(experts, rank, linear.out_features))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        flat = x.reshape(-1, x.shape[-1])
        share = self.router(flat).float().softmax(-1)
        best = share.argmax(-1)
        hot = nn.functional.one_hot(best, share.shape[1]).to(share.dtype)
        self.aux = ("balance", self.balance * share.shape[1] * (hot.mean(0) * share.mean(0)).sum())
        inner = torch.einsum("ni,eir->ner", flat, self.down)
        weighted = inner * (hot * share).to(inner.dtype).unsqueeze(-1)
        change = torch.einsum("ner,ero->no", weighted, self.up) * self.scale
        out: Tensor = self.linear(x) + change.view(*x.shape[:-1], -1)
        return out


@dataclass(frozen=True, slots=True)
class Mole:
    """`experts` of rank `rank` in every feed-forward matrix; the cost is that of about one LoRA."""

    experts: int = 3
    rank: int = 32
    alpha: int = 64
    balance: float = 1e-2
    from_scratch: bool = True

    def put_in(self, lm: nn.Module) -> nn.Module:
        """The same model, its feed-forward matrices wrapped."""
        for module in list(lm.modules()):
            for name in _NAMES:
                linear: Any = getattr(module, name, None)
                if isinstance(linear, nn.Linear):
                    setattr(module, name, Experts(linear, self.experts, self.rank, self.alpha, self.balance))
        return lm

    def merge(self, lm: nn.Module) -> nn.Module:
        """One expert alone is a LoRA and can be merged. Raises ValueError for more: the choice is by token."""
        if self.experts > 1:
            raise ValueError(f"{self.experts} experts are chosen for each token: no single matrix does the same")
        for module in list(lm.modules()):
            for name in _NAMES:
                held = getattr(module, name, None)
                if isinstance(held, Experts):
                    with torch.no_grad():
                        held.linear.weight += (held.down[0] @ held.up[0]).T * held.scale
                    setattr(module, name, held.linear)
        return lm
