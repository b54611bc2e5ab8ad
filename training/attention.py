"""Attention of a packed row: documents side by side, branches apart, and the keys and values of earlier passes.

Registered with transformers as `ROWS`. The hidden states stay packed, so linear layers see no padding. Where nothing
but order decides and a GPU computes in half precision, attention is not padded either: FlashAttention-2 (arXiv
2307.08691) reads the row and where each document begins. Else, only here, the row falls into documents, padded to the
longest of about the same length; no mask is ever as wide as the row. It needs a `Layout`: transformers builds no mask
for a function it does not know, and would let every token see all others, so a call without one is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

from reelmill.training.seams import Policy
from reelmill.training.values import TEXT, Seq

ROWS = "reelmill_rows"
_GROUPS_AN_OCTAVE = 2
"""Groups of lengths between n and 2 n tokens: of 120, 170 and 240, say."""
_WIDEST, _ALIGNED, _CAPABLE = 256, 8, (8, 0)
"""What FlashAttention-2 takes: heads of at most 256 numbers, a multiple of 8, on Ampere and later."""


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


class _Lines:
    """Documents of about the same length, a line each: `places` int64 [docs * L] says which token of the row stands
    where, the row's length where none does."""

    def __init__(self, seq: Seq, documents: Tensor, counts: Tensor, policy: Policy) -> None:
        self.lines, self.longest, self.length = len(documents), int(counts[documents].max()), seq.length
        starts = (counts.cumsum(0) - counts)[documents]
        slot = torch.arange(self.longest, device=seq.doc.device)
        real = slot < counts[documents].unsqueeze(1)
        self.places = torch.where(real, starts.unsqueeze(1) + slot, self.length).flatten()
        self.full = bool(real.all()) and self.lines * self.longest == self.length
        self.policy = policy
        self.seen = Seen(self.of(seq.index), self.of(seq.kind), self.of(seq.branch), real)
        self.asks = self.of(asking(seq).long()).bool() & real
        self.bias = None if seq.bias is None else self.of(seq.bias)
        self.plain = bool((self.seen.branch <= 1).all()) and self.bias is None
        self._behind: dict[int, tuple[Seen | None, Seen]] = {}
        self._masks: dict[int, Tensor] = {}

    def of(self, row: Tensor) -> Tensor:
        """[S, ...] to [docs, L, ...], zeros behind the end."""
        if not self.full:
            row = pad(row, (0, 0) * (row.dim() - 1) + (0, 1))[self.places]
        return row.view(self.lines, self.longest, *row.shape[1:])

    def heads(self, states: Tensor) -> Tensor:
        """[docs * L, heads, d] to [docs, heads, L, d]."""
        return states.view(self.lines, self.longest, *states.shape[1:]).transpose(1, 2)

    def attention(self, query: Tensor, key: Tensor, value: Tensor, seen: Seen, scale: float, dropout: float) -> Tensor:
        """[docs, heads, L, d] to [docs * L, heads, d]. Where nothing but order decides, no mask is needed: what pads a
        line stands behind its end."""
        ordered = self.plain and seen is self.seen and self.policy.sees(seen.kind[:1, :1], seen.kind[:1, :1]) is None
        shared, mask = key.shape[1] != query.shape[1], None if ordered else self.biased(self.mask(seen), query.dtype)
        out = scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=ordered, dropout_p=dropout, scale=scale, enable_gqa=shared
        )
        return out.transpose(1, 2).reshape(self.lines * self.longest, out.shape[1], out.shape[3])

    def biased(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        """The mask, with what a hook adds to the tokens of this pass; a token's view of itself stays as it is."""
        if self.bias is None:
            return mask
        earlier = mask.shape[-1] - self.longest
        bias = pad(self.bias, (earlier, 0))[:, None, None, :].expand(-1, 1, self.longest, -1)
        own = torch.eye(self.longest, dtype=torch.bool, device=mask.device)
        bias = bias.masked_fill(pad(own, (earlier, 0)), 0.0)
        return bias.masked_fill(~mask, -torch.inf).to(dtype)

    def mask(self, seen: Seen) -> Tensor:
        """bool [docs, 1, L, keys]. A padding query sees itself, as a softmax over nothing has no value."""
        if id(seen) not in self._masks:
            self._masks[id(seen)] = self._who_sees_whom(seen).unsqueeze(1)
        return self._masks[id(seen)]

    def after(self, earlier: Seen | None) -> Seen:
        """All so far. Layers that hold the same tokens share one, and with it a mask; equal numbers are not enough, as
        behind a pruning one document may be shorter while the longest is not."""
        if id(earlier) not in self._behind:
            self._behind[id(earlier)] = earlier, self.seen if earlier is None else self.seen.after(earlier)
        return self._behind[id(earlier)][1]

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

    def scored(self, of: str, query: Tensor, key: Tensor, seen: Seen, scale: float) -> Tensor:
        """Attention that each token gets from the queries asked for, float32 [docs * L]."""
        with torch.no_grad():
            asks = self.asks if of == "last" else self.seen.valid & (self.seen.kind == TEXT)
            at = asks.float().topk(int(asks.sum(1).max()), dim=1).indices
            lines = torch.arange(self.lines, device=at.device).unsqueeze(1)
            queries = query.transpose(1, 2)[lines, at].transpose(1, 2).float()
            keys = key.repeat_interleave(query.shape[1] // key.shape[1], 1).float()
            logits = (queries @ keys.transpose(-1, -2)) * scale
            visible = self.mask(seen)[:, 0][lines, at].unsqueeze(1)
            share = logits.masked_fill(~visible, -torch.inf).softmax(-1).mean(1)
            counted = asks.gather(1, at).float()
            mean = (share * counted.unsqueeze(-1)).sum(1) / counted.sum(1, keepdim=True).clamp(min=1)
            return mean[:, -self.longest :].flatten()


class Layout:
    """How a row falls into documents, and who sees whom in each.

    Documents of about the same length are padded together: one of 1,000 tokens does not make fifty of 100 tokens pay.
    With a cache all `documents` have a line, in their order. `scored` maps layers to "last" or "all"; what they attend
    to is then in `scores`, float32 [S] in row order, the mean over heads and over the queries that were asked for.
    """

    def __init__(
        self,
        seq: Seq,
        policy: Policy,
        documents: int,
        cache: Cache | None = None,
        scored: Mapping[int, str] | None = None,
    ) -> None:
        self.counts = torch.bincount(seq.doc, minlength=documents)
        self.seq, self.policy, self.cache, self.scored = seq, policy, cache, scored or {}
        self.scores: dict[int, Tensor] = {}

    @cached_property
    def parts(self) -> list[_Lines]:
        """Documents in groups; with a cache in one."""
        every = torch.arange(len(self.counts), device=self.counts.device)
        groups = [every] if self.cache is not None else _alike(self.counts)
        return [_Lines(self.seq, group, self.counts, self.policy) for group in groups]

    @cached_property
    def _flat(self) -> Tensor:
        """int64 [S]: where each token of the row stands in the lines of all parts."""
        places = torch.cat([part.places for part in self.parts])
        real = places < self.seq.length
        flat = torch.zeros_like(self.seq.doc)
        flat[places[real]] = real.nonzero().squeeze(1)
        return flat

    @cached_property
    def ordered(self) -> bool:
        """Whether nothing but order decides who sees whom, in every document."""
        kind = self.seq.kind[:1]
        if self.cache is not None or self.seq.bias is not None or self.policy.sees(kind, kind) is not None:
            return False
        return bool((self.seq.branch <= 1).all())

    @cached_property
    def starts(self) -> tuple[Tensor, int]:
        """int32 [documents + 1]: where each document begins in the row, and its end; and the longest one's tokens."""
        return pad(self.counts.cumsum(0), (1, 0)).int(), int(self.counts.max())

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, dropout: float) -> Tensor:
        """[1, heads, S, d] each (keys and values may have fewer heads) to [1, S, heads, d]."""
        row = [states[0].transpose(0, 1) for states in (query, key, value)]
        if not dropout and layer not in self.scored and _unpadded(query) and self.ordered:
            (q, k, v), (starts, longest) = map(_halved, row), self.starts
            return of_row(q, k, v, starts, longest, scale).unsqueeze(0)
        lines = [self._lines(states) for states in row]
        outs, scores = [], []
        for part, *own in zip(self.parts, *lines, strict=True):
            (q, k, v), seen = map(part.heads, own), part.seen
            if self.cache is not None:
                seen = part.after(self.cache.seen.get(layer))
                k, v = self.cache.add(layer, k, v, seen)
            if layer in self.scored:
                scores.append(part.scored(self.scored[layer], q, k, seen, scale))
            outs.append(part.attention(q, k, v, seen, scale, dropout))
        if scores:
            self.scores[layer] = torch.cat(scores)[self._flat]
        out = outs[0] if self.parts[0].full else torch.cat(outs).index_select(0, self._flat)
        return out.unsqueeze(0)

    def _lines(self, row: Tensor) -> list[Tensor]:
        """[S, heads, d] to the lines of each part, zeros behind their ends. One copy for all parts, whose gradient is
        one too: an index of each part's places would sort them, and add up what pads."""
        if self.parts[0].full:
            return [row]
        sizes = [len(part.places) for part in self.parts]
        return list(row.new_zeros(sum(sizes), *row.shape[1:]).index_copy(0, self._flat, row).split(sizes))


def of_row(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, longest: int, scale: float) -> Tensor:
    """[S, heads, d] each, where documents begin at `starts` int32 [documents + 1], to the same: every token sees those
    before it in its document. On a GPU in half precision alone.

    PyTorch's own FlashAttention, by the operator below `torch.nn.attention.varlen`, whose arguments are those of 2.11
    and of 2.13, where the function's own are not."""
    out: Tensor
    out, *_ = torch.ops.aten._flash_attention_forward(
        query, key, value, starts, starts, longest, longest, 0.0, True, False, scale=scale
    )
    return out


def _halved(states: Tensor) -> Tensor:
    """As autocast does for attention of its own."""
    wanted = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else states.dtype
    return states.to(wanted)


def _unpadded(query: Tensor) -> bool:
    """Whether `of_row` takes such states here."""
    half = torch.is_autocast_enabled("cuda") or query.dtype in (torch.bfloat16, torch.float16)
    wide = query.shape[-1] > _WIDEST or query.shape[-1] % _ALIGNED
    return query.is_cuda and half and not wide and torch.cuda.get_device_capability(query.device) >= _CAPABLE


def _alike(counts: Tensor) -> list[Tensor]:
    """Documents in groups whose longest is at most half as long again as their shortest; empty ones in none."""
    kept = counts.nonzero().squeeze(1)
    group = (counts[kept].float().log2() * _GROUPS_AN_OCTAVE).floor()
    return [kept[group == g] for g in group.unique().tolist()]


def asking(seq: Seq) -> Tensor:
    """bool [S]: the last token of each prompt, whose next one is learned, or is to be said where nothing is learned."""
    earlier = seq.rows(seq.before.clamp(min=0)).clamp(max=max(seq.length - 1, 0))
    first = (seq.label >= 0) & (seq.label[earlier] < 0) & (seq.before >= 0)
    says = torch.zeros_like(seq.doc, dtype=torch.bool)
    says[earlier[first]] = True
    told = torch.isin(seq.doc, seq.doc[says])
    return says | (seq.ends & ~told)


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
    """What transformers calls in every layer of a model with `attn_implementation=ROWS`; never compiled, as its shapes
    are those of the documents.

    Raises TypeError without a Layout.
    """
    if not isinstance(attention_mask, Layout):
        raise TypeError(f"attention {ROWS!r} needs a Layout, got {type(attention_mask).__name__}: use trunk.run")
    layer: Any = module.layer_idx
    return attention_mask.attend(layer, query, key, value, scaling, dropout), None


AttentionInterface.register(ROWS, torch.compiler.disable(attend))
