"""A packed row through a transformers language model, with hooks between its layers.

transformers computes mask and rotations once and gives every layer the same, so a row that loses tokens on the way
needs both anew. Forward pre-hooks do that: they stand outside of gradient checkpoints and run once, and what a model
does around its layers (embedding factors, a last norm) stays its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from reelmill.schemas.errors import BadInput
from reelmill.training.attention import ROWS, Cache, Layout
from reelmill.training.seams import Around, Hook, Policy
from reelmill.training.values import Seq

_LAID = tuple(f.name for f in fields(Seq) if f.name != "h")
"""What mask and rotations are made from: all of a row but its states."""


class Causal:
    """Positions as they stand, and nobody sees what comes later."""

    def positions(self, seq: Seq) -> Tensor:
        return seq.pos

    def sees(self, query_kind: Tensor, key_kind: Tensor) -> Tensor | None:  # noqa: ARG002 the seam's names
        return None


def following(policy: Policy, row: Seq) -> Tensor:
    """int64 [S]: the position of a word right behind each token."""
    positions = policy.positions(row)
    return positions + 1 if row.after is None else row.after + (positions - row.pos)[:, 0]


def body_of(lm: nn.Module) -> Any:
    """The layers of a causal language model.

    Raises BadInput for one that this module cannot lead a row through.
    """
    body: Any = getattr(lm, "model", lm)
    missing = [name for name in ("layers", "embed_tokens", "norm", "rotary_emb") if not hasattr(body, name)]
    kinds = set(getattr(body.config, "layer_types", None) or ()) - {"full_attention"} if not missing else set()
    if missing or kinds:
        seen = f"no {', '.join(missing)}" if missing else f"layers of {', '.join(sorted(kinds))}"
        raise BadInput(
            f"{type(lm).__name__} cannot read packed rows",
            seen=seen,
            do="choose a model of the Llama form with full attention (Llama, Qwen2, Qwen3, SmolLM2, Mistral 0.3)",
        )
    return body


class _Pass:
    """One pass of a row: what the hooks of all layers share."""

    def __init__(
        self, body: Any, seq: Seq, policy: Policy, hooks: Sequence[Hook | Around], documents: int, cache: Cache | None
    ) -> None:
        self.body, self.seq, self.policy, self.documents, self.cache = body, seq, policy, documents, cache
        self.hooks: list[Hook] = [h for h in hooks if isinstance(h, Hook)]
        self.arounds: list[Around] = [h for h in hooks if isinstance(h, Around)]
        self.scores: dict[int, Tensor] = {}
        self._scored: Mapping[int, str] = {layer: of for h in self.hooks for layer, of in h.scored.items()}
        self._waiting: list[tuple[Seq, Tensor, Tensor | None]] = []
        self._axes = 3 if "mrope_section" in (getattr(body.config, "rope_parameters", None) or {}) else 1
        self._laid_out()

    def _laid_out(self) -> None:
        """Mask and rotations of the row as it is now."""
        self.layout = Layout(self.seq, self.policy, self.documents, self.cache, self._scored)
        self.layout.scores = self.scores
        positions = self.policy.positions(self.seq)
        if self._axes > 1:  # words may come with one number for all
            positions = positions.view(self.seq.length, -1).expand(-1, self._axes).T
        self.rotations = self.body.rotary_emb(self.seq.h.unsqueeze(0), position_ids=positions.unsqueeze(-2))

    def enter(
        self, layer: int, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Before a layer: its hooks change the row, or part of it alone goes in."""
        self.seq = self.seq.with_h(args[0][0])
        for hook in self.hooks:
            if layer in hook.at:
                self._change(hook(layer, self.seq, self.scores))
        for around in self.arounds:
            if layer in around.around:
                inside, share = around.inside(layer, self.seq)
                self._waiting.append((self.seq, inside, share))
                self._change(self.seq.keep(inside))
        told = {"attention_mask": self.layout, "position_embeddings": self.rotations, "position_ids": None}
        return (self.seq.h.unsqueeze(0), *args[1:]), kwargs | told

    def _change(self, seq: Seq) -> None:
        """A row with fewer tokens falls differently into documents, and so does what was scored of it; a bias or other
        positions change the attention of as many."""
        earlier, self.seq = self.seq, seq
        if all(getattr(seq, name) is getattr(earlier, name) for name in _LAID):
            return
        if seq.length != earlier.length:
            kept = earlier.rows(seq.index)
            self.scores = {layer: score[kept] for layer, score in self.scores.items()}
        self._laid_out()

    def leave(self, output: Tensor) -> Tensor:
        """After a layer: what passed by joins again, as it was."""
        while self._waiting:
            whole, inside, share = self._waiting.pop()
            came = output[0]
            if share is not None:
                came = torch.lerp(whole.h[inside], came, share.unsqueeze(-1).to(came.dtype))
            output = whole.h.index_copy(0, inside, came).unsqueeze(0)
            if whole.length != self.seq.length:
                self.seq, self.scores = whole, {}
                self._laid_out()
        return output


@contextmanager
def _hooked(state: _Pass) -> Iterator[None]:
    """The model's layers tell `state` when they are entered and left."""
    handles = []
    for number, layer in enumerate(state.body.layers):

        def entering(_: nn.Module, args: Any, kwargs: Any, number: int = number) -> Any:
            return state.enter(number, args, kwargs)

        handles.append(layer.register_forward_pre_hook(entering, with_kwargs=True))
        if state.arounds:
            handles.append(layer.register_forward_hook(lambda _m, _a, output: state.leave(output)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run(
    lm: nn.Module,
    seq: Seq,
    *,
    documents: int,
    policy: Policy | None = None,
    hooks: Sequence[Hook | Around] = (),
    cache: Cache | None = None,
) -> Seq:
    """The row after the last layer and norm; fewer tokens where hooks dropped some.

    `documents` is how many lines of the cache, or of this row, there are. Raises BadInput for a model of another form.
    """
    body = body_of(lm)
    if body.config._attn_implementation != ROWS:
        body.set_attn_implementation(ROWS)
    state = _Pass(body, seq, policy or Causal(), hooks, documents, cache)
    with _hooked(state):
        positions = torch.zeros(1, seq.length, dtype=torch.long, device=seq.h.device)
        out = body(inputs_embeds=seq.h.unsqueeze(0), position_ids=positions, use_cache=False)
    return state.seq.with_h(out.last_hidden_state[0])
