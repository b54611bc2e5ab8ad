"""FasterVLM (Zhang et al., arXiv 2412.01818): patches that the tower's class token attends to most. Nothing is learned.

Attention of the layer whose features are taken, mean over heads; kept patches stay in raster order and then go through
the projector. 95 % can go with a tenth of quality, says the abstract; `keep` is what stays.
"""

from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.select import TopK, from_class
from reelmill.training.variants.variant import Claim, On, Variant

LAYER = -2


def build(on: On, keep: float = 0.25) -> Variant:
    """A quarter: 144 of 576; a budget of 29 is the paper's 95 %."""
    reducer = Chain(TopK(from_class(LAYER), keep), Project(on.vision, on.words))
    claims = (Claim(1, (24, 24), 144), Claim(1, (24, 24), 29, 29))
    return Variant(reducer, claims, scores=(LAYER,), budgets=(4, 8, 16))
