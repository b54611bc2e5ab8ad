"""LLaVolta (Chen et al., arXiv 2406.20092): visual tokens are pooled inside the model while it learns, less and less.

Four stages of equal length: means of 8 neighbours before layer 2, then of 2 before layer 2, of 2 before layer 16, none
at all. Answers are given by the full model. Neighbours are of the raster order, so that ends of rows meet (as in the
code).
"""

from collections.abc import Mapping
from typing import Any

from reelmill.training.hooks.pool import Pool1d
from reelmill.training.reducers.combine import Project
from reelmill.training.variants.variant import L15, Claim, On, Variant

FOUR_STAGES = ((2, 8), (2, 2), (16, 2), (0, 1))


class Stages:
    """(layer, stride) by the share of steps that is done, each of equal length."""

    def __init__(self, stages: tuple[tuple[int, int], ...]) -> None:
        self.stages = stages

    def __call__(self, step: int, steps: int) -> Mapping[str, Any]:
        layer, stride = self.stages[min(len(self.stages) - 1, step * len(self.stages) // steps)]
        return {"hooks.0.layer": layer, "hooks.0.stride": stride}


def build(on: On, stages: tuple[tuple[int, int], ...] = FOUR_STAGES) -> Variant:
    """A layer behind the middle of a shallow model is its middle."""
    depth = on.lm.num_hidden_layers
    within = tuple((layer if layer < depth else depth // 2, stride) for layer, stride in stages)
    return Variant(
        Project(on.vision, on.words),
        (Claim(1, (24, 24), 576),),
        hooks=(Pool1d(0, 1),),
        schedule=Stages(within),
        phases=L15,
    )
