"""The model: a tower sees, reducers and a projector condense, the words are read with what was seen.

>>> from reelmill.training.ladder import XS, trunk
>>> model = trunk(XS, words=64)
>>> sum(p.numel() for p in model.parameters()) < 1_000_000
True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from reelmill.training.attention import Cache
from reelmill.training.documents import Pack
from reelmill.training.head import Classes, CrossEntropy, Said, cross_entropy, said
from reelmill.training.mrope import Axes
from reelmill.training.seams import Around, Codec, Hook, Policy, PreFusion
from reelmill.training.splice import spliced
from reelmill.training.trunk import Causal, body_of, run
from reelmill.training.values import Seq, Text, Vis


class VLM(nn.Module):
    """A vision-language model of a tower, a reducer and a causal language model of transformers.

    `visual_id` is the id that stands for a document's media, or for each of its frames. `codecs` are by what they
    write ("time", "box"), `slot_ids` the id of each slot's name. `by_words` says that the prompt decides what is seen,
    in the reducer or in a hook: a video is then not shared between questions. `objective` has weights of its own, or is
    None. `axes` places tokens where positions have three.
    """

    def __init__(
        self,
        tower: nn.Module,
        reducer: nn.Module,
        lm: nn.Module,
        *,
        visual_id: int,
        codecs: Mapping[str, nn.Module] | None = None,
        slot_ids: Mapping[str, int] | None = None,
        prefusion: nn.Module | None = None,
        hooks: Sequence[Hook | Around] = (),
        policy: Policy | None = None,
        by_words: bool = False,
        objective: nn.Module | None = None,
        axes: Axes | None = None,
    ) -> None:
        super().__init__()
        body_of(lm)
        self.tower, self.reducer, self.lm, self.prefusion = tower, reducer, lm, prefusion
        self.codecs, self.objective = nn.ModuleDict(codecs or {}), objective
        self.learned_hooks = nn.ModuleList([h for h in hooks if isinstance(h, nn.Module)])
        self.hooks, self.policy, self.visual_id = tuple(hooks), policy or Causal(), visual_id
        self.cross_entropy: CrossEntropy = cross_entropy
        self.axes = axes
        self.slot_ids, self.by_words = dict(slot_ids or {}), by_words or prefusion is not None

    def codec(self, slot: str) -> Codec:
        """Who reads and writes a slot. Raises KeyError for a slot that no codec has."""
        for codec in self.codecs.values():
            if slot in getattr(codec, "names", ()):
                return codec  # type: ignore[no-any-return]
        raise KeyError(f"no codec writes {slot!r}: this model has {sorted(self.codecs)}")

    def words(self, pack: Pack) -> Tensor:
        """Embeddings [S, D] of a pack's ids, with those of their numbers where slots stand."""
        embedded: Tensor = body_of(self.lm).embed_tokens(pack.ids.where(pack.ids != self.visual_id, 0))
        for name, slots in pack.slots.items():
            embedded = embedded.index_copy(0, slots.at, self.codec(name).embed(name, slots.values).to(embedded.dtype))
        return embedded

    def prompts(self, pack: Pack, words: Tensor) -> Text:
        """The words that come before any answer. Raises ValueError for a video that several questions share."""
        kept = ((pack.labels < 0) & (pack.ids != self.visual_id)).nonzero().squeeze(1)
        forked = pack.doc[kept[pack.branch[kept] > 1]].unique()
        if len(forked):
            raise ValueError(
                f"{len(forked)} documents share a video between questions, and this model sees by the words"
            )
        doc = pack.doc[kept]
        counts = torch.bincount(doc, minlength=pack.documents)
        slot = torch.arange(len(kept), device=doc.device) - (counts.cumsum(0) - counts)[doc]
        at = torch.zeros(pack.documents, int(counts.max()), dtype=torch.long, device=doc.device)
        at[doc, slot] = kept
        mask = torch.arange(at.shape[1], device=doc.device) < counts.unsqueeze(1)
        return Text(words[at] * mask.unsqueeze(-1), mask, at)

    def see(self, pack: Pack, words: Tensor, budget: int | None = None) -> tuple[Vis | None, Tensor]:
        """Reduced visual tokens, None without media, and the words, which a pre-fusion may have changed."""
        if not len(pack.pixels):
            return None, words
        text = self.prompts(pack, words) if self.by_words else None
        full = self.tower(pack)
        vis: Vis = self.reducer(full, text, budget)
        if self.prefusion is None or text is None:
            return vis, words
        fusion: PreFusion = self.prefusion
        vis, fused = fusion(full, vis, text)
        return vis, words.index_copy(0, fused.at[fused.mask], fused.h[fused.mask].to(words.dtype))

    def row(self, pack: Pack, budget: int | None = None) -> Seq:
        """What the language model reads."""
        words = self.words(pack)
        vis, words = self.see(pack, words, budget)
        return spliced(pack, words, vis, self.visual_id, self.axes)

    def read(self, seq: Seq, documents: int, cache: Cache | None = None) -> Seq:
        """States of a row, behind the last norm."""
        return run(self.lm, seq, documents=documents, policy=self.policy, hooks=self.hooks, cache=cache)

    def forward(self, pack: Pack, budget: int | None = None) -> Seq:
        """States of a pack. `budget` asks the reducer for so many tokens a group."""
        return self.read(self.row(pack, budget), pack.documents)

    def outputs(self) -> list[Tensor]:
        """Rows of the vocabulary, then those of each slot that has classes of its own."""
        return [self._vocabulary(), *self._own_classes().values()]

    def _vocabulary(self) -> Tensor:
        head: Any = self.lm.get_output_embeddings()
        weight: Tensor = head.weight
        return weight

    def of_words(self) -> list[str]:
        """Names of the weights that have a row for each word."""
        ends = (self.lm.get_input_embeddings(), self.lm.get_output_embeddings())
        tables = {end.weight.data_ptr() for end in ends if isinstance(end, nn.Embedding | nn.Linear)}
        return [name for name, weight in self.state_dict().items() if weight.data_ptr() in tables]

    def _own_classes(self) -> dict[str, Tensor]:
        found = {name: self.codec(name).rows(name) for name in self.slots()}
        return {name: rows for name, rows in found.items() if rows is not None}

    def classes(self) -> Classes:
        """All that a state can say."""
        own = self._own_classes()
        parts = [self._vocabulary(), *own.values()]
        start = dict(zip(own, accumulate(map(len, parts)), strict=False))
        return Classes(torch.cat(parts) if own else parts[0], start)

    def slots(self) -> list[str]:
        """Names of all slots."""
        return [name for codec in self.codecs.values() for name in getattr(codec, "names", ())]

    def said(self, seq: Seq) -> Said:
        """-log p of every learned token, with what codecs make of its numbers added."""
        return self.numbered(seq, self.worded(seq))

    def worded(self, seq: Seq) -> Said:
        """-log p of every learned token alone."""
        classes = self.classes()
        soft = {n: self.codec(n).target(n, s.values) for n, s in seq.slots.items() if n in classes.start}
        return said(seq, classes, soft, self.cross_entropy)

    def numbered(self, seq: Seq, found: Said) -> Said:
        """What `worded` found, with what codecs make of the numbers added."""
        nll = found.nll
        for name, slots in seq.slots.items():
            rows = seq.rows(slots.at)
            learned = (seq.label[rows] >= 0).nonzero().squeeze(1)
            where = torch.searchsorted(found.at, rows[learned])
            more = self.codec(name).loss(name, found.states[where], slots.values[learned])
            nll = nll.index_add(0, where, more.float())
        return Said(found.at, found.states, nll)

    def told(self, values: Mapping[str, Any]) -> None:
        """Sets what a schedule says, by paths as "hooks.0.stride"."""
        for path, value in values.items():
            *way, last = path.split(".")
            owner: Any = self
            for step in way:
                owner = owner[int(step)] if step.isdigit() else getattr(owner, step)
            setattr(owner, last, value)

    def parts(self) -> Iterable[tuple[str, nn.Module]]:
        """What stages freeze and give learning rates to."""
        named = {"tower": self.tower, "reducer": self.reducer, "lm": self.lm, "codecs": self.codecs}
        more = {"prefusion": self.prefusion, "hooks": self.learned_hooks, "objective": self.objective}
        return [(name, m) for name, m in (named | more).items() if m is not None]
