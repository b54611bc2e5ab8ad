"""VideoLLM-online (Chen et al., arXiv 2406.11816): frames as they come, and a model that knows when to be silent.

10 tokens a frame as in its second release: the class token, and the patches of 24 x 24 pooled to 3 x 3. Silence is the
end mark, as in the first one, which had the class token alone (`side` 0); the second separates frames by a comma and
learns that in its place. See `Streaming` for the loss and training/data/live.py for the rows: streams of `live_stream`.
"""

from torch import Tensor

from reelmill.training.adapters.lora import Lora
from reelmill.training.objectives.streaming import Streaming
from reelmill.training.reducers.combine import Chain, Grid, Project, Stage, joined
from reelmill.training.reducers.pool import GridPool
from reelmill.training.values import Text, Vis
from reelmill.training.variants.variant import Claim, On, Phase, Variant


class Classed(Stage):
    """The class token of each frame before its pooled patches; their mean where the tower has none."""

    def __init__(self, pool: GridPool | None) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """[n, L, C] to [n, 1 + k, C]."""
        mean: Tensor = vis.x.mean(1) if vis.cls is None else vis.cls
        whole = vis.place.new_full((vis.groups, 1, 2), 0.5)
        first = Vis(mean.unsqueeze(1), whole, vis.frame[:, :1], vis.time[:, :1], vis.sample)
        return first if self.pool is None else joined([first, self.pool(vis)])

    def shape(self, frames: int, grid: Grid, budget: int | None = None) -> tuple[int, Grid]:
        return frames, (1, 1 + (self.pool.count(1, grid) if self.pool else 0))


def build(on: On, side: int = 3, silence: float = 1.0) -> Variant:
    """At most the side of the grid. `silence` weighs the streaming loss."""
    side = min(side, *on.grid)
    return Variant(
        Chain(Classed(GridPool((side, side)) if side else None), Project(on.vision, on.words)),
        (Claim(1, (24, 24), 10), Claim(2, (24, 24), 20)),
        adapter=Lora(rank=128, alpha=256),
        objective=Streaming(silence),
        phases=(Phase("tune", 1.0, {"reducer": 2e-4, "lm": 2e-4}),),
    )
