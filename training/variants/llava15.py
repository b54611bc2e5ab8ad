"""LLaVA-1.5 (Liu et al., arXiv 2310.03744): every patch of the second last layer, through two linear layers.

The baseline: 576 tokens for a picture of 336 pixels.
"""

from reelmill.training.reducers.combine import Project
from reelmill.training.variants.variant import L15, Claim, On, Variant


def build(on: On) -> Variant:
    """Nothing is reduced."""
    return Variant(Project(on.vision, on.words), (Claim(1, (24, 24), 576),), phases=L15)
