"""ST-LLM (Liu et al., arXiv 2404.00308): all tokens of all frames go into the model, a drawn part of them hidden.

32 queries a frame, 16 frames: 512 tokens. See `Masked` for the loss. The paper's queries are a pretrained Q-Former's;
here they are one layer of cross-attention.
"""

from reelmill.training.objectives.masked import Masked
from reelmill.training.reducers.query import Query
from reelmill.training.variants.variant import Claim, On, Phase, Variant


def build(on: On, queries: int = 32) -> Variant:
    """At most as many queries as a frame has patches."""
    reducer = Query(on.vision, min(queries, on.cells), heads=min(8, max(1, on.vision // 8)), out=on.words)
    return Variant(
        reducer,
        (Claim(16, (24, 24), 512),),
        objective=Masked(on.words),
        phases=(Phase("tune", 1.0, {"reducer": 2e-5, "lm": 2e-5, "objective": 2e-5}),),
    )
