"""From states to what they say: words of the vocabulary, and classes of codecs besides them.

Logits are made for learned tokens alone and a chunk at a time, so that a row of 16,384 tokens over 50,000 words never
needs them all at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from reelmill.training.values import Seq

CHUNK = 2048
"""States whose logits are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Classes:
    """`weight` [V + R, D]: rows of the vocabulary, then of each codec's slots; `start` where those of a slot begin."""

    weight: Tensor
    start: dict[str, int]


@dataclass(frozen=True, slots=True)
class Said:
    """Learned tokens of a row: their places `at` int64 [K] in it, their states [K, D], and -log p of each, float32 [K].

    A token that a codec says in parts, as a two-hot target does, has the cross-entropy of it.
    """

    at: Tensor
    states: Tensor
    nll: Tensor


def cross_entropy(states: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """-log p of `labels` int64 [K] by `states` [K, D] over the rows of `weight` [V, D]: float32 [K]."""
    return torch.nn.functional.cross_entropy((states @ weight.T).float(), labels, reduction="none")


CrossEntropy = Callable[[Tensor, Tensor, Tensor], Tensor]


def said(seq: Seq, classes: Classes, soft: dict[str, Tensor], hard: CrossEntropy = cross_entropy) -> Said:
    """-log p of each learned token. `soft[name]` [slots, R] are targets of slots with classes of their own; `hard` is
    the cross-entropy itself, or what it was compiled to."""
    at = (seq.label >= 0).nonzero().squeeze(1)
    states = seq.h[seq.rows(seq.before[at])]
    chunks = zip(states.split(CHUNK), seq.label[at].split(CHUNK), strict=True)
    nll = torch.cat([checkpoint(hard, *chunk, classes.weight, use_reentrant=False) for chunk in chunks])
    for name, target in soft.items():
        rows = seq.rows(seq.slots[name].at)
        learned = (seq.label[rows] >= 0).nonzero().squeeze(1)
        where = torch.searchsorted(at, rows[learned])
        nll = nll.index_copy(0, where, _soft(states[where], target[learned], classes, name))
    return Said(at, states, nll)


def _soft(states: Tensor, target: Tensor, classes: Classes, name: str) -> Tensor:
    logs = (states @ classes.weight.T).float().log_softmax(-1)
    own = logs[:, classes.start[name] : classes.start[name] + target.shape[1]]
    return -(target.float() * own).sum(-1)
