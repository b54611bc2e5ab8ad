"""DisTime (Zeng et al., arXiv 2505.24329): an event's time is one token, read as a distribution over anchors.

Before the tokens of each frame stands one that says its time, encoded as an event that starts and ends then. The
token's numbers are read from the state that says it: its own state would already know them while training.
"""

from reelmill.training.codecs.dist import Dist
from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.stamp import Stamp
from reelmill.training.variants.variant import Claim, On, Phase, Variant


def build(on: On, anchors: int = 32) -> Variant:
    """One token a frame is added."""
    time = Dist("time", on.words, r=anchors)
    return Variant(
        Chain(Project(on.vision, on.words), Stamp(time)),
        (Claim(16, (16, 16), 16 * 257),),
        codecs={"time": time},
        phases=(Phase("tune", 1.0, {"reducer": 4e-5, "lm": 4e-5, "codecs": 4e-5}),),
    )
