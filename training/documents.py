"""What the data side hands to the model side: one tokenised document, and many of them laid end to end.

A document is a beginning that its continuations share: branch 0 holds the video and what is said first, branches 1, 2
and so on start there and do not see one another. A dialogue has one continuation, seven questions about one video have
seven, a preference pair has two (chosen first). A visual token has no id of its own: one `visual` id stands where all
tokens of the document's media will enter, or one for each of its frames where the tokens of that frame will.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

IGNORED = -100
"""The label of a token that nothing is learned from."""

WHOLE = (0.0, 0.0, 1.0, 1.0)
"""The crop of a frame that is not cut."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A token that stands for numbers: `values` in [0, 1], the share of the clip's duration or of the frame's width or
    height. `codec` names the seam that embeds, learns and reads them ("time" or "box")."""

    at: int
    codec: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One tokenised sample, or several samples of one video.

    `ids`, `labels` int64 [S]: `labels[i]` is what stands at i, IGNORED where nothing is learned; in a stream it says
    silence where that should be said before token i comes. `branch` int64 [S], not falling. `frames` uint8
    [T, H, W, 3] as stored and resized, `at_s` [T] their times, `duration_s` 0 for a picture. `keys` names the samples,
    one a branch or one for all; `weight` multiplies the loss of every token. A cut picture's frames are its crops:
    `crops` [T, 4] are their corners (x0, y0, x1, y1) in shares of the picture. `apart` says that frames are seen one by
    one, as in a stream; `pair` that branch 1 is preferred to branch 2.
    """

    keys: tuple[str, ...]
    ids: np.ndarray
    labels: np.ndarray
    branch: np.ndarray
    slots: tuple[Slot, ...]
    frames: np.ndarray
    at_s: np.ndarray
    duration_s: float
    weight: float = 1.0
    crops: np.ndarray | None = None
    apart: bool = False
    pair: bool = False

    @property
    def film(self) -> bool:
        """Whether a tower may join frames that follow one another."""
        return self.duration_s > 0 and not self.apart


@dataclass(frozen=True, slots=True)
class Slots:
    """All slots of one codec in a pack: `at` int64 [K] places in the row, `values` float32 [K, d]."""

    at: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class Pack:
    """Documents laid end to end: one micro-batch without padding.

    `ids`, `labels`, `branch`, `doc` int64 [S] and `weight` float32 [S] before visual tokens enter; `doc` counts from 0.
    `pixels` uint8 [n, 3, H, W] are the frames of all documents, `sample` int64 [n] the document of each, not falling,
    `frame` int64 [n] its number in the document, `time_s` float32 [n]. `duration_s` float32 [documents]. `crop`
    float32 [n, 4] says which part of a picture a frame shows, None where all are whole. `film` bool [documents]: frames
    follow one another, and a tower may join them; False for pictures, and for frames that are seen one by one. `pair`
    bool [documents]: branch 1 is preferred to branch 2.
    """

    keys: tuple[tuple[str, ...], ...]
    ids: Tensor
    labels: Tensor
    branch: Tensor
    doc: Tensor
    weight: Tensor
    slots: Mapping[str, Slots]
    pixels: Tensor
    sample: Tensor
    frame: Tensor
    time_s: Tensor
    duration_s: Tensor
    film: Tensor
    pair: Tensor
    crop: Tensor | None = None

    @property
    def documents(self) -> int:
        return len(self.keys)

    @property
    def silent(self) -> Tensor:
        """bool [S]: before these tokens something else is to be said than what comes: that it is time to be silent."""
        return (self.labels >= 0) & (self.labels != self.ids)

    def to(self, device: torch.device | str) -> Pack:
        """The same pack on another device; copies of pinned memory do not wait."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        tensors = {f.name: moved(v) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        slots = {name: Slots(moved(s.at), moved(s.values)) for name, s in self.slots.items()}
        return replace(self, slots=slots, **tensors)


def packed(documents: list[Document]) -> Pack:
    """Documents end to end, in their order.

    Raises ValueError for no documents, or frames of unequal size.
    """
    sizes = {d.frames.shape[1:] for d in documents}
    if len(sizes) != 1:
        raise ValueError(f"one pack holds frames of one size: got {sorted(sizes)}")
    lengths, shown = [len(d.ids) for d in documents], [len(d.frames) for d in documents]
    pixels = np.concatenate([d.frames for d in documents]).transpose(0, 3, 1, 2)
    return Pack(
        keys=tuple(d.keys for d in documents),
        ids=_row([d.ids for d in documents]),
        labels=_row([d.labels for d in documents]),
        branch=_row([d.branch for d in documents]),
        doc=torch.repeat_interleave(torch.arange(len(documents)), torch.tensor(lengths)),
        weight=torch.repeat_interleave(torch.tensor([d.weight for d in documents]), torch.tensor(lengths)),
        slots=_slots(documents, lengths),
        pixels=torch.from_numpy(np.ascontiguousarray(pixels)),
        sample=torch.repeat_interleave(torch.arange(len(documents)), torch.tensor(shown)),
        frame=_row([np.arange(n) for n in shown]),
        time_s=torch.from_numpy(np.concatenate([d.at_s for d in documents]).astype(np.float32)),
        duration_s=torch.tensor([d.duration_s for d in documents], dtype=torch.float32),
        film=torch.tensor([d.film for d in documents]),
        pair=torch.tensor([d.pair for d in documents]),
        crop=_crops(documents),
    )


def _row(parts: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def _crops(documents: list[Document]) -> Tensor | None:
    if all(d.crops is None for d in documents):
        return None
    held = [np.tile(WHOLE, (len(d.frames), 1)) if d.crops is None else d.crops for d in documents]
    return torch.from_numpy(np.concatenate(held).astype(np.float32))


def _slots(documents: list[Document], lengths: list[int]) -> dict[str, Slots]:
    """Slots by codec, with places counted in the row."""
    starts = np.cumsum([0, *lengths[:-1]])
    held = [(s, int(start)) for d, start in zip(documents, starts, strict=True) for s in d.slots]
    return {
        name: Slots(
            torch.tensor([s.at + start for s, start in held if s.codec == name]),
            torch.tensor([s.values for s, _ in held if s.codec == name]),
        )
        for name in sorted({s.codec for s, _ in held})
    }
