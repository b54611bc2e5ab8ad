"""Video-CCAM (Fei et al., arXiv 2408.14023): learned queries read the whole video; those of a part see none later.

1,024 queries, causal cross-attention by frame. How many parts the queries form is not in what could be read; one a
frame is ours.
"""

from reelmill.training.reducers.query import VideoQuery
from reelmill.training.variants.variant import L15, Claim, On, Variant


def build(on: On, queries: int = 1024) -> Variant:
    """A quarter of a smaller clip's patches."""
    queries = min(queries, max(on.frames, on.frames * on.cells // 4))
    heads = min(8, max(1, on.vision // 8))
    reducer = VideoQuery(on.vision, queries, parts=on.frames, causal=True, heads=heads, out=on.words)
    claims = (Claim(16, (24, 24), 1024), Claim(32, (24, 24), 1024))
    return Variant(reducer, claims, phases=L15)
