"""Says when and where: a time token before each frame, or codes added to every token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reelmill.training.reducers.combine import Grid, Stage, joined
from reelmill.training.values import Text, Vis


class Stamp(Stage):
    """One token before each frame's: its time, as the codec writes an event that starts and ends then (DisTime)."""

    def __init__(self, codec: nn.Module) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """[n, L, D] to [n, 1 + L, D]."""
        time = vis.time[:, :1]
        said = self.codec.embed("time", time.expand(-1, 2)).to(vis.x.dtype)
        stamp = Vis(said.unsqueeze(1), vis.place[:, :1], vis.frame[:, :1], time, vis.sample)
        return joined([stamp, vis])

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return frames, (1, 1 + grid[0] * grid[1])


class Timed(Stage):
    """Adds a code of its time to every token: one of `n` + 1 learned rows at 0, 1 / n, ... 1, or a mix of two.

    `std` is their spread at first: about that of a fresh projector's features (0.15). With 0.5 what changes between
    frames was a hundredth of the codes, and a small model stayed at the prior (docs/decisions/0046).
    """

    def __init__(self, width: int, n: int, std: float = 0.1) -> None:
        super().__init__()
        self.n, self.rows = n, nn.Parameter(torch.randn(n + 1, width) * std)

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        at = vis.time[:, 0].clamp(0, 1) * self.n
        anchors = torch.arange(self.n + 1, device=at.device)
        share = (1 - (at.unsqueeze(1) - anchors).abs()).clamp(min=0)
        return vis.with_x(vis.x + (share @ self.rows).unsqueeze(1).to(vis.x.dtype))


class Located(Stage):
    """Adds to every token the input rows of its time, row and column: a coordinate means the same whether it is seen or
    said (LLaVA-ST's language-aligned positional embedding, arXiv 2501.08282)."""

    def __init__(self, time: nn.Module, box: nn.Module) -> None:
        super().__init__()
        self.time, self.box = time, box

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        row, column = vis.place.unbind(-1)
        code = self._of(self.time, "time", vis.time) + self._of(self.box, "y", row) + self._of(self.box, "x", column)
        return vis.with_x(vis.x + code.to(vis.x.dtype))

    def _of(self, codec: nn.Module, name: str, values: Tensor) -> Tensor:
        """[n, L] to [n, L, D]; equal values are embedded once."""
        unique, where = torch.unique(values, return_inverse=True)
        out: Tensor = codec.embed(name, unique.unsqueeze(1))[where]
        return out


class Numbered(Stage):
    """Adds a learned embedding of the frame's number; frames beyond `most` share the last."""

    def __init__(self, width: int, most: int) -> None:
        super().__init__()
        self.number = nn.Embedding(most, width)

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        return vis.with_x(vis.x + self.number(vis.frame.clamp(max=self.number.num_embeddings - 1)))
