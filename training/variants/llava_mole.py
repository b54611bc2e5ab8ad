"""LLaVA-MoLE (Chen et al., arXiv 2401.16160): three low-rank experts in every feed-forward matrix, one for each token.

The abstract's mechanism; rank 32, the router on the token and a balance loss. Its weight could not be read: .01 is
ours.
"""

from reelmill.training.adapters.mole import Mole
from reelmill.training.reducers.combine import Project
from reelmill.training.variants.variant import L15, Claim, On, Variant


def build(on: On, experts: int = 3, rank: int = 32, balance: float = 1e-2) -> Variant:
    """Rank at most a quarter of the width."""
    rank = min(rank, max(1, on.words // 4))
    adapter = Mole(experts, rank, 2 * rank, balance)
    return Variant(Project(on.vision, on.words), (Claim(1, (24, 24), 576),), adapter=adapter, phases=L15)
