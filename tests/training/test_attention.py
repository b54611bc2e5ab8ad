"""Rows against plain attention: one document is a causal model, pruning is masking, and nobody sees a stranger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
import tiny_documents as tiny
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedModel

from reelmill.schemas.errors import BadInput
from reelmill.training import ladder
from reelmill.training.attention import ROWS, Cache, Layout, of_row
from reelmill.training.documents import packed
from reelmill.training.hooks.drop import Drop, best
from reelmill.training.trunk import Causal, body_of, run
from reelmill.training.values import Seq
from reelmill.training.vlm import VLM

WIDTH = 96


@pytest.fixture(scope="module")
def model() -> VLM:
    made: VLM = ladder.trunk(ladder.XS, tiny.WORDS).eval()
    return made


@pytest.fixture(scope="module")
def plain(model: VLM) -> LlamaForCausalLM:
    """The same language model with transformers' own eager attention."""
    config = LlamaConfig(**{**model.lm.config.to_dict(), "attn_implementation": None})
    other = LlamaForCausalLM._from_config(config, attn_implementation="eager")
    other.load_state_dict(model.lm.state_dict())
    return other.eval()


def row_of(model: VLM, *seeds: int, answers: tuple[int, ...] = (3,)) -> tuple[Seq, int]:
    pack = packed([tiny.document(seed, answers=answers) for seed in seeds])
    with torch.no_grad():
        return model.row(pack), pack.documents


@torch.no_grad()
def test_one_document_is_read_as_transformers_reads_it(model: VLM, plain: LlamaForCausalLM) -> None:
    row, documents = row_of(model, 1)
    theirs = plain.model(inputs_embeds=row.h.unsqueeze(0), use_cache=False).last_hidden_state[0]
    torch.testing.assert_close(model.read(row, documents).h, theirs, atol=2e-6, rtol=1e-5)


@torch.no_grad()
def test_scores_are_those_of_eager_attention(model: VLM, plain: LlamaForCausalLM) -> None:
    row, documents = row_of(model, 2)
    asked = int(row.before[(row.label >= 0).nonzero()[0]])
    eager = plain.model(inputs_embeds=row.h.unsqueeze(0), use_cache=False, output_attentions=True).attentions
    seen: dict[int, Tensor] = {}

    @dataclass
    class Look:
        at: tuple[int, ...] = (2,)
        scored: Mapping[int, str] = field(default_factory=lambda: {0: "last", 1: "all"})

        def __call__(self, layer: int, seq: Seq, scores: Mapping[int, Tensor]) -> Seq:
            seen.update(scores)
            return seq

    run(model.lm, row, documents=documents, hooks=[Look()])
    last = eager[0][0].mean(0)[asked]
    torch.testing.assert_close(seen[0][: asked + 1], last[: asked + 1], atol=1e-7, rtol=1e-5)
    words = (~row.visual).nonzero().squeeze(1)
    torch.testing.assert_close(seen[1], eager[1][0].mean(0)[words].mean(0), atol=1e-7, rtol=1e-5)


@torch.no_grad()
def test_dropping_is_masking(model: VLM, plain: LlamaForCausalLM) -> None:
    """Positions have gaps then, from which transformers would guess packed documents: the mask is ours throughout."""
    row, documents = row_of(model, 3)
    short = run(model.lm, row, documents=documents, hooks=[Drop(2, 0.5)])
    keeps = torch.zeros(row.length, dtype=torch.bool)
    keeps[short.index] = True
    assert 0 < int((~keeps).sum()) == int(row.visual.sum()) // 2
    causal = torch.ones(row.length, row.length).tril().bool()
    masks = [causal, causal, causal & keeps]
    h = row.h.unsqueeze(0)
    turns = plain.model.rotary_emb(h, position_ids=row.pos.unsqueeze(0))
    for layer, mask in zip(plain.model.layers, masks, strict=True):
        bias = torch.where(mask, 0.0, -torch.inf)[None, None]
        h = layer(h, attention_mask=bias, position_embeddings=turns)
    theirs = plain.model.norm(h)[0][short.index]
    torch.testing.assert_close(short.h, theirs, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("hook", [Drop(3, 0.5), Drop(2, 1.0)], ids=["behind the last layer", "all kept"])
def test_a_hook_that_drops_nothing_is_none(model: VLM, hook: Drop) -> None:
    row, documents = row_of(model, 4, 5)
    assert torch.equal(run(model.lm, row, documents=documents, hooks=[hook]).h, model.read(row, documents).h)


@torch.no_grad()
def test_each_document_keeps_its_own_share() -> None:
    kinds = torch.tensor([0, 0, 0, -1, 0, 0, 0, 0, 0, -1])
    doc = torch.tensor([0] * 4 + [1] * 6)
    same = torch.zeros(10, dtype=torch.long)
    row = Seq(torch.zeros(10, 4), same, kinds, doc, same, same - 100, torch.ones(10), torch.arange(10), same - 1)
    score = torch.tensor([0.1, 0.3, 0.2, 9, 0.5, 0.4, 0.6, 0.1, 0.2, 9])
    assert best(row, score, 0.5).tolist() == [1, 2, 3, 4, 5, 6, 9]


@torch.no_grad()
def test_a_row_in_two_passes_is_the_row_in_one(model: VLM) -> None:
    """Keys and values of the first pass are kept, one line a document, also where lines are of unequal length."""
    row, documents = row_of(model, 6, 7)
    whole = model.read(row, documents)
    cache, cut = Cache(), row.pos < 30
    first = model.read(row.keep(cut.nonzero().squeeze(1)), documents, cache)
    second = model.read(row.keep((~cut).nonzero().squeeze(1)), documents, cache)
    together = torch.empty_like(whole.h)
    together[cut], together[~cut] = first.h, second.h
    torch.testing.assert_close(together, whole.h, atol=2e-6, rtol=1e-5)
    assert cache.bytes() == 2 * 3 * documents * int(cache.seen[0].index.shape[1]) * WIDTH * 4


@torch.no_grad()
def test_branches_do_not_see_one_another(model: VLM) -> None:
    whole = tiny.document(8, answers=(3, 2, 4))
    apart = [model.said(model(packed([tiny.branch_alone(whole, b)]))).nll for b in (1, 2, 3)]
    torch.testing.assert_close(model.said(model(packed([whole]))).nll, torch.cat(apart), atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_documents_alone(model: VLM) -> None:
    documents = [tiny.document(9, answers=(2,)), tiny.document(10, answers=(5,), frames=2)]
    grads = []
    for packs in ([packed(documents)], [packed([d]) for d in documents]):
        model.zero_grad()
        for pack in packs:
            model.said(model(pack)).nll.sum().backward()
        grads.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-4)


def test_a_call_without_a_layout_is_refused(model: VLM) -> None:
    with pytest.raises(TypeError, match="needs a Layout"):
        model.lm(input_ids=torch.tensor([[1, 2]]))


def test_a_model_of_another_form_is_one_line() -> None:
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    sliding = MistralForCausalLM(
        MistralConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, vocab_size=4, **heads)
    )
    sliding.config.layer_types = ["sliding_attention"]
    with pytest.raises(BadInput, match=r"layers of sliding_attention.*full attention"):
        body_of(sliding)
    with pytest.raises(BadInput, match="Linear cannot read packed rows"):
        body_of(torch.nn.Linear(1, 1))


@torch.no_grad()
@pytest.mark.skipif(
    not hasattr(PreTrainedModel, "activation_checkpointing_enable"),
    reason="checkpoints of this transformers run a layer anew without its Layout, and end in TypeError",
)
def test_a_checkpointed_layer_runs_its_hooks_once(model: VLM) -> None:
    row, documents = row_of(model, 11)
    calls: list[int] = []

    @dataclass
    class Count:
        at: tuple[int, ...] = (1,)
        scored: Mapping[int, str] = field(default_factory=dict)

        def __call__(self, layer: int, seq: Seq, scores: Mapping[int, Tensor]) -> Seq:
            calls.append(layer)
            return seq

    body = body_of(model.lm)
    body.gradient_checkpointing_enable()
    body.train()
    try:
        with torch.enable_grad():
            out = run(model.lm, row.with_h(row.h.requires_grad_()), documents=documents, hooks=[Count()])
            out.h.sum().backward()
    finally:
        body.gradient_checkpointing_disable()
        body.eval()
    assert calls == [1]
    assert body.config._attn_implementation == ROWS


def test_causal_is_the_plain_policy() -> None:
    assert Causal().sees(torch.zeros(1), torch.zeros(1)) is None


def _states(length: int, heads: int, shared: int, *, seed: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(1, n, length, 8, generator=draw, dtype=torch.float64) for n in (heads, shared, shared)]


def test_what_the_unpadded_kernel_is_told_is_what_padded_documents_say(model: VLM) -> None:
    """The kernel runs on a GPU alone; here each stretch that it would be told of goes through plain attention."""
    row, documents = row_of(model, 1, 2, 3)
    layout = Layout(row, Causal(), documents)
    states = [s.requires_grad_() for s in _states(row.length, 4, 2, seed=0)]
    query, key, value = states
    padded = layout.attend(0, query, key, value, 0.3, 0.0)
    (starts, longest), outs = layout.starts, []
    assert layout.ordered
    assert (starts.dtype, int(starts[0]), int(starts[-1])) == (torch.int32, 0, row.length)
    assert longest == int(starts.diff().max())
    for start, end in pairwise(starts.tolist()):
        q, k, v = (s[:, :, start:end] for s in states)
        out = scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3, enable_gqa=True)
        outs.append(out.transpose(1, 2))
    torch.testing.assert_close(padded, torch.cat(outs, 1))
    weight = torch.randn(padded.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grads = [torch.autograd.grad((out * weight).sum(), states) for out in (padded, torch.cat(outs, 1))]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_the_kernel_takes_fewer_heads_of_keys_and_gives_gradients() -> None:
    """Its operator on tensors without numbers: shapes and arguments as this torch has them."""
    q, k, v = (torch.empty(9, n, 64, device="meta", dtype=torch.bfloat16, requires_grad=True) for n in (6, 2, 2))
    out = of_row(q, k, v, torch.zeros(3, dtype=torch.int32, device="meta"), 5, 0.125)
    out.sum().backward()
    assert out.shape == q.shape
    assert k.grad is not None
    assert k.grad.shape == k.shape


def test_only_order_may_decide_where_documents_are_not_padded(model: VLM) -> None:
    class Both(Causal):
        def sees(self, query_kind: Tensor, key_kind: Tensor) -> Tensor:
            return query_kind == key_kind

    row, documents = row_of(model, 1)
    forked, of_forked = row_of(model, 1, answers=(2, 3))
    assert Layout(row, Causal(), documents).ordered
    assert not Layout(row, Both(), documents).ordered
    assert not Layout(row, Causal(), documents, Cache()).ordered
    assert not Layout(replace(row, bias=torch.zeros(row.length)), Causal(), documents).ordered
    assert not Layout(forked, Causal(), of_forked).ordered
