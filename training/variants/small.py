"""LLaVA-1.5 made small (Liu et al., arXiv 2310.03744), by us: pooled patches, codes of time, one of three codecs.

No paper has it; it is what learns on a CPU (docs/decisions/0046). Each frame's patches are pooled to `side` x `side`
and projected, and every token gets a learned code of its time, so that no token says times. `codec` writes times and
boxes: "dist" (DisTime), "bins" (LLaVA-ST) or "text" (digits). With `nested` every step learns from 1, 4, ... tokens a
frame, as M3 does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from reelmill.schemas.errors import BadInput
from reelmill.training.codecs.bins import Bins
from reelmill.training.codecs.dist import Dist
from reelmill.training.codecs.text import Text
from reelmill.training.objectives.lm import LM, Nested
from reelmill.training.reducers.combine import Chain, Project
from reelmill.training.reducers.pool import GridPool
from reelmill.training.reducers.stamp import Timed
from reelmill.training.variants.variant import Claim, On, Variant

_ANCHORS = 32


def _dist(width: int, share: float) -> Mapping[str, nn.Module]:
    return {
        "time": Dist("time", width, r=_ANCHORS, share=share),
        "box": Dist("box", width, d=4, r=_ANCHORS, share=share),
    }


def _bins(width: int, share: float) -> Mapping[str, nn.Module]:  # noqa: ARG001 one call for all
    return {"time": Bins(("time",), width, _ANCHORS + 1), "box": Bins(("x", "y"), width, _ANCHORS + 1)}


def _text(width: int, share: float) -> Mapping[str, nn.Module]:  # noqa: ARG001 one call for all
    return {"time": Text(1), "box": Text(1)}


CODECS: Mapping[str, Callable[[int, float], Mapping[str, nn.Module]]] = {"dist": _dist, "bins": _bins, "text": _text}


def build(on: On, side: int = 2, codec: str = "dist", nested: bool = False, share: float = 1.0) -> Variant:
    """`share` is the weight of DFL in the loss of "dist" (DisTime: 1 / anchors).

    Raises BadInput for an unknown codec.
    """
    if codec not in CODECS:
        raise BadInput(f"codec {codec!r}", seen=f"known are {', '.join(CODECS)}", do="choose one")
    sides = [s for s in range(1, on.grid[0] + 1) if on.grid[0] % s == 0]
    finest = max(s for s in sides if s <= side)
    budgets = tuple(s * s for s in sides) if nested else ()
    pool = GridPool() if nested else GridPool((finest, finest))
    return Variant(
        Chain(pool, Project(on.vision, on.words), Timed(on.words, on.frames)),
        (Claim(16, (4, 4), 16 * 4, 4 if nested else None),),
        codecs=CODECS[codec](on.words, share),
        objective=Nested(budgets) if nested else LM(),
        budgets=budgets,
    )
