"""A fuser as a stage: it reads what a tower saw and what others saw beside it."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from reelmill.training.reducers.combine import Grid, Stage
from reelmill.training.reducers.pool import as_maps, gridded
from reelmill.training.seams import Fuser
from reelmill.training.values import Text, Vis


class Fuse(Stage):
    """The view and its `other` ones through a fuser. It goes before what drops frames or tokens."""

    def __init__(self, fuser: nn.Module) -> None:
        super().__init__()
        self.fuser: Fuser = fuser

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """Raises ValueError where the tower gives one view only."""
        if not vis.other:
            raise ValueError("the tower gives no second view")
        return replace(self.fuser([vis, *vis.other]), other=())

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        own = getattr(self.fuser, "shape", None)
        return own(frames, grid) if own else (frames, grid)


def on_grid(view: Vis, grid: Grid) -> Tensor:
    """Maps [n, C, rows, columns] of a view on another grid, by linear interpolation where it differs."""
    maps = as_maps(view)
    return maps if gridded(view) == grid else F.interpolate(maps, size=grid, mode="bilinear", antialias=True)
