"""SmolVLM (Marafioti et al., arXiv 2504.05299), and nanoVLM: neighbours side by side on the channels, one linear layer.

Pixel shuffle by 4 makes 1,024 patches of a picture of 512 pixels 64 tokens of sixteen times the width.
"""

from torch import nn

from reelmill.training.reducers.combine import Apply, Chain
from reelmill.training.reducers.window import Stack
from reelmill.training.variants.variant import Claim, On, Phase, Variant


def build(on: On, k: int = 4) -> Variant:
    """By 2 where 4 does not tile the grid."""
    k = next(n for n in (k, 2, 1) if on.grid[0] % n == 0 and on.grid[1] % n == 0 and n < on.grid[0])
    return Variant(
        Chain(Stack(k), Apply(nn.Linear(on.vision * k * k, on.words, bias=False))),
        (Claim(1, (32, 32), 64),),
        phases=(Phase("tune", 1.0, {"reducer": 5.12e-3, "tower": 5e-5, "lm": 5e-5}),),
    )
