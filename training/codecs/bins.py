"""Each number is a class with rows of its own, mixed with its neighbour (LLaVA-ST)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reelmill.training.seams import Spelled


class Bins(nn.Module):
    """Each number is one of `n` classes at 0, 1 / (n - 1), ... 1, with its own input and output rows for each axis.

    A number between two classes is a mix of both at the input and a soft target of both at the output (two-hot). With
    `propagate`, a row learns from its neighbours' gradients too, halved with each step away: W + M W - sg(M W), M_ij =
    2^-|i - j| (LLaVA-ST, arXiv 2501.08282, as its released code does).
    """

    def __init__(self, names: Sequence[str], width: int, n: int = 100, *, propagate: bool = True) -> None:
        super().__init__()
        self.n, self.names, self.propagate = n, tuple(names), propagate
        self.given = nn.ParameterDict({name: nn.Parameter(torch.randn(n, width) * width**-0.5) for name in names})
        self.said = nn.ParameterDict({name: nn.Parameter(torch.randn(n, width) * width**-0.5) for name in names})
        steps = torch.arange(n)
        self.register_buffer("near", 0.5 ** (steps[:, None] - steps).abs().float(), persistent=False)

    def spell(self, values: Sequence[float], scale: Sequence[float]) -> Sequence[Spelled]:
        """One slot a number, the names in turn: ("time",) for a span, ("x", "y") for a box."""
        return [(self.names[i % len(self.names)], (v,)) for i, v in enumerate(values)]

    def embed(self, name: str, values: Tensor) -> Tensor:
        """[K, 1] to [K, D]."""
        return self.target(name, values) @ self._rows(self.given[name])

    def rows(self, name: str) -> Tensor | None:
        """[n, D]."""
        return self._rows(self.said[name])

    def _rows(self, weight: Tensor) -> Tensor:
        if not self.propagate:
            return weight
        spread = self.get_buffer("near") @ weight
        return weight + spread - spread.detach()

    def target(self, name: str, values: Tensor) -> Tensor:
        """[K, 1] to [K, n]: 1 - r and r on the two nearest classes."""
        at = values[:, 0].clamp(0, 1) * (self.n - 1)
        return (1 - (at.unsqueeze(1) - torch.arange(self.n, device=at.device)).abs()).clamp(min=0)

    def loss(self, name: str, h: Tensor, values: Tensor) -> Tensor:
        """Saying the class is all there is."""
        return h.new_zeros(len(h))

    def read(self, name: str, h: Tensor) -> Tensor:
        """[K, D] to [K, 1]: the mean of the best class and its two neighbours, by their shares."""
        share = (h @ self._rows(self.said[name]).T).float().softmax(-1)
        best = share.argmax(-1, keepdim=True)
        classes = torch.arange(self.n, device=h.device)
        near = share * ((classes - best).abs() <= 1)
        return (near * classes).sum(-1, keepdim=True) / near.sum(-1, keepdim=True) / (self.n - 1)
