"""Greedy answers: the prompts of a pack are read once, then every document says a token at a time.

Nothing is padded: a step's row has one token for each document that still speaks, and each layer keeps its own keys and
values, fewer behind a pruning. What a document says does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from reelmill.training.attention import Cache
from reelmill.training.documents import IGNORED, Document, packed
from reelmill.training.head import Classes
from reelmill.training.trunk import body_of, following
from reelmill.training.values import TEXT, Seq
from reelmill.training.vlm import VLM


@dataclass(slots=True)
class Answer:
    """What one branch of a document says: ids of words and slots, the numbers of each slot (place in `ids`, name,
    values in [0, 1]), and the log-probability of each token. `ended` is False where it was cut off."""

    ids: list[int] = field(default_factory=list)
    slots: list[tuple[int, str, tuple[float, ...]]] = field(default_factory=list)
    logs: list[float] = field(default_factory=list)
    ended: bool = False


def answer(
    model: VLM, documents: Sequence[Document], *, end: int, longest: int = 64, budget: int | None = None
) -> list[list[Answer]]:
    """Greedy answers to prompts, one a branch (branch 0 where there are no others), in the order of the branches.

    Tokens that the documents are to learn are ignored: the prompts must end where answers begin. At most `longest`
    tokens. Ties go to the lower id.
    """
    pack = packed(list(documents)).to(next(model.parameters()).device)
    with torch.no_grad():
        row = model.row(replace(pack, labels=torch.full_like(pack.labels, IGNORED)), budget)
        return spoken(model, row, pack.documents, Cache(), end=end, longest=longest)


def spoken(model: VLM, row: Seq, documents: int, cache: Cache, *, end: int, longest: int) -> list[list[Answer]]:
    """Greedy answers to the prompts of a row, which goes on from `cache` and is added to it. Needs `torch.no_grad`."""
    return State.begun(model, row, documents, cache).speak(end=end, longest=longest)


@dataclass
class State:
    """Where every speaking branch stands: the state that says its next token, its next position and index."""

    model: VLM
    cache: Cache
    classes: Classes
    documents: int
    h: Tensor
    doc: Tensor
    branch: Tensor
    pos: Tensor
    index: int
    owner: list[int]
    answers: list[Answer]
    whose: list[int]
    next_words: Tensor

    @classmethod
    def begun(cls, model: VLM, row: Seq, documents: int, cache: Cache) -> State:
        """The prompts read."""
        read = model.read(row, documents, cache)
        speaks = row.rows(row.index[row.ends])
        at = read.rows(row.index[speaks])
        whose = list(range(len(at)))
        return cls(
            model,
            cache,
            model.classes(),
            documents,
            h=read.h[at],
            doc=read.doc[at],
            branch=read.branch[at],
            pos=following(model.policy, row)[speaks],
            index=int(row.index[-1]) + 1,
            owner=read.doc[at].tolist(),
            answers=[Answer() for _ in whose],
            whose=whose,
            next_words=read.h[:0],
        )

    def forked(self) -> State:
        """The same place, from where something may be said that this one does not hear."""
        return replace(self, cache=self.cache.fork(), answers=[Answer() for _ in self.answers])

    def speak(self, *, end: int, longest: int, sure: float = 0.0) -> list[list[Answer]]:
        """At most `longest` tokens of each branch. Of their first tokens `end` is none where its probability is below
        `sure`: then the best other one is said."""
        for number in range(longest):
            if number:
                self.step()
            if self.silent(end, 0.0 if number else sure):
                break
        return self.by_document()

    def silent(self, end: int, sure: float = 0.0) -> bool:
        """Says the next token of each branch; those that say `end` stop. Whether nobody speaks any more."""
        logits = (self.h @ self.classes.weight.T).float()
        logits[:, self.model.visual_id] = -torch.inf  # nobody can say a video
        logs = logits.log_softmax(-1)
        if sure > 0:
            logs[:, end] = logs[:, end].masked_fill(logs[:, end].exp() < sure, -torch.inf)
        best = logs.argmax(-1)
        words, kept = [], []
        for i, (token, log) in enumerate(zip(best.tolist(), logs.gather(1, best[:, None])[:, 0].tolist(), strict=True)):
            spoken = self.answers[self.whose[i]]
            spoken.logs.append(log)
            spoken.ended = token == end
            if not spoken.ended:
                kept.append(i)
                words.append(self._said(token, self.h[i : i + 1], spoken))
        self._keep(kept)
        self.next_words = torch.cat(words) if words else self.h[:0]
        return not kept

    def _said(self, token: int, h: Tensor, spoken: Answer) -> Tensor:
        """The embedding [1, D] of what was said, which is kept in the answer."""
        name = self._slot(token)
        if name is None:
            spoken.ids.append(token)
            words: Tensor = body_of(self.model.lm).embed_tokens(torch.tensor([token], device=h.device))
            return words
        codec = self.model.codec(name)
        values = codec.read(name, h)
        spoken.slots.append((len(spoken.ids), name, tuple(values[0].tolist())))
        spoken.ids.append(self.model.slot_ids.get(name, token))
        return codec.embed(name, values).to(h.dtype)

    def _slot(self, token: int) -> str | None:
        """The slot that a token or a class stands for."""
        own = [name for name, start in self.classes.start.items() if token >= start]
        if own:
            return own[-1]
        by_id = [n for n in self.model.slots() if n not in self.classes.start and self.model.slot_ids.get(n) == token]
        return by_id[0] if by_id else None

    def _keep(self, kept: list[int]) -> None:
        at = torch.tensor(kept, dtype=torch.long, device=self.h.device)
        self.h, self.doc, self.branch, self.pos = self.h[at], self.doc[at], self.branch[at], self.pos[at]
        self.whose = [self.whose[i] for i in kept]

    def step(self) -> None:
        """What was said is read."""
        number = torch.arange(len(self.doc), device=self.h.device)
        same = torch.full_like(self.doc, IGNORED)
        seq = Seq(
            h=self.next_words,
            pos=self.pos,
            kind=torch.full_like(self.doc, TEXT),
            doc=self.doc,
            branch=self.branch,
            label=same,
            weight=self.next_words.new_zeros(len(self.doc)),
            index=self.index + number,
            before=torch.full_like(self.doc, -1),
        )
        self.index += len(number)
        self.h, self.pos = self.model.read(seq, self.documents, self.cache).h, self.pos + 1

    def by_document(self) -> list[list[Answer]]:
        """Answers of each document's branches."""
        found: list[list[Answer]] = [[] for _ in range(self.documents)]
        for owner, spoken in zip(self.owner, self.answers, strict=True):
            found[owner].append(spoken)
        return found
