"""Flipped-VQA (Ko et al., arXiv 2310.15747): each of answer, question and video from the other two.

One token a frame, 10 frames, each with a learned code of its time; see `Flip` for the three losses. The released code
divides the products of states and frames by tau = 100 at 4,096 numbers a token; here tau is in proportion to these.
"""

from reelmill.training.objectives.flip import Flip
from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.pool import GridPool
from reelmill.training.reducers.stamp import Timed
from reelmill.training.variants.variant import Claim, On, Phase, Variant

TAU, WIDTH = 100.0, 4096


def build(on: On, question: float = 1.0, video: float = 1.0, tau: float | None = None) -> Variant:
    """`question` and `video` weigh two of the losses; the answer's has weight 1."""
    frames = Chain(GridPool((1, 1)), Project(on.vision, on.words))
    return Variant(
        Chain(frames, Timed(on.words, on.frames)),
        (Claim(10, (16, 16), 10),),
        objective=Flip(frames, TAU * on.words / WIDTH if tau is None else tau, question, video),
        phases=(Phase("tune", 1.0, {"reducer": 2e-5, "lm": 2e-5}),),
    )
