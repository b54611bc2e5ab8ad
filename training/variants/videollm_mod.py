"""VideoLLM-MoD (Wu et al., arXiv 2408.16730): in some layers most visual tokens of a frame pass by, none is dropped.

The abstract's mechanism: for each layer, a high proportion (80 %) of visual tokens learns to skip it. See `Bypass`.
Which layers do so, what the router's weight multiplies and its scale could not be read: every second layer is ours,
without the last, whose visual tokens nobody reads any more.
"""

from reelmill.training.hooks.bypass import Bypass
from reelmill.training.reducers.combine import Project
from reelmill.training.variants.variant import Claim, On, Phase, Variant


def build(on: On, keep: float = 0.2, every: int = 2) -> Variant:
    """The claim counts what enters: no token is dropped."""
    layers = tuple(range(every - 1, on.lm.num_hidden_layers - 1, every))
    return Variant(
        Project(on.vision, on.words),
        (Claim(1, (24, 24), 576),),
        hooks=(Bypass(on.words, layers, keep),),
        phases=(Phase("tune", 1.0, {"reducer": 2e-5, "lm": 2e-5, "hooks": 2e-4}),),
    )
