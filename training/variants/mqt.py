"""Matryoshka Query Transformer (Hu et al., arXiv 2405.19315): the first m of 256 queries, m drawn at every step.

The released code makes keys of places alone, without the patches' content, so that each query is a learned fixed
pooling; `keys="content"` is what the paper's text suggests. m is drawn from {2, 4, ..., 256} for each pack.
"""

from reelmill.training.objectives.lm import SampleBudget
from reelmill.training.reducers.query import Keys, Query
from reelmill.training.variants.variant import L15, Claim, On, Variant


def build(on: On, queries: int = 256, keys: Keys = "position") -> Variant:
    """At most as many queries as a frame has patches."""
    queries = min(queries, on.cells)
    budgets = tuple(range(2, queries + 1, 2))
    claims = (Claim(1, (24, 24), 256), Claim(1, (24, 24), 2, 2), Claim(1, (24, 24), 16, 16))
    return Variant(
        Query(on.vision, queries, heads=min(16, on.vision // 8), out=on.words, keys=keys),
        claims,
        objective=SampleBudget(budgets),
        phases=L15,
        budgets=budgets,
    )
