"""LLaVA-Mini (Zhang et al., arXiv 2501.03895): one token a frame; the words read the patches before the model.

A query reads all patches of a frame (before the projector). Four fresh decoder layers run causally over [projected
patches | compressed token | words of the prompt]; what comes out of the last two replaces the compressed tokens and the
words. Frames are fused one by one, and a prompt's words are the mean over them. Answers never enter.
"""

from reelmill.training.prefusion import Fused
from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.query import Query
from reelmill.training.variants.variant import L15, Claim, On, Variant


def build(on: On, side: int = 1, layers: int = 4) -> Variant:
    """`side`² tokens a frame."""
    project = Project(on.vision, on.words)
    return Variant(
        Chain(Query(on.vision, side**2, heads=min(8, on.vision // 8)), project),
        (Claim(1, (24, 24), 1), Claim(16, (24, 24), 16)),
        prefusion=Fused(project, on.lm, layers),
        phases=L15,
    )
