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
from reelmill.training.slicers.cut import Cut, Tiles
from reelmill.training.values import Loss, Seq, Text, Vis

if TYPE_CHECKING:
    from reelmill.training.vlm import VLM

Spelled = str | tuple[str, tuple[float, ...]]
"""Part of a text: words, or a slot's name and the numbers that this one token stands for."""


@runtime_checkable
class Slicer(Protocol):
    """Cuts a picture into crops, before the tower. Works on the data side and is deterministic; videos stay whole."""

    @property
    def separators(self) -> tuple[str, ...]:
        """What `text` puts between marks."""
        ...

    def __call__(self, width_px: int, height_px: int) -> Cut:
        """A grid of crops that tile the picture, the whole picture first where it is shown too."""
        ...

    def text(self, cut: Cut, mark: str) -> str:
        """What stands in a text for a picture: one `mark` for all of it, or one for each crop, by rows."""
        ...


@runtime_checkable
class Tower(Protocol):
    """Pixels to visual tokens."""

    @property
    def width(self) -> int:
        """C of its tokens."""
        ...

    def __call__(self, pack: Pack) -> Vis:
        """Tokens of every frame of a pack."""
        ...


@runtime_checkable
class Fuser(Protocol):
    """Several views of the same frames into one. It starts as the first of them alone, but where its paper has it
    otherwise (MERV's weights)."""

    def __call__(self, views: Sequence[Vis]) -> Vis: ...


@runtime_checkable
class Reducer(Protocol):
    """Visual tokens to other, mostly fewer, visual tokens. The projector is one too."""

    def __call__(self, vis: Vis, text: Text | None = None, budget: int | None = None) -> Vis:
        """`budget` is tokens a group, for reducers that can be asked for more or fewer."""
        ...

    def count(self, frames: int, grid: tuple[int, int], budget: int | None = None, tiles: Tiles | None = None) -> int:
        """Tokens that a sample of so many frames comes to, where it is known before it is seen; an upper bound else.
        `tiles` are rows and columns of a picture's crops, which are counted as frames."""
        ...


@runtime_checkable
class PreFusion(Protocol):
    """Visual tokens and words read one another before the model. Answers are never given to it."""

    def __call__(self, full: Vis, reduced: Vis, text: Text) -> tuple[Vis, Text]: ...


@runtime_checkable
class Hook(Protocol):
    """Changes the row before some layers; what it drops is gone for all later ones.

    `scored` names layers whose attention it wants, "last" from each prompt's last token or "all" from all that follow.
    """

    @property
    def at(self) -> Collection[int]: ...

    @property
    def scored(self) -> Mapping[int, str]: ...

    def __call__(self, layer: int, seq: Seq, scores: Mapping[int, Tensor]) -> Seq:
        """`scores[l]` float [S'] of layer l, for the tokens that are still in the row."""
        ...


@runtime_checkable
class Around(Protocol):
    """Lets a layer see part of the row; the rest passes by unchanged."""

    @property
    def around(self) -> Collection[int]: ...

    def inside(self, layer: int, seq: Seq) -> tuple[Tensor, Tensor | None]:
        """Which tokens enter, int64 [k] rising, and what the layer's change of each is multiplied by [k] or None."""
        ...


@runtime_checkable
class Policy(Protocol):
    """Positions, and who sees whom inside a document."""

    def positions(self, seq: Seq) -> Tensor:
        """int64 [S], or [S, 3] where `seq.pos` is, which counts the tokens of each document, branches going on from
        where they begin.

        A row of words alone, as in the steps of an answer, goes on from positions that this gave: they must stay.
        """
        ...

    def sees(self, query_kind: Tensor, key_kind: Tensor) -> Tensor | None:
        """Who sees whom in a document besides those before it: bool of the broadcast kinds, None for nobody."""
        ...


@runtime_checkable
class Codec(Protocol):
    """Numbers in [0, 1] to tokens and back: a time is a share of the clip, a box four shares of the frame.

    A slot is a token that stands for `d` numbers. It is said as the id of its name, or, where the codec has `rows`, as
    one of these: they are classes besides the vocabulary.
    """

    def spell(self, values: Sequence[float], scale: Sequence[float]) -> Sequence[Spelled]:
        """How numbers are written. `scale` multiplies each to the unit that text shows (seconds, pixels)."""
        ...

    def embed(self, name: str, values: Tensor) -> Tensor:
        """[K, d] to [K, D]: what enters the row in place of a slot's token."""
        ...

    def rows(self, name: str) -> Tensor | None:
        """[R, D] output rows of a slot's own classes."""
        ...

    def target(self, name: str, values: Tensor) -> Tensor:
        """[K, d] to [K, R]: shares of those classes that are right."""
        ...

    def loss(self, name: str, h: Tensor, values: Tensor) -> Tensor:
        """float [K], besides that of saying the token; `h` [K, D] are the states that say it."""
        ...

    def read(self, name: str, h: Tensor) -> Tensor:
        """[K, D] to [K, d]: the numbers that a state says, once it was settled that it says a slot."""
        ...


@runtime_checkable
class Adapter(Protocol):
    """Wraps linear layers. `from_scratch` says that a model without pretrained weights has use for it too."""

    @property
    def from_scratch(self) -> bool: ...

    def put_in(self, lm: nn.Module) -> nn.Module: ...

    def merge(self, lm: nn.Module) -> nn.Module: ...


@runtime_checkable
class Objective(Protocol):
    """What is minimised, as a sum and what it is divided by: packs of unequal length count by their tokens."""

    def __call__(self, model: VLM, pack: Pack) -> Loss: ...


@runtime_checkable
class Schedule(Protocol):
    """What changes with the step: paths of attributes below the model, as "hooks.0.stride", and their values."""

    def __call__(self, step: int, steps: int) -> Mapping[str, Any]: ...


@runtime_checkable
class StreamCache(Protocol):
    """What a stream keeps: keys and values of some of the frames that it saw."""

    def keeps(self, frames: Sequence[int]) -> Collection[int]:
        """Which of the frames that are held stay; `frames` are their numbers, oldest first."""
        ...
