"""LLaVA-UHD (Xu et al., arXiv 2403.11703): slices near the tower's own aspect, each read by the same queries.

`UHD` cuts; one layer of cross-attention reads every slice with 12 x 12 queries (the released code; the paper's 64 could
not be read), and commas and newlines between them say where they lay. A picture of 672 x 1088 pixels is six slices and
its whole. Left out: slices of their own aspect with interpolated places; each is squeezed to the tower's square.
"""

from reelmill.training.reducers.query import Query
from reelmill.training.slicers.uhd import UHD
from reelmill.training.variants.variant import Claim, On, Phase, Variant


def build(on: On, queries: int = 144, most: int = 6) -> Variant:
    """At most as many queries as a slice has patches."""
    return Variant(
        Query(on.vision, min(queries, on.cells), heads=min(16, on.vision // 8), out=on.words),
        (Claim(7, (24, 24), 1008, picture=(672, 1088)), Claim(1, (24, 24), 144, picture=(336, 336))),
        slicer=UHD(on.image_px, most),
        phases=(Phase("align", 0.46, {"reducer": 2e-3}), Phase("tune", 0.54, {"reducer": 2e-5, "lm": 2e-5})),
    )
