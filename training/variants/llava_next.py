"""LLaVA-NeXT (Liu et al., a page of 2024; any resolution as LLaVA-1.5-HD, arXiv 2310.03744): pictures in crops.

The picture, then the crops of one of five grids (`AnyRes`), put together again row by row with a learned token behind
each row (`Stitch`). 672 x 672 pixels become 576 + 48 * (48 + 1) tokens. The released code pads a picture to its grid
and takes the padding's tokens out; here it is squeezed into the grid, so that every token shows some of it.
"""

from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.stitch import Stitch
from reelmill.training.slicers.anyres import AnyRes
from reelmill.training.variants.variant import L15, Claim, On, Variant


def build(on: On) -> Variant:
    """Videos stay as they are."""
    return Variant(
        Chain(Project(on.vision, on.words), Stitch(on.words)),
        (
            Claim(5, (24, 24), 2928, picture=(672, 672)),
            Claim(3, (24, 24), 1752, picture=(672, 336)),
            Claim(16, (24, 24), 9216),
        ),
        slicer=AnyRes(on.image_px),
        phases=L15,
    )
