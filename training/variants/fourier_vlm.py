"""Fourier-VLM (Wang et al., arXiv 2508.06038): the low corner of each channel's cosine transform, then the projector.

Nothing is learned. The abstract gives compute and speed, not the corner's side; 12 of 24 is ours.
"""

from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.pool import GridPool, cosine
from reelmill.training.variants.variant import L15, Claim, On, Variant


def build(on: On, side: int = 12) -> Variant:
    """Half the side of a smaller grid."""
    side = min(side, max(1, on.grid[0] // 2))
    pool = GridPool((side, side), cosine)
    return Variant(Chain(pool, Project(on.vision, on.words)), (Claim(1, (24, 24), 144),), phases=L15)
