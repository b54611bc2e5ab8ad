"""LLaVA-SP (Lou et al., arXiv 2507.00505): six tokens of growing context before the 576 patches.

The pooling variant: the grid at sides 4, 8, ... 24, each read whole by one convolution of 512 channels, then GELU and a
linear layer. The cropping variant with its detail attention is not here.
"""

from reelmill.training.reducers.combine import Branch, Project
from reelmill.training.reducers.pyramid import Pyramid
from reelmill.training.variants.variant import L15, Claim, On, Variant


def build(on: On, sizes: int = 6, channels: int = 512) -> Variant:
    """Sides at even steps up to the grid's own; fewer of them in a grid with less than six."""
    side = on.grid[0]
    sides = tuple(sorted({max(1, side * k // sizes) for k in range(1, sizes + 1)}))
    pyramid = Pyramid(on.vision, on.words, sides, min(channels, 2 * on.vision))
    return Variant(Branch(pyramid, Project(on.vision, on.words)), (Claim(1, (24, 24), 582),), phases=L15)
