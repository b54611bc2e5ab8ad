"""LLaVA-HR (Luo et al., arXiv 2403.03003): a convolutional tower at high resolution speaks into the first one's blocks.

Behind blocks 6, 12 and 18 of 24 a `Gate` mixes the high-resolution map into the patches; at the end it is added once
more. The paper's 448 pixels give 32 x 32 patches, as 1,024 pixels do in ConvNeXt-L. Adapters and the last sum start at
zero: the model begins as LLaVA-1.5. The paper's own linear layer on the patches is left to the projector's first.
"""

from reelmill.training.fusers.fuse import Fuse
from reelmill.training.fusers.gate import Add
from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.second import Mixed, largest, second
from reelmill.training.variants.variant import Claim, On, Phase, Variant


def build(on: On, high: str | None = None) -> Variant:
    """`high` is a checkpoint of a second tower; a small one from scratch without it."""
    other = second(on, high)
    rates = {"tower": 2e-5, "reducer": 2e-5, "lm": 2e-5}
    return Variant(
        Chain(Fuse(Add(on.vision, other.width)), Project(on.vision, on.words)),
        (Claim(1, (32, 32), 1024),),
        sees=lambda tower: Mixed(tower, other.made()),
        image_px=largest(on, [other]),
        others=(other,),
        phases=(Phase("align", 0.46, {"reducer": 1e-3}), Phase("tune", 0.54, rates)),
    )
