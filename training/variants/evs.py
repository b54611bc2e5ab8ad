"""Efficient Video Sampling (Bagrov et al., arXiv 2510.14624): patches that changed since the frame before stay.

A video's first frame is kept whole, of the rest the share with the smallest cosine to the same patch of the frame
before: (1 - q) T N tokens in all. Nothing is learned; kept tokens stay where they were.
"""

from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.select import Changed
from reelmill.training.variants.variant import Claim, On, Variant


def build(on: On, keep: float = 0.25) -> Variant:
    """A quarter of 16 frames of 256 patches is 1,024 tokens."""
    return Variant(Chain(Changed(keep), Project(on.vision, on.words)), (Claim(16, (16, 16), 1024),))
