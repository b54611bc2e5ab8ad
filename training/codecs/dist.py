"""One token for an interval or a box; its numbers are expectations over anchors (DisTime, arXiv 2505.24329)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reelmill.training.seams import Spelled


class Dist(nn.Module):
    """`d` numbers as distributions over `r` + 1 anchors in [0, 1].

    In: Gaussian peaks of width `sigma` (in anchors) at the numbers, through a small network. Out: a network on the
    state that says the token, softmax, mean. Loss: cross-entropy on the two anchors around the number, by nearness
    (DFL), times `share` (1 / r as in the paper where it is None), and 1 - IoU with a distance term. Widths and depths
    are settings of a checkpoint; these are ours.
    """

    def __init__(
        self,
        name: str,
        width: int,
        *,
        d: int = 2,
        r: int = 32,
        sigma: float = 1.0,
        hidden: int | None = None,
        share: float | None = None,
    ) -> None:
        super().__init__()
        self.name, self.names, self.d, self.r, self.sigma = name, (name,), d, r, sigma
        self.share = 1 / r if share is None else share
        bins, hidden = d * (r + 1), hidden or width
        self.encode = nn.Sequential(nn.Linear(bins, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.decode = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, bins))

    def spell(self, values: Sequence[float], scale: Sequence[float]) -> Sequence[Spelled]:
        """One slot."""
        return [(self.name, tuple(values))]

    def embed(self, name: str, values: Tensor) -> Tensor:
        """[K, d] to [K, D]."""
        far = torch.arange(self.r + 1, device=values.device) - values.unsqueeze(-1) * self.r
        out: Tensor = self.encode((-0.5 * (far / self.sigma) ** 2).exp().flatten(1))
        return out

    def rows(self, name: str) -> Tensor | None:
        return None

    def target(self, name: str, values: Tensor) -> Tensor:
        """Never called: the token is one of the vocabulary."""
        raise ValueError(f"{name!r} has no classes of its own")

    def logits(self, h: Tensor) -> Tensor:
        """[K, D] to [K, d, r + 1]."""
        return self.decode(h).unflatten(-1, (self.d, self.r + 1)).float()

    def read(self, name: str, h: Tensor) -> Tensor:
        """[K, D] to [K, d]."""
        return self.logits(h).softmax(-1) @ (torch.arange(self.r + 1, device=h.device) / self.r).float()

    def loss(self, name: str, h: Tensor, values: Tensor) -> Tensor:
        """float [K]."""
        return self.share * self.dfl(h, values) + 1 - iou_with_distance(self.read(name, h), values.float())

    def dfl(self, h: Tensor, values: Tensor) -> Tensor:
        """float [K], mean over the d numbers; its floor is the entropy of the two-hot target, not 0."""
        at = values.clamp(0, 1) * self.r
        low = at.floor().clamp(max=self.r - 1)
        share = (at - low).unsqueeze(-1)
        two = torch.cat([1 - share, share], -1)
        logs = self.logits(h).log_softmax(-1)
        near = torch.stack([low, low + 1], -1).long()
        return -(two * logs.gather(-1, near)).sum(-1).mean(-1)


def iou_with_distance(said: Tensor, true: Tensor) -> Tensor:
    """float [K]: IoU less the squared distance of the middles over that of the hull (DIoU, arXiv 1911.08287).

    [K, 2] are intervals (start, end), [K, 4] boxes (x0, y0, x1, y1).
    """
    half = said.shape[1] // 2
    (a0, a1), (b0, b1) = said.split(half, 1), true.split(half, 1)
    inside = (torch.minimum(a1, b1) - torch.maximum(a0, b0)).clamp(min=0).prod(1)
    of_said, of_true = ((high - low).clamp(min=0).prod(1) for low, high in ((a0, a1), (b0, b1)))
    hull = (torch.maximum(a1, b1) - torch.minimum(a0, b0)).square().sum(1)
    apart = ((a0 + a1 - b0 - b1) / 2).square().sum(1)
    return inside / (of_said + of_true - inside).clamp(min=1e-6) - apart / hull.clamp(min=1e-6)


def mean_floor(values: Tensor, r: int) -> Tensor:
    """Least DFL of targets [K, d], float [K]: the entropy of each two-hot. Plots subtract it."""
    share = (values * r) % 1
    two = torch.stack([1 - share, share], -1).clamp(min=1e-12)
    return -(two * two.log()).sum(-1).mean(-1)
