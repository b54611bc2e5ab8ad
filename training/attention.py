"""Attention of a packed row: documents side by side, branches apart, and the keys and values of earlier passes.

Registered with transformers as `ROWS`. The hidden states stay packed, so linear layers see no padding; only here the
row falls into documents, padded to the longest. It needs a `Layout`: transformers builds no mask for a function it does
not know, and would let every token see all others, so a call without one is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

from reelmill.training.seams import Policy
from reelmill.training.values import TEXT, Seq

ROWS = "reelmill_rows"


@dataclass(frozen=True, slots=True)
class Seen:
    """What attention must know of tokens, one line a document: int64 [docs, L] each; `valid` is False for padding."""

    index: Tensor
    kind: Tensor
    branch: Tensor
    valid: Tensor

    def after(self, earlier: Seen) -> Seen:
        """These behind those of earlier passes."""
        pairs = ((getattr(earlier, name), getattr(self, name)) for name in self.__slots__)
        return Seen(*(torch.cat(pair, 1) for pair in pairs))


@dataclass(slots=True)
class Cache:
    """Keys and values of earlier passes, a layer [docs, heads, L, d]; a layer behind a pruning holds fewer tokens."""

    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)
    seen: dict[int, Seen] = field(default_factory=dict)

    def add(self, layer: int, keys: Tensor, values: Tensor, seen: Seen) -> tuple[Tensor, Tensor]:
        """All so far, with those of this pass behind; `seen` tells of all of them."""
        if layer in self.keys:
            keys = torch.cat([self.keys[layer], keys], 2)
            values = torch.cat([self.values[layer], values], 2)
        self.keys[layer], self.values[layer], self.seen[layer] = keys, values, seen
        return keys, values

    def fork(self) -> Cache:
        """A cache that goes on from here by itself."""
        return Cache(dict(self.keys), dict(self.values), dict(self.seen))

    def only(self, kinds: Collection[int]) -> None:
        """Forgets visual tokens of all frames but these. Of one document: its lines have no padding then."""
        shared: dict[int, tuple[Tensor, Seen]] = {}
        for layer, seen in self.seen.items():
            if id(seen) not in shared:
                known = torch.tensor([TEXT, *kinds], device=seen.kind.device)
                at = torch.isin(seen.kind[0], known).nonzero().squeeze(1)
                shared[id(seen)] = at, Seen(*(getattr(seen, name)[:, at] for name in seen.__slots__))
            at, self.seen[layer] = shared[id(seen)]
            self.keys[layer], self.values[layer] = self.keys[layer][:, :, at], self.values[layer][:, :, at]

    def bytes(self) -> int:
        """Memory of all keys and values."""
        return sum(t.numel() * t.element_size() for kv in (self.keys, self.values) for t in kv.values())


class Layout:
    """How a row falls into `documents` lines, and who sees whom in each.

    `scored` maps layers to "last" or "all"; what they attend to is then in `scores`, float32 [S] in row order, the mean
    over heads and over the queries that were asked for.
    """

    def __init__(
        self,
        seq: Seq,
        policy: Policy,
        documents: int,
        cache: Cache | None = None,
        scored: Mapping[int, str] | None = None,
    ) -> None:
        counts = torch.bincount(seq.doc, minlength=documents)
        self.lines, self.longest, self.length = documents, int(counts.max()), seq.length
        starts = counts.cumsum(0) - counts
        self._flat = seq.doc * self.longest + torch.arange(seq.length, device=seq.doc.device) - starts[seq.doc]
        self._full = self.lines * self.longest == self.length
        self._places = torch.full((self.lines * self.longest,), self.length, device=seq.doc.device)
        self._places[self._flat] = torch.arange(self.length, device=seq.doc.device)
        self.seen = Seen(self._lined(seq.index), self._lined(seq.kind), self._lined(seq.branch), self._valid())
        self.policy, self.cache, self.scored = policy, cache, scored or {}
        self._bias = None if seq.bias is None else self._lined(seq.bias)
        self.scores: dict[int, Tensor] = {}
        self._asks = self._lined(asking(seq).long()).bool() & self.seen.valid
        self._behind: dict[int, tuple[Seen | None, Seen]] = {}
        self._masks: dict[int, Tensor] = {}

    def _valid(self) -> Tensor:
        return (self._places < self.length).view(self.lines, self.longest)

    def _lined(self, row: Tensor) -> Tensor:
        """[S, ...] to [docs, L, ...], zeros behind the end."""
        if self._full:
            return row.view(self.lines, self.longest, *row.shape[1:])
        padded = pad(row, (0, 0) * (row.dim() - 1) + (0, 1))
        return padded[self._places].view(self.lines, self.longest, *row.shape[1:])

    def _heads(self, states: Tensor) -> Tensor:
        """[1, heads, S, d] to [docs, heads, L, d]."""
        return self._lined(states[0].transpose(0, 1)).transpose(1, 2)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, dropout: float) -> Tensor:
        """[1, heads, S, d] each (keys and values may have fewer heads) to [1, S, heads, d]."""
        query, key, value, seen = self._heads(query), self._heads(key), self._heads(value), self.seen
        if self.cache is not None:
            seen = self._after(self.cache.seen.get(layer))
            key, value = self.cache.add(layer, key, value, seen)
        mask = self._mask(seen)
        if layer in self.scored:
            self.scores[layer] = self._scored(self.scored[layer], query, key, mask, scale)
        shared, bias = key.shape[1] != query.shape[1], self._biased(mask, query.dtype)
        out = scaled_dot_product_attention(
            query, key, value, attn_mask=bias, dropout_p=dropout, scale=scale, enable_gqa=shared
        )
        lines = out.transpose(1, 2).reshape(self.lines * self.longest, out.shape[1], out.shape[3])
        return (lines if self._full else lines[self._flat]).unsqueeze(0)

    def _biased(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        """The mask, with what a hook adds to the tokens of this pass; a token's view of itself stays as it is."""
        if self._bias is None:
            return mask
        earlier = mask.shape[-1] - self.longest
        bias = pad(self._bias, (earlier, 0))[:, None, None, :].expand(-1, 1, self.longest, -1)
        own = torch.eye(self.longest, dtype=torch.bool, device=mask.device)
        bias = bias.masked_fill(pad(own, (earlier, 0)), 0.0)
        return bias.masked_fill(~mask, -torch.inf).to(dtype)

    def _after(self, earlier: Seen | None) -> Seen:
        """All so far. Layers that hold the same tokens share one, and with it a mask; equal numbers are not enough, as
        behind a pruning one document may be shorter while the longest is not."""
        if id(earlier) not in self._behind:
            self._behind[id(earlier)] = earlier, self.seen if earlier is None else self.seen.after(earlier)
        return self._behind[id(earlier)][1]

    def _mask(self, seen: Seen) -> Tensor:
        """bool [docs, 1, L, keys]. A padding query sees itself, as a softmax over nothing has no value."""
        if id(seen) not in self._masks:
            self._masks[id(seen)] = self._who_sees_whom(seen).unsqueeze(1)
        return self._masks[id(seen)]

    def _who_sees_whom(self, seen: Seen) -> Tensor:
        index, kind, branch = (t.unsqueeze(2) for t in (self.seen.index, self.seen.kind, self.seen.branch))
        past = index >= seen.index.unsqueeze(1)
        more = self.policy.sees(kind, seen.kind.unsqueeze(1))
        past = past if more is None else past | more
        keys = seen.branch.unsqueeze(1)
        sees = past & ((keys == 0) | (keys == branch)) & seen.valid.unsqueeze(1)
        own = torch.arange(self.longest, device=sees.device)
        sees[:, own, seen.index.shape[1] - self.longest + own] = True
        return sees

    def _scored(self, of: str, query: Tensor, key: Tensor, mask: Tensor, scale: float) -> Tensor:
        """Attention that each token of the row gets from the queries asked for, float32 [S]."""
        with torch.no_grad():
            asks = self._asks if of == "last" else self.seen.valid & (self.seen.kind == TEXT)
            at = asks.float().topk(int(asks.sum(1).max()), dim=1).indices
            lines = torch.arange(self.lines, device=at.device).unsqueeze(1)
            queries = query.transpose(1, 2)[lines, at].transpose(1, 2).float()
            keys = key.repeat_interleave(query.shape[1] // key.shape[1], 1).float()
            logits = (queries @ keys.transpose(-1, -2)) * scale
            seen = mask[:, 0][lines, at].unsqueeze(1)
            share = logits.masked_fill(~seen, -torch.inf).softmax(-1).mean(1)
            counted = asks.gather(1, at).float()
            mean = (share * counted.unsqueeze(-1)).sum(1) / counted.sum(1, keepdim=True).clamp(min=1)
            return mean[:, -self.longest :].flatten()[self._flat]


def asking(seq: Seq) -> Tensor:
    """bool [S]: the last token of each prompt, whose next one is learned, or is to be said where nothing is learned."""
    earlier = seq.rows(seq.before.clamp(min=0)).clamp(max=max(seq.length - 1, 0))
    first = (seq.label >= 0) & (seq.label[earlier] < 0) & (seq.before >= 0)
    says = torch.zeros_like(seq.doc, dtype=torch.bool)
    says[earlier[first]] = True
    doc, branch = (torch.cat([t[1:], t.new_full((1,), -1)]) for t in (seq.doc, seq.branch))
    ends = (doc != seq.doc) | ((branch != seq.branch) & (seq.branch > 0))
    told = torch.isin(seq.doc, seq.doc[says])
    return says | (ends & ~told)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    """What transformers calls in every layer of a model with `attn_implementation=ROWS`.

    Raises TypeError without a Layout.
    """
    if not isinstance(attention_mask, Layout):
        raise TypeError(f"attention {ROWS!r} needs a Layout, got {type(attention_mask).__name__}: use trunk.run")
    layer: Any = module.layer_idx
    return attention_mask.attend(layer, query, key, value, scaling, dropout), None


AttentionInterface.register(ROWS, attend)
