"""Prompts near their own answers and far from the others of the pack (LLaVE, arXiv 2503.04812).

With s_ij the cosine of prompt i and answer j, both read at their last token, each prompt costs

    -log ( e^(s_ii / t)  /  ( e^(s_ii / t) + sum over j != i of w_ij e^(s_ij / t) ) ),    w_ij = e^(alpha s_ij)

and each answer the same over the prompts; the loss is the mean of both. The weights are constants to the gradient: the
harder a negative is already, the larger its share. Formula and defaults are those of the released code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from reelmill.training.documents import IGNORED, Pack, Slots
from reelmill.training.values import Loss, Seq
from reelmill.training.vlm import VLM


@dataclass
class Contrastive:
    """InfoNCE within a pack, its negatives weighted by their hardness; `alpha` 0 is the plain one.

    A pair is an answer and all that came before it: several questions about a video, or the turns of a dialogue, are
    several pairs. The answer is read alone. Answers that say the same are no negatives of one another, which is ours.
    """

    alpha: float = 9.0
    temperature: float = 0.02

    def __call__(self, model: VLM, pack: Pack) -> Loss:
        """A sum over pairs; "accuracy" counts prompts whose own answer is the nearest. Raises ValueError on a pack
        without answers, and on streams, whose frames and replies stand in turn."""
        if bool(pack.silent.any()) or not bool((pack.labels >= 0).any()):
            raise ValueError("pairs are prompts and answers: this pack has streams, or no answers")
        number, first = answers(pack)
        alone = apart(pack, number)
        query, target = asked(model(pack), first), told(model(alone))
        nll, near = info_nce(query, target, said_alike(alone), alpha=self.alpha, temperature=self.temperature)
        weight = pack.weight[pack.labels >= 0][first]
        total = (nll * weight).sum()
        return Loss(total, weight.sum(), {"contrastive": total, "accuracy": (near * weight).sum()})


def answers(pack: Pack) -> tuple[Tensor, Tensor]:
    """Of every learned token the number of its answer, int64 [K], and whether it is its first, bool [K]: an answer is
    learned tokens without a gap, and no branch begins with one."""
    at = (pack.labels >= 0).nonzero().squeeze(1)
    first = torch.cat([torch.ones_like(at[:1], dtype=torch.bool), at[1:] > at[:-1] + 1])
    return first.cumsum(0) - 1, first


def apart(pack: Pack, number: Tensor) -> Pack:
    """Every answer a document of its own, without frames. Nothing is learned of it."""
    kept = (pack.labels >= 0).nonzero().squeeze(1)
    whose = pack.doc[kept][torch.searchsorted(number, torch.arange(int(number[-1]) + 1, device=number.device))]
    slots = {name: _held(slots, kept) for name, slots in pack.slots.items()}
    return replace(
        pack,
        keys=tuple(pack.keys[doc] for doc in whose.tolist()),
        ids=pack.ids[kept],
        labels=torch.full_like(kept, IGNORED),
        branch=torch.zeros_like(kept),
        doc=number,
        weight=pack.weight[kept],
        slots={name: slots for name, slots in slots.items() if len(slots.at)},
        pixels=pack.pixels[:0],
        sample=pack.sample[:0],
        frame=pack.frame[:0],
        time_s=pack.time_s[:0],
        duration_s=pack.duration_s[whose],
        film=pack.film[whose],
    )


def _held(slots: Slots, kept: Tensor) -> Slots:
    """The slots among kept tokens, where they stand now."""
    here = torch.isin(slots.at, kept)
    return Slots(torch.searchsorted(kept, slots.at[here]), slots.values[here])


def asked(seq: Seq, first: Tensor) -> Tensor:
    """States [answers, D] that say the first token of each answer: the last ones of the prompts."""
    at = (seq.label >= 0).nonzero().squeeze(1)[first]
    return seq.h[seq.rows(seq.before[at])]


def told(seq: Seq) -> Tensor:
    """States [documents, D] of the last tokens."""
    return seq.h[seq.ends]


def said_alike(pack: Pack) -> Tensor:
    """bool [documents, documents]: which say the same, numbers included."""
    words: list[list[object]] = [[] for _ in range(pack.documents)]
    for doc, token in zip(pack.doc.tolist(), pack.ids.tolist(), strict=True):
        words[doc].append(token)
    for name, slots in sorted(pack.slots.items()):
        for doc, values in zip(pack.doc[slots.at].tolist(), slots.values.tolist(), strict=True):
            words[doc].append((name, *values))
    known: dict[tuple[object, ...], int] = {}
    which = torch.tensor([known.setdefault(tuple(said), len(known)) for said in words], device=pack.ids.device)
    return which.unsqueeze(1) == which


def info_nce(
    query: Tensor, target: Tensor, alike: Tensor, *, alpha: float, temperature: float
) -> tuple[Tensor, Tensor]:
    """-log p of each pair, float32 [n], the mean of both directions, and whether its own target is the nearest to each
    query, bool [n]. `query`, `target` [n, D]; `alike` bool [n, n] are no negatives."""
    with torch.autocast(query.device.type, enabled=False):  # 50 times a cosine in bfloat16 is off by tenths
        cosine = F.normalize(query.float(), dim=-1) @ F.normalize(target.float(), dim=-1).T
    own = torch.eye(len(cosine), dtype=torch.bool, device=cosine.device)
    hardness = (alpha * cosine.detach()).masked_fill(own, 0.0)
    logits = (cosine / temperature + hardness).masked_fill(alike & ~own, -torch.inf)
    right = torch.arange(len(cosine), device=cosine.device)
    both = [F.cross_entropy(side, right, reduction="none") for side in (logits, logits.T)]
    near = cosine.masked_fill(alike & ~own, -torch.inf).argmax(1) == right
    return (both[0] + both[1]) / 2, near
