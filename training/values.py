"""The two values that flow: visual tokens, and the row of hidden states that the language model reads.

Every paper here is written in their fields: pools need the grid place, codes need the time, masks need the kind,
packing needs the document, and pruning needs the index in the row before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from reelmill.training.documents import Slots

TEXT = -1
"""The kind of a text token; a visual token's kind is the number of its frame."""


@dataclass(frozen=True, slots=True)
class Text:
    """The words that may change how a video is seen: each document's prompt, never an answer.

    `h` [documents, Lt, D] embeddings, `mask` bool [documents, Lt], `at` int64 [documents, Lt] places in the pack's ids.
    """

    h: Tensor
    mask: Tensor
    at: Tensor

    def mean(self) -> Tensor:
        """Mean embedding of each prompt, [documents, D]; zeros for an empty one."""
        kept = self.mask.unsqueeze(-1).to(self.h.dtype)
        return (self.h * kept).sum(1) / kept.sum(1).clamp(min=1)


@dataclass(frozen=True, slots=True)
class Vis:
    """Visual tokens of n groups: a group is a frame, a picture, a slice, or a whole video once a reducer made it so.

    `x` [n, L, C]. `mask` bool [n, L], None where all count. `place` [n, L, 2]: row and column of the token's middle, in
    shares of the frame. `frame` int64 [n, L] the number of its frame, `time` [n, L] in shares of the clip, `sample`
    int64 [n] the document, not falling. `grid` is (rows, columns) while tokens stand in row-major order, None after a
    selection or a merge. `size` [n, L] counts the patches that a token stands for, None where each is one. `scores[l]`
    [n, L] is the tower's attention from its class token in layer l, `cls` [n, C] that token; `levels[l]` [n, L, C] and
    `classes[l]` [n, C] are patches and class token of layer l. `other` are further views of the same samples. `crop`
    [n, 4] is the part (x0, y0, x1, y1) of its picture that a group shows, None where all are whole; `place` is in the
    whole.
    """

    x: Tensor
    place: Tensor
    frame: Tensor
    time: Tensor
    sample: Tensor
    grid: tuple[int, int] | None = None
    mask: Tensor | None = None
    size: Tensor | None = None
    cls: Tensor | None = None
    scores: Mapping[int, Tensor] = field(default_factory=dict)
    levels: Mapping[int, Tensor] = field(default_factory=dict)
    classes: Mapping[int, Tensor] = field(default_factory=dict)
    other: tuple[Vis, ...] = ()
    crop: Tensor | None = None

    @property
    def groups(self) -> int:
        return int(self.x.shape[0])

    @property
    def tokens(self) -> int:
        """Tokens in a group, masked ones too."""
        return int(self.x.shape[1])

    def counts(self) -> Tensor:
        """int64 [n]: tokens that count in each group."""
        if self.mask is None:
            return torch.full((self.groups,), self.tokens, device=self.x.device)
        return self.mask.sum(1)

    def sizes(self) -> Tensor:
        """float [n, L]: patches that each token stands for."""
        return torch.ones_like(self.time) if self.size is None else self.size

    def with_x(self, x: Tensor) -> Vis:
        """The same places with other features."""
        return replace(self, x=x)

    def take(self, index: Tensor) -> Vis:
        """Tokens `index` int64 [n, k] of each group, in that order. The grid is lost."""
        return replace(
            self,
            x=picked(self.x, index),
            place=picked(self.place, index),
            frame=picked(self.frame, index),
            time=picked(self.time, index),
            mask=None if self.mask is None else picked(self.mask, index),
            size=None if self.size is None else picked(self.size, index),
            grid=None,
            scores={layer: picked(s, index) for layer, s in self.scores.items()},
            levels={layer: picked(x, index) for layer, x in self.levels.items()},
        )


def picked(tokens: Tensor, index: Tensor) -> Tensor:
    """`tokens` [n, L, ...] at `index` int64 [n, k]."""
    return tokens[torch.arange(len(index), device=index.device).unsqueeze(1), index]


@dataclass(frozen=True, slots=True)
class Seq:
    """One packed row of S tokens.

    `h` [S, D]. `pos` int64 [S] the position that rotates it, or [S, 3] of three axes (training/mrope.py). `kind` int64
    [S]: TEXT or the number of the frame. `doc`, `branch` int64 [S] as in a document. `label` int64 [S] what stands at
    this place, IGNORED where nothing is learned from it, `weight` float [S] of its loss. `index` int64 [S] the place in
    the row before any pruning, rising; `before` int64 [S] the index of the state that says this token, -1 for the first
    of a document. `slots` are places where numbers stand, counted in `index`. `bias` float [S] is added to the
    attention that other tokens pay to this one. `after` int64 [S] is the position of a word right behind, None where
    that is one on.
    """

    h: Tensor
    pos: Tensor
    kind: Tensor
    doc: Tensor
    branch: Tensor
    label: Tensor
    weight: Tensor
    index: Tensor
    before: Tensor
    slots: Mapping[str, Slots] = field(default_factory=dict)
    bias: Tensor | None = None
    after: Tensor | None = None

    @property
    def length(self) -> int:
        return int(self.h.shape[0])

    @property
    def visual(self) -> Tensor:
        """bool [S]: visual tokens."""
        return self.kind != TEXT

    @property
    def ends(self) -> Tensor:
        """bool [S]: the last token of each branch, or of branch 0 where a document has no others."""
        doc, branch = (torch.cat([t[1:], t.new_full((1,), -1)]) for t in (self.doc, self.branch))
        return (doc != self.doc) | ((branch != self.branch) & (self.branch > 0))

    def keep(self, kept: Tensor) -> Seq:
        """Tokens `kept` int64 [S'] of the row, rising. Hooks drop visual tokens only, so labels stay."""
        return replace(
            self, **{f.name: v[kept] for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        )

    def with_h(self, h: Tensor) -> Seq:
        """The same row with other states."""
        return replace(self, h=h)

    def rows(self, index: Tensor) -> Tensor:
        """Where tokens of the unpruned row stand now. They must be in it still."""
        return torch.searchsorted(self.index, index)


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss before it is divided: `total` over tokens (or pairs), `weight` how many they weigh, both scalars.

    A step that accumulates packs divides the sum of totals by the sum of weights, so that it equals one big batch.
    `parts` are sums for the display, divided by the same weight; those in `counts` by what stands there.
    """

    total: Tensor
    weight: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    counts: Mapping[str, Tensor] = field(default_factory=dict)
