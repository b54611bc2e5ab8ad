"""Manager (Xu et al., arXiv 2506.11515): the last layers of the tower, mixed by learned weights, in place of one.

Each layer is normed by itself; a softmax over learned scores, one for each layer and channel, with a learned
temperature weighs them. The two-tower model's static manager; noise on the scores and the adaptive form are left out,
and weights start at the layer that the plain model takes.
"""

from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.mix import Layers
from reelmill.training.variants.variant import L15, Claim, On, Variant


def build(on: On, levels: int = 6) -> Variant:
    """Two layers of a shallow tower."""
    layers = tuple(range(-min(levels, on.depth), 0))
    mix = Layers(on.vision, layers)
    return Variant(Chain(mix, Project(on.vision, on.words)), (Claim(1, (24, 24), 576),), levels=layers, phases=L15)
