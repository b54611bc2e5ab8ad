"""Patches of low resolution look for detail in what a finer tower saw of the same place (Mini-Gemini)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from reelmill.training.fusers.fuse import on_grid
from reelmill.training.fusers.gate import zeroed
from reelmill.training.reducers.combine import Grid
from reelmill.training.reducers.pool import gridded
from reelmill.training.values import Vis


class Mine(nn.Module):
    """q + softmax(phi(q) phi(k)^T / sqrt(C)) phi(v): each low token q reads the m x m tokens that the finer view has of
    its region (Mini-Gemini, arXiv 2403.18814, patch info mining).

    phi are a norm and a linear layer. One more linear layer behind the attention starts at zero, which is ours.
    """

    def __init__(self, width: int, other: int) -> None:
        super().__init__()
        self.norm_q, self.norm_kv = nn.LayerNorm(width), nn.LayerNorm(other)
        self.q, self.kv = nn.Linear(width, width), nn.Linear(other, 2 * width)
        self.out = zeroed(nn.Linear(width, width))

    def forward(self, views: Sequence[Vis]) -> Vis:
        """Two views; the second is brought to the nearest whole multiple of the first one's grid."""
        low, high = views
        rows, columns = gridded(low)
        m = finer((rows, columns), gridded(high))
        regions = F.unfold(on_grid(high, (m * rows, m * columns)), m, stride=m)
        cells = regions.unflatten(1, (-1, m * m)).permute(0, 3, 2, 1)
        query = self.q(self.norm_q(low.x)).unsqueeze(2)
        keys, values = self.kv(self.norm_kv(cells)).chunk(2, -1)
        read: Tensor = F.scaled_dot_product_attention(query, keys, values).squeeze(2)
        return low.with_x(low.x + self.out(read))


def finer(low: Grid, high: Grid) -> int:
    """How many tokens of the finer grid, each way, stand for one of the coarser."""
    return max(1, round(high[0] / low[0]))
