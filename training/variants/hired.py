"""HiRED (Arif et al., arXiv 2408.10945): a budget of tokens, shared between crops by an early look, kept by a late one.

Layer 0's class attention says how much of the budget a crop gets, layer 22's which of its patches stay. Nothing is
learned. A frame of a video counts as a crop here. 20 % of 576 is 115 tokens.
"""

from reelmill.training.reducers.budget import Shared
from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.variants.variant import Claim, On, Variant


def build(on: On, keep: float = 0.2, first: int = 0, last: int = -2) -> Variant:
    """Layer 22 of 24 is the second last of any tower."""
    reducer = Chain(Shared(keep, first, last), Project(on.vision, on.words))
    claims = (Claim(1, (24, 24), 115), Claim(5, (24, 24), 576))
    return Variant(reducer, claims, scores=(first, last))
