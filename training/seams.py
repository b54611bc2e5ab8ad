"""The twelve seams that a paper may fill. A variant names what it fills; everything else stays plain.

| seam | changes | fills it, for example |
|---|---|---|
| Slicer | which crops of a picture the tower sees | LLaVA-UHD, any resolution |
| Tower | pixels to visual tokens | CLIP, SigLIP, ConvNeXt, patches alone |
| Fuser | several towers or layers into one | LLaVA-HR, MERV, Manager |
| Reducer | visual tokens to fewer | M3, MQT, PLLaVA, FasterVLM |
| PreFusion | visual tokens and words together, before the model | LLaVA-Mini |
| Hook | the row of states, at some layers | FastV, LLaVolta, Dynamic-LLaVA |
| Policy | positions, and who sees whom | TC-LLaVA |
| Codec | numbers to tokens and back | LLaVA-ST, DisTime |
| Adapter | the weights of a linear layer | LoRA, LLaVA-MoLE |
| Objective | what is minimised | M3, MQT, AVG-LLaVA, DPO |
| Schedule | what changes with the step | LLaVolta, temperature, stages |
| StreamCache | what a stream keeps | VideoLLM-online |
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor, nn

from reelmill.training.documents import Pack
from reelmill.training.values import Loss, Seq, Text, Vis

if TYPE_CHECKING:
    from reelmill.training.vlm import VLM

Spelled = str | tuple[float, ...]
"""Part of a text: words, or the numbers that one slot token stands for."""


@runtime_checkable
class Slicer(Protocol):
    """Cuts a picture into crops, before the tower. Works on the data side and is deterministic."""

    def __call__(self, width_px: int, height_px: int) -> Sequence[tuple[int, int, int, int]]:
        """Crops (x0, y0, x1, y1) in pixels, in reading order, the whole picture last where it is shown too."""
        ...


@runtime_checkable
class Tower(Protocol):
    """Pixels to visual tokens."""

    width: int
    """C, of the tokens it gives."""

    def __call__(self, pack: Pack) -> Vis:
        """Tokens of every frame of a pack."""
        ...


@runtime_checkable
class Fuser(Protocol):
    """Several views of the same frames into one. Starts as the first of them alone (zero-initialised)."""

    def __call__(self, views: Sequence[Vis]) -> Vis: ...


@runtime_checkable
class Reducer(Protocol):
    """Visual tokens to other, mostly fewer, visual tokens. The projector is one too."""

    def __call__(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """`budget` is tokens a group, for reducers that can be asked for more or fewer."""
        ...

    def count(self, frames: int, grid: tuple[int, int], budget: int | None = None) -> int:
        """Tokens that a sample of so many frames comes to, where it is known before it is seen; an upper bound else."""
        ...


@runtime_checkable
class PreFusion(Protocol):
    """Visual tokens and words read one another before the model. Answers are never given to it."""

    def __call__(self, full: Vis, reduced: Vis, text: Text) -> tuple[Vis, Text]: ...


@runtime_checkable
class Hook(Protocol):
    """Changes the row before some layers; what it drops is gone for all later ones.

    `scored` names the layers whose attention from each document's last prompt token is wanted.
    """

    at: Collection[int]
    scored: Collection[int]

    def __call__(self, layer: int, seq: Seq, scores: Mapping[int, Tensor]) -> Seq:
        """`scores[l]` float [S'] of layer l, for the tokens that are still in the row."""
        ...


@runtime_checkable
class Around(Protocol):
    """Lets a layer see part of the row; the rest passes by unchanged."""

    around: Collection[int]

    def inside(self, layer: int, seq: Seq) -> tuple[Tensor, Tensor | None]:
        """Which tokens enter, int64 [k] rising, and what the layer's change of each is multiplied by [k] or None."""
        ...


@runtime_checkable
class Policy(Protocol):
    """Positions, and who sees whom inside a document."""

    def positions(self, kind: Tensor, place: Tensor) -> Tensor:
        """Positions of a row. `place` int64 [S] counts in each document, branches going on from where they begin."""
        ...

    def sees(self, query: Seq, key: Seq) -> Tensor | None:
        """bool broadcast of [.., 1] queries and [1, ..] keys of one document that see one another besides the causal
        ones; None for the causal ones alone."""
        ...


@runtime_checkable
class Codec(Protocol):
    """Numbers in [0, 1] to tokens and back; `d` numbers a slot. A time is a share of the clip, a box four shares."""

    name: str

    def spell(self, values: Sequence[float], scale: Sequence[float]) -> Sequence[Spelled]:
        """How numbers are written. `scale` multiplies each to the unit that text shows (seconds, pixels)."""
        ...

    def embed(self, values: Tensor) -> Tensor:
        """[K, d] to [K, D]: what enters the row in place of the slot's token."""
        ...

    def loss(self, h: Tensor, values: Tensor) -> Tensor:
        """float [K]: `h` [K, D] are the states that say the slot's token."""
        ...

    def read(self, h: Tensor) -> Tensor:
        """[K, D] to [K, d]: the numbers that a state says."""
        ...


@runtime_checkable
class Adapter(Protocol):
    """Wraps a linear layer; starts as that layer and can be merged into it."""

    def wrap(self, name: str, linear: nn.Linear) -> nn.Module: ...


@runtime_checkable
class Objective(Protocol):
    """What is minimised, as a sum and what it is divided by: packs of unequal length count by their tokens."""

    def __call__(self, model: VLM, pack: Pack) -> Loss: ...


@runtime_checkable
class Schedule(Protocol):
    """What changes with the step: names and values that the model is told before it."""

    def __call__(self, step: int, steps: int) -> Mapping[str, Any]: ...
