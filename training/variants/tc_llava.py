"""TC-LLaVA (Gao et al., arXiv 2409.03206): time in the positions, and tokens of a frame that see one another.

A visual token is rotated by its place in the row plus the number of its frame, shared by all tokens of the frame; words
go on from the last. The mask is causal between frames and open inside one. The paper's formulas could not be read: how
the two rotations are added, and that words carry the last frame's number on, is ours.
"""

from torch import Tensor

from reelmill.training.reducers.combine import Project
from reelmill.training.values import TEXT, Seq
from reelmill.training.variants.variant import L15, Claim, On, Variant


class ByFrame:
    """Positions with the frame's number added, times `step`; frames are open inside."""

    def __init__(self, step: int = 1) -> None:
        self.step = step

    def positions(self, seq: Seq) -> Tensor:
        """Words behind a frame go on from its number; rows of words alone stay as they are."""
        numbers = seq.kind.clamp(min=0)
        apart = seq.doc * (int(numbers.max()) + 1)
        later = self.step * ((numbers + apart).cummax(0).values - apart)
        return seq.pos + (later if seq.pos.dim() == 1 else later.unsqueeze(1))

    def sees(self, query_kind: Tensor, key_kind: Tensor) -> Tensor | None:
        """Tokens of one frame."""
        return (query_kind == key_kind) & (query_kind != TEXT)


def build(on: On, step: int = 1) -> Variant:
    """Nothing is reduced."""
    return Variant(Project(on.vision, on.words), (Claim(1, (24, 24), 576),), policy=ByFrame(step), phases=L15)
