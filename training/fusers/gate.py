"""The adapter of mixed resolutions (LLaVA-HR, arXiv 2403.03003; MG-LLaVA has it once, behind the tower)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reelmill.training.fusers.fuse import on_grid
from reelmill.training.reducers.pool import as_maps, gridded
from reelmill.training.values import Vis


class Gate(nn.Module):
    """y + local(y), then + tanh(g) s': local is a convolution of 7 x 7 by channel, s' = conv-GELU-conv of 1 x 1 over
    the other tower's map, and g, one number a frame, reads the means of both.

    The last convolutions of local and s' start at zero, and with them the adapter as the first view alone.
    """

    def __init__(self, width: int, other: int) -> None:
        super().__init__()
        by_channel = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.local = nn.Sequential(by_channel, nn.GELU(), zeroed(nn.Conv2d(width, width, 1)))
        self.slow = nn.Sequential(nn.Conv2d(other, width, 1), nn.GELU(), zeroed(nn.Conv2d(width, width, 1)))
        self.gate = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, 1), nn.Tanh())

    def mixed(self, y: Tensor, slow: Tensor) -> Tensor:
        """Maps [n, C, rows, columns] with those of the other tower [n, C', rows, columns]."""
        y = y + self.local(y)
        more = self.slow(slow)
        gate = self.gate(torch.cat([y.mean((2, 3)), more.mean((2, 3))], 1))
        out: Tensor = y + gate[:, :, None, None] * more
        return out

    def forward(self, views: Sequence[Vis]) -> Vis:
        """Two views, the second on the first one's grid."""
        low, high = views
        return low.with_x(self.mixed(as_maps(low), on_grid(high, gridded(low))).flatten(2).transpose(1, 2))


class Add(nn.Module):
    """The other tower's map through one linear layer, which starts at zero, is added to the first view."""

    def __init__(self, width: int, other: int) -> None:
        super().__init__()
        self.linear = zeroed(nn.Linear(other, width))

    def forward(self, views: Sequence[Vis]) -> Vis:
        """Two views, the second on the first one's grid."""
        low, high = views
        return low.with_x(low.x + self.linear(on_grid(high, gridded(low)).flatten(2).transpose(1, 2)))


def zeroed(layer: nn.Module) -> nn.Module:
    """A layer that gives zeros until it has learned."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer
