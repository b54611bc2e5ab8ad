"""Matryoshka Multimodal Models (Cai et al., arXiv 2405.17430): one model for 1, 9, 36, 144 or 576 tokens.

Tokens of a scale are block means of the finer one, so that scales are nested; every step learns from all of them, as
the mean of their losses. The released code runs the whole model five times; here the tower and the words are read anew
too, but gradients are the same.
"""

import math

from reelmill.training.objectives.lm import Nested
from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.pool import GridPool
from reelmill.training.variants.variant import L15, Claim, On, Variant

SCALES = (1, 9, 36, 144, 576)


def build(on: On) -> Variant:
    """Scales whose side divides the grid's."""
    scales = tuple(s for s in SCALES if on.grid[0] % math.isqrt(s) == 0) or (1, on.cells)
    scales = scales if len(scales) > 1 else tuple(k * k for k in (1, 2, 4) if on.grid[0] % k == 0)
    claims = tuple(Claim(1, (24, 24), s, s) for s in SCALES)
    return Variant(
        Chain(Project(on.vision, on.words), GridPool()),
        claims,
        objective=Nested(scales),
        phases=L15,
        budgets=scales,
    )
