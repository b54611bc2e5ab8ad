"""Mini-Gemini (Li et al., arXiv 2403.18814): every patch mines its own region of a finer tower's map.

`Mine`: the patches of the first tower ask, `finer` x `finer` tokens of the second at the same place answer, and the
number of tokens stays. Built from the mechanism: its code was not read, so the factor, the norms and the layer that
starts at zero are ours, and of its data and its making of pictures nothing is here.
"""

from reelmill.training.fusers.fuse import Fuse
from reelmill.training.fusers.mine import Mine
from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.second import Beside, largest, second
from reelmill.training.variants.variant import L15, Claim, On, Variant


def build(on: On, high: str | None = None, finer: int = 2) -> Variant:
    """`high` is a checkpoint of a second tower; a small one from scratch without it."""
    other = second(on, high, finer)
    return Variant(
        Chain(Fuse(Mine(on.vision, other.width)), Project(on.vision, on.words)),
        (Claim(1, (24, 24), 576),),
        sees=lambda tower: Beside(tower, other.made()),
        image_px=largest(on, [other]),
        others=(other,),
        phases=L15,
    )
