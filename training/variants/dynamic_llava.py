"""Dynamic-LLaVA (Huang et al., arXiv 2412.00876): a small network decides which visual tokens go beyond layer 2.

See `Gate` for the mask while training and what is left out. The temperature falls from 1 to .1 over the steps.
"""

from collections.abc import Mapping
from typing import Any

from reelmill.training.hooks.gate import Gate, annealed
from reelmill.training.reducers.combine import Project
from reelmill.training.variants.variant import Claim, On, Phase, Variant


def cooled(step: int, steps: int) -> Mapping[str, Any]:
    """The gate's temperature."""
    return {"hooks.0.tau": annealed(step, steps)}


def build(on: On, layer: int = 2, keep: float = 0.2) -> Variant:
    """The claim counts what enters; behind the layer it is the `keep` share."""
    gate = Gate(on.words, layer, keep, hidden=min(512, 2 * on.words))
    return Variant(
        Project(on.vision, on.words),
        (Claim(1, (24, 24), 576),),
        hooks=(gate,),
        schedule=cooled,
        phases=(Phase("tune", 1.0, {"reducer": 5e-6, "lm": 5e-6, "hooks": 2e-4}),),
    )
