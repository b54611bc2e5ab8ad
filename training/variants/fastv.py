"""FastV (Chen et al., arXiv 2403.06764): half of the visual tokens is dropped before layer 2, by attention in layer 1.

Nothing is learned. Compute with n tokens in K of L layers and n' in the rest, over that of n in all: (K f(n) + (L - K)
f(n')) / (L f(n)), f(n) = 4 n d² + 2 n² d + 3 n d m. The paper speaks of the mean attention that a token receives, the
released code takes the last token's: `of` chooses.
"""

from reelmill.training.hooks.drop import Drop
from reelmill.training.reducers.combine import Project
from reelmill.training.variants.variant import Claim, On, Variant


def build(on: On, layer: int = 2, keep: float = 0.5, of: str = "last") -> Variant:
    """The claim counts what enters; behind the layer it is the `keep` share."""
    return Variant(
        Project(on.vision, on.words), (Claim(1, (24, 24), 576),), hooks=(Drop(layer, keep, of),), by_words=True
    )


def flops(n: int, kept: int, layer: int, layers: int, width: int, inner: int) -> float:
    """The paper's share of compute that is left."""

    def one(tokens: int) -> int:
        return 4 * tokens * width**2 + 2 * tokens**2 * width + 3 * tokens * width * inner

    return (layer * one(n) + (layers - layer) * one(kept)) / (layers * one(n))
