"""LLaVA-ST (Li et al., arXiv 2501.08282): coordinates are tokens, seen and said with the same rows; two streams.

Time, width and height have 100 tokens each (`Bins`). Every patch carries the rows of its place and frame (`Located`). A
local window of 3 x 3 makes 27 x 27 patches 81; the slow stream then joins 5 frames to one, the fast stream joins 3 x 3
again: 100 frames are 20 * 81 + 100 * 9 = 2,520 tokens. The paper interpolates the slow stream's frames linearly before
they read; a mean of five equal steps is what that comes to in their middle.
"""

from reelmill.training.codecs.bins import Bins
from reelmill.training.reducers.combine import Branch, Chain, Project
from reelmill.training.reducers.stamp import Located
from reelmill.training.reducers.window import TimeWindow, Window
from reelmill.training.variants.variant import Claim, On, Phase, Variant


def build(on: On, bins: int = 100, frames: int = 5) -> Variant:
    """Windows of 3, or of 2 where 3 does not tile the grid; fewer frames to a slow one where 5 do not tile the clip."""
    time, box = Bins(("time",), on.words, bins), Bins(("x", "y"), on.words, bins)
    k = next(k for k in (3, 2, 1) if on.grid[0] % k**2 == 0 and on.grid[1] % k**2 == 0)
    slow = next(n for n in range(min(frames, on.frames), 0, -1) if on.frames % n == 0)
    packer = Branch(TimeWindow(on.words, slow), Window(on.words, k))
    return Variant(
        Chain(Project(on.vision, on.words), Located(time, box), Window(on.words, k), packer),
        (Claim(100, (27, 27), 2520),),
        codecs={"time": time, "box": box},
        phases=(
            Phase("content", 0.3, {"reducer": 1e-4}),
            Phase("coordinates", 0.3, {"reducer": 2e-5, "lm": 2e-4, "codecs": 2e-4}),
            Phase("tasks", 0.4, {"reducer": 2e-5, "lm": 2e-4, "codecs": 2e-4}),
        ),
    )
