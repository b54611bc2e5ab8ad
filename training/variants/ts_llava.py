"""TS-LLaVA (Qu et al., arXiv 2411.11066): tokens sampled from all frames, and a thumbnail of six. Nothing is learned.

2,880 tokens at even steps over all tokens of 50 frames, then the 576 of one picture in which six frames stand in 2 x 3.
"""

from reelmill.training.reducers.combine import Branch, Chain, Project
from reelmill.training.reducers.mosaic import Mosaic, Other, Sampled
from reelmill.training.variants.variant import Claim, On, Variant


def build(on: On, tokens: int = 2880, rows: int = 2, columns: int = 3) -> Variant:
    """A tenth of a smaller clip's tokens, as 2,880 of 28,800."""
    project = Project(on.vision, on.words)
    tokens = min(tokens, max(1, on.frames * on.cells // 10))
    return Variant(
        Branch(Chain(Sampled(tokens), project), Chain(Other(), project)),
        (Claim(50, (24, 24), 3456),),
        sees=lambda tower: Mosaic(tower, rows, columns),
    )
