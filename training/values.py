"""The two values that flow: visual tokens, and the row of hidden states that the language model reads.

Every paper here is written in their fields: pools need the grid place, codes need the time, masks need the kind, packing
needs the document, and pruning needs the index in the row before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from reelmill.training.documents import Slots

TEXT = -1
"""The kind of a text token; a visual token's kind is the number of its frame."""


@dataclass(frozen=True, slots=True)
class Text:
    """The words that a reducer may look at: `h` [documents, Lt, D] embeddings of each document's prompt, `mask` bool
    [documents, Lt]. Answers are never in it."""

    h: Tensor
    mask: Tensor

    def mean(self) -> Tensor:
        """Mean embedding of each prompt, [documents, D]; zeros for an empty one."""
        kept = self.mask.unsqueeze(-1).to(self.h.dtype)
        return (self.h * kept).sum(1) / kept.sum(1).clamp(min=1)


@dataclass(frozen=True, slots=True)
class Vis:
    """Visual tokens of n groups: a group is a frame, a picture, a slice, or a whole video once a reducer made it so.

    `x` [n, L, C]. `mask` bool [n, L], None where all count. `place` [n, L, 2]: row and column of the token's middle, in
    shares of the frame. `frame` int64 [n, L] the number of its frame, `time_s` [n, L] its time, `sample` int64 [n] the
    document, not falling. `grid` is (rows, columns) while tokens stand in row-major order, None after a selection or a
    merge. `size` [n, L] counts the patches that a token stands for. `score` [n, L] the tower's attention from its class
    token, `cls` [n, C] that token, `levels` hidden states of earlier layers [n, L, C].
    """

    x: Tensor
    place: Tensor
    frame: Tensor
    time_s: Tensor
    sample: Tensor
    grid: tuple[int, int] | None = None
    mask: Tensor | None = None
    size: Tensor | None = None
    score: Tensor | None = None
    cls: Tensor | None = None
    levels: tuple[Tensor, ...] = ()

    @property
    def groups(self) -> int:
        return self.x.shape[0]

    @property
    def tokens(self) -> int:
        """Tokens in a group, masked ones too."""
        return self.x.shape[1]

    def counts(self) -> Tensor:
        """int64 [n]: tokens that count in each group."""
        if self.mask is None:
            return torch.full((self.groups,), self.tokens, device=self.x.device)
        return self.mask.sum(1)

    def with_x(self, x: Tensor) -> Vis:
        """The same places with other features."""
        return replace(self, x=x)

    def take(self, index: Tensor) -> Vis:
        """Tokens `index` int64 [n, k] of each group, in that order. The grid is lost."""

        def picked(t: Tensor | None) -> Tensor | None:
            if t is None:
                return None
            return t.gather(1, index if t.dim() == 2 else index.unsqueeze(-1).expand(-1, -1, t.shape[-1]))

        x, place, frame, time_s = (picked(t) for t in (self.x, self.place, self.frame, self.time_s))
        assert x is not None and place is not None and frame is not None and time_s is not None
        return replace(
            self,
            x=x,
            place=place,
            frame=frame,
            time_s=time_s,
            grid=None,
            mask=picked(self.mask),
            size=picked(self.size),
            score=picked(self.score),
            levels=tuple(level for level in map(picked, self.levels) if level is not None),
        )


@dataclass(frozen=True, slots=True)
class Seq:
    """One packed row of S tokens.

    `h` [S, D]. `pos` [S] the position that rotates it. `kind` int64 [S]: TEXT or the number of the frame. `doc`, `branch`
    int64 [S] as in a document, doc -1 for padding. `label` int64 [S] what stands at this place, IGNORED where nothing is
    learned from it; `weight` [S] of its loss. `index` int64 [S] the place in the row before any pruning, rising.
    `slots` are places where numbers stand, counted in this row. `prompt` bool [S]: text of a question, not of an answer.
    """

    h: Tensor
    pos: Tensor
    kind: Tensor
    doc: Tensor
    branch: Tensor
    label: Tensor
    weight: Tensor
    index: Tensor
    prompt: Tensor
    slots: Mapping[str, Slots] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return self.h.shape[0]

    def keep(self, kept: Tensor) -> Seq:
        """Tokens `kept` int64 [S'] of the row, rising; slots that are dropped are gone.

        A token that is learned from must stay: hooks drop visual tokens only.
        """
        new = torch.full((self.length,), -1, device=kept.device)
        new[kept] = torch.arange(len(kept), device=kept.device)
        slots = {}
        for name, s in self.slots.items():
            at = new[s.at]
            slots[name] = Slots(at[at >= 0], s.values[at >= 0])
        return Seq(
            *(t[kept] for t in (self.h, self.pos, self.kind, self.doc, self.branch, self.label, self.weight)),
            index=self.index[kept],
            prompt=self.prompt[kept],
            slots=slots,
        )

    def with_h(self, h: Tensor) -> Seq:
        """The same row with other states."""
        return replace(self, h=h)


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss before it is divided: `total` over tokens (or pairs), `weight` how many they weigh, both scalars.

    A step that accumulates packs divides the sum of totals by the sum of weights, so that it equals one big batch.
    `parts` are sums for the display, divided by the same weight.
    """

    total: Tensor
    weight: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
