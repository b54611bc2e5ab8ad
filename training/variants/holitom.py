"""HoliTom (Shao et al., arXiv 2505.21334): still places once, moving ones by attention, more inside the model.

Outer: 10 % of the tokens of 14 x 14 a frame (`Still`), threshold .65. Inner: before layer 18 half of the visual tokens
go, each averaged into the kept one most like it (`Join`). Nothing is learned. The released code rescales its share in
place, so that it changes from video to video of a batch; here every video has its own.
"""

from reelmill.training.hooks.join import Join
from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.select import from_class
from reelmill.training.reducers.still import Still
from reelmill.training.variants.variant import Claim, On, Variant

LAYER = -1


def build(on: On, keep: float = 0.1, threshold: float = 0.65, layer: int = 18, inner: float = 0.5) -> Variant:
    """The claim is of a video in which nothing is still: 32 frames of 20 tokens. Two thirds down a shallow model."""
    depth = on.lm.num_hidden_layers
    layer = layer if layer < depth else max(1, depth * 2 // 3)
    return Variant(
        Chain(Still(from_class(LAYER), keep, threshold), Project(on.vision, on.words)),
        (Claim(32, (14, 14), 640),),
        hooks=(Join(layer, inner),),
        scores=(LAYER,),
        by_words=True,
    )
