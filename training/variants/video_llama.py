"""Video-LLaMA (Zhang et al., arXiv 2306.02858): 32 tokens a frame, then 32 tokens a video.

Frames are read by 32 queries, carry a learned embedding of their number, and are read again by 32 queries of the video.
The paper's first queries are BLIP-2's and frozen; here both are one layer of cross-attention. Its audio branch is left
out.
"""

from reelmill.training.reducers.combine import Chain
from reelmill.training.reducers.query import Query, VideoQuery
from reelmill.training.reducers.stamp import Numbered
from reelmill.training.variants.variant import Claim, On, Phase, Variant


def build(on: On, queries: int = 32) -> Variant:
    """Half a frame's patches in a smaller grid."""
    queries = min(queries, max(1, on.cells // 2))
    heads = min(8, max(1, on.vision // 8))
    return Variant(
        Chain(
            Query(on.vision, queries, heads=heads),
            Numbered(on.vision, max(32, on.frames)),
            VideoQuery(on.vision, queries, heads=heads, out=on.words),
        ),
        (Claim(8, (16, 16), 32), Claim(32, (16, 16), 32)),
        phases=(Phase("align", 0.5, {"reducer": 1e-4}), Phase("tune", 0.5, {"reducer": 3e-5})),
    )
