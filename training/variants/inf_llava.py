"""INF-LLaVA (Ma et al., arXiv 2407.16198): a picture three times finer, as nine crops and as nine strided pictures.

One tower sees all eighteen and the plain picture (`Crossed`); the two fine maps ask one another and are averaged with
the plain one (`Dual`), so that the number of tokens stays 576. What the sum in it goes with is ours.
"""

from torch import nn

from reelmill.training.fusers.dual import Crossed, Dual
from reelmill.training.fusers.fuse import Fuse
from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.variants.variant import L15, Claim, On, Second, Variant


def build(on: On, finer: int = 3) -> Variant:
    """The same tower gives all views, so that no other is made."""
    view = Second(on.vision, (finer * on.grid[0], finer * on.grid[1]), finer * on.image_px, nn.Identity)
    return Variant(
        Chain(Fuse(Dual(on.vision, finer)), Project(on.vision, on.words)),
        (Claim(1, (24, 24), 576),),
        sees=lambda tower: Crossed(tower, finer),
        image_px=view.image_px,
        others=(view, view),
        phases=L15,
    )
