"""MERV (Chung et al., arXiv 2501.01426): several towers, pooled to the same tokens, weighed against one another.

Every tower's video is pooled to 16 x 8 x 8 and projected by layers of its own; one learned query weighs the towers by
their mean tokens (`Weigh`). The paper has four frozen ones of which two read videos (LanguageBind, DINOv2, ViViT,
SigLIP, 16 or 32 frames); here each reads the same frames one by one.
"""

from reelmill.training.fusers.fuse import Fuse
from reelmill.training.fusers.weigh import Weigh
from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.pool import VideoPool
from reelmill.training.second import Beside, largest, second
from reelmill.training.variants.variant import Claim, On, Phase, Variant


def build(on: On, others: str | None = None, frames: int = 16, side: int = 8) -> Variant:
    """`others` are checkpoints, with commas between them; a small tower from scratch without any. Half the side of a
    smaller grid."""
    beside = tuple(second(on, place) for place in (others.split(",") if others else [None]))
    side = min(side, max(1, on.grid[0] // 2))
    pool = (min(frames, on.frames), side, side)
    widths = (on.vision, *(other.width for other in beside))
    return Variant(
        Fuse(Weigh(on.words, *(Chain(VideoPool(pool), Project(width, on.words)) for width in widths))),
        (Claim(16, (16, 16), 1024),),
        sees=lambda tower: Beside(tower, *(other.made() for other in beside)),
        image_px=largest(on, beside),
        others=beside,
        phases=(Phase("align", 0.46, {"reducer": 1e-3}), Phase("tune", 0.54, {"reducer": 2e-5, "lm": 2e-5})),
    )
