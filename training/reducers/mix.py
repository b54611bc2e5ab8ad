"""Several layers of a tower as one."""

from __future__ import annotations

import torch
from torch import nn

from reelmill.training.reducers.combine import Stage
from reelmill.training.values import Text, Vis

_FIRST = 4.0
"""Score of the last layer at the start, so that it has nearly all the weight: e^4 to 1 of each other layer."""


class Layers(Stage):
    """A weighted sum of normed layers, with a weight for each layer and channel (Manager's static experts)."""

    def __init__(self, width: int, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = layers
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in layers)
        self.scores = nn.Parameter(torch.zeros(len(layers), width))
        self.temperature = nn.Parameter(torch.ones(()))
        with torch.no_grad():
            self.scores[-1] = _FIRST

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """Raises ValueError for a tower that does not give these layers."""
        missing = [layer for layer in self.layers if layer not in vis.levels]
        if missing:
            raise ValueError(f"the tower gives no states of layers {missing}")
        share = (self.scores / self.temperature).softmax(0)
        normed = [norm(vis.levels[layer]) for norm, layer in zip(self.norms, self.layers, strict=True)]
        return vis.with_x(torch.stack([w * x for w, x in zip(share, normed, strict=True)]).sum(0))
