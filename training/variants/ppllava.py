"""PPLLaVA (Liu et al., arXiv 2411.02327): pooling over space and time, weighted by how well each patch fits the prompt.

1,024 tokens a video. The paper compares in CLIP's space with CLIP's own text encoder; see `WeightedPool` for what
stands in its place.
"""

from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.pool import WeightedPool
from reelmill.training.variants.variant import Claim, On, Phase, Variant


def build(on: On, frames: int = 16, side: int = 8) -> Variant:
    """Half the side of a smaller grid."""
    side = min(side, max(1, on.grid[0] // 2))
    pool = WeightedPool((min(frames, on.frames), side, side), on.words, on.words)
    return Variant(
        Chain(Project(on.vision, on.words), pool),
        (Claim(16, (24, 24), 1024),),
        by_words=True,
        phases=(Phase("tune", 1.0, {"reducer": 2e-5, "lm": 2e-5}),),
    )
