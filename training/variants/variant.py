"""What a paper fills, and what it claims.

A variant is built for a trunk (`On`), with the paper's settings as defaults, shrunk where the trunk is smaller than
they are: 256 queries make no sense over 16 patches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from reelmill.training.objectives.lm import LM
from reelmill.training.reducers.combine import Grid, Stage
from reelmill.training.seams import Adapter, Around, Hook, Objective, Policy, Schedule, Slicer
from reelmill.training.towers import HFTower


@dataclass(frozen=True, slots=True)
class On:
    """The trunk that a variant is put on: widths of tower and language model, the grid of a frame, frames of a clip (1
    for pictures), the language model's configuration, the tower's layers, the side of the square that it sees."""

    vision: int
    words: int
    grid: Grid
    frames: int
    lm: Any
    depth: int = 24
    image_px: int = 336

    @property
    def cells(self) -> int:
        """Patches of a frame."""
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True, slots=True)
class Second:
    """A tower beside the first: its width, its grid, the square that it sees, and how it is made."""

    width: int
    grid: Grid
    image_px: int
    made: Callable[[], nn.Module]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a paper says of itself: so many frames of such a grid become so many visual tokens. Or a picture, whose size
    in pixels (width, height) is `picture`, and whose crops are the frames."""

    frames: int
    grid: Grid
    tokens: int
    budget: int | None = None
    picture: Grid | None = None


@dataclass(frozen=True, slots=True)
class Phase:
    """A stage of training: the `share` of all steps, and the parts that learn with their learning rates."""

    name: str
    share: float
    rates: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Variant:
    """The seams that a paper fills. `scores` and `levels` are layers that its reducer reads of the tower; `by_words`
    that the prompt decides what is seen or what a hook drops, so that questions cannot share a video; `sees` puts
    something around the tower. `phases` are the paper's; a trunk from scratch trains everything at once instead. With
    `image_px` frames come in a larger square than the tower sees; `others` are the towers that `sees` puts beside it,
    whose views a `Fuse` in the reducer reads."""

    reducer: Stage
    claims: tuple[Claim, ...]
    slicer: Slicer | None = None
    sees: Callable[[HFTower], Any] | None = None
    image_px: int | None = None
    others: tuple[Second, ...] = ()
    prefusion: nn.Module | None = None
    hooks: tuple[Hook | Around, ...] = ()
    policy: Policy | None = None
    codecs: Mapping[str, nn.Module] = field(default_factory=dict)
    adapter: Adapter | None = None
    objective: Objective = field(default_factory=LM)
    schedule: Schedule | None = None
    scores: Collection[int] = ()
    levels: Collection[int] = ()
    by_words: bool = False
    phases: tuple[Phase, ...] = ()
    budgets: tuple[int, ...] = ()

    @property
    def sees_by_words(self) -> bool:
        """Whether the prompt decides what is seen, by any of its seams."""
        return self.by_words or self.prefusion is not None


L15 = (Phase("align", 0.46, {"reducer": 1e-3}), Phase("tune", 0.54, {"reducer": 2e-5, "lm": 2e-5}))
"""LLaVA-1.5: the projector on 558,000 captions, then projector and language model on 665,000 dialogues."""
