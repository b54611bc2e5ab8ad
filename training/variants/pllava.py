"""PLLaVA (Xu et al., arXiv 2404.16994): projected first, then pooled over space and time to 16 x 12 x 12.

Pictures repeat to the frames of a video. The language model learns through LoRA of rank 128 alone.
"""

from reelmill.training.adapters.lora import Lora
from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.pool import VideoPool
from reelmill.training.variants.variant import Claim, On, Phase, Variant


def build(on: On, frames: int = 16, side: int = 12) -> Variant:
    """Half the side of a smaller grid."""
    side = min(side, max(1, on.grid[0] // 2))
    pool = VideoPool((min(frames, on.frames), side, side))
    return Variant(
        Chain(Project(on.vision, on.words), pool),
        (Claim(16, (24, 24), 2304),),
        adapter=Lora(rank=128, alpha=32),
        phases=(Phase("tune", 1.0, {"reducer": 2e-5, "lm": 2e-5}),),
    )
