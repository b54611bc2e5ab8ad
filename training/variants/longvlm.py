"""LongVLM (Weng et al., arXiv 2404.03384): 30 merged tokens for each tenth of the video, and five of the whole.

Ten frames of 256 patches a segment, joined by token merging in steps of 1280, 640, 320, 160, 80, 40 and 10. The global
tokens are the class tokens of the last five layers, each the mean over all frames. 5 + 10 * 30 = 305 tokens.
"""

from reelmill.training.reducers.combine import Branch, Chain, Project
from reelmill.training.reducers.merge import PerSegment, Tome
from reelmill.training.reducers.pyramid import Classes
from reelmill.training.variants.variant import Claim, On, Phase, Variant

STEPS = (1280, 640, 320, 160, 80, 40, 10)


def build(on: On, segments: int = 10, levels: int = 5) -> Variant:
    """As many halvings as a smaller segment bears, down to at least two tokens; two levels of a shallow tower."""
    segments = next(n for n in range(min(segments, on.frames), 0, -1) if on.frames % n == 0)
    frames = on.frames // segments
    large = frames * on.cells >= 2560
    steps, layers = (STEPS, levels) if large else (_halvings(frames * on.cells), 2)
    classes = tuple(range(-layers, 0))
    return Variant(
        Chain(Branch(Classes(classes), PerSegment(frames, Tome(steps))), Project(on.vision, on.words)),
        (Claim(100, (16, 16), 305),),
        levels=classes,
        phases=(Phase("tune", 1.0, {"reducer": 2e-5}),),
    )


def _halvings(tokens: int) -> tuple[int, ...]:
    steps = []
    while tokens >= 8:
        steps.append(tokens // 2)
        tokens -= tokens // 2
    return tuple(steps)
