"""SlowFast-LLaVA (Xu et al., arXiv 2407.15841): few frames in detail, then all frames coarsely. Nothing is learned.

Slow: 10 of 50 frames at even steps, the larger of two raster neighbours: 10 * 288. Fast: all frames pooled to 4 x 4:
50 * 16. Together 3,680 tokens.
"""

from reelmill.training.reducers.combine import Branch, Chain, Project, Select, evenly
from reelmill.training.reducers.pool import GridPool, RasterMax
from reelmill.training.variants.variant import Claim, On, Variant


def build(on: On, slow: int = 10, side: int = 4) -> Variant:
    """A fifth of a shorter clip is slow; half the side of a smaller grid."""
    slow = slow if on.frames >= 50 else max(1, on.frames // 5)
    side = min(side, max(1, on.grid[0] // 2))
    streams = Branch(Chain(Select(evenly(slow)), RasterMax(2)), GridPool((side, side)))
    return Variant(Chain(Project(on.vision, on.words), streams), (Claim(50, (24, 24), 3680),))
