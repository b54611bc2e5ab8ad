"""Laws of what changes the row: where it changes nothing, what it keeps, and that answering is what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
import tiny_documents as tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from reelmill.training import ladder
from reelmill.training.attention import Layout
from reelmill.training.documents import packed
from reelmill.training.hooks.bypass import Bypass
from reelmill.training.hooks.drop import best
from reelmill.training.hooks.gate import Gate
from reelmill.training.hooks.join import Join
from reelmill.training.hooks.pool import Pool1d, PoolRoute
from reelmill.training.trunk import Causal, run
from reelmill.training.values import TEXT, Seq
from reelmill.training.variants.llavolta import FOUR_STAGES, Stages
from reelmill.training.variants.tc_llava import ByFrame
from reelmill.training.vlm import VLM

WIDTH, CELLS, FRAMES = ladder.XS.words, 16, 4


@pytest.fixture(scope="module")
def model() -> VLM:
    made: VLM = ladder.trunk(ladder.XS, tiny.WORDS).eval()
    return made


@torch.no_grad()
def row_of(model: VLM, *seeds: int, answers: tuple[int, ...] = (3,)) -> tuple[Seq, int]:
    pack = packed([tiny.document(seed, answers=answers) for seed in seeds])
    return model.row(pack), pack.documents


def drawn(kinds: list[int], doc: list[int] | None = None, width: int = 6, seed: int = 0) -> Seq:
    """A row of drawn states; `kinds` are frames, -1 for words."""
    torch.manual_seed(seed)
    n = len(kinds)
    docs = torch.tensor(doc or [0] * n)
    same, at = torch.zeros(n, dtype=torch.long), torch.arange(n)
    pos = at - torch.searchsorted(docs, docs)
    return Seq(torch.randn(n, width), pos, torch.tensor(kinds), docs, same, same - 100, torch.ones(n), at, at - 1)


# ---- layers that tokens pass by (VideoLLM-MoD) -----------------------------------------------------------------------


class AllPlain(Bypass):
    """Scores of 0: every weight is 1."""

    def scores(self, layer: int, h: Tensor) -> Tensor:
        return h.new_zeros(len(h))


@torch.no_grad()
def test_all_tokens_at_weight_one_are_no_bypass(model: VLM) -> None:
    row, documents = row_of(model, 1, 2)
    hook = AllPlain(WIDTH, (0, 1, 2), keep=1.0)
    assert torch.equal(run(model.lm, row, documents=documents, hooks=[hook]).h, model.read(row, documents).h)


@torch.no_grad()
def test_tokens_that_pass_by_are_bitwise_what_they_were(model: VLM) -> None:
    row, documents = row_of(model, 3, 4)
    hook, seen = Bypass(WIDTH, (1,), keep=0.25), {}

    @dataclass
    class Look:
        at: tuple[int, ...] = (1, 2)
        scored: Mapping[int, str] = field(default_factory=dict)

        def __call__(self, layer: int, seq: Seq, scores: Mapping[int, Tensor]) -> Seq:
            seen[layer] = seq
            return seq

    run(model.lm, row, documents=documents, hooks=[Look(), hook])
    inside, _ = hook.inside(1, seen[1])
    by = torch.ones(row.length, dtype=torch.bool)
    by[inside] = False
    assert int(by.sum()) == documents * FRAMES * 12
    assert torch.equal(seen[2].h[by], seen[1].h[by])
    assert bool((seen[2].h[~by] != seen[1].h[~by]).any(1).all())
    assert torch.equal(seen[2].index, row.index)


@torch.no_grad()
def test_a_layer_s_change_is_multiplied_by_the_expert_s_weight(model: VLM) -> None:
    """Words keep the change of the layer as it is; a frame that scores far below 0 learns nothing from it."""
    row, documents = row_of(model, 5)

    class Shut(Bypass):
        def scores(self, layer: int, h: Tensor) -> Tensor:
            return h.new_full((len(h),), -100.0)

    last = len(model.lm.model.layers) - 1
    norm, model.lm.model.norm = model.lm.model.norm, torch.nn.Identity()
    try:
        before = run(model.lm, row, documents=documents, hooks=[Shut(WIDTH, (last - 1, last), keep=1.0)])
        plain = run(model.lm, row, documents=documents, hooks=[Shut(WIDTH, (last - 1,), keep=1.0)])
    finally:
        model.lm.model.norm = norm
    torch.testing.assert_close(before.h[~row.visual], plain.h[~row.visual], atol=1e-6, rtol=0)
    assert not torch.allclose(before.h[row.visual], plain.h[row.visual], atol=1e-3)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.sampled_from([0.2, 0.5, 1.0]))
def test_every_frame_sends_its_own_best_through(tokens: list[int], keep: float) -> None:
    kinds = [-1, *(f for f, n in enumerate(tokens) for _ in range(n)), -1]
    row, hook = drawn(kinds), Bypass(6, (0,), keep)
    with torch.no_grad():
        inside, weight = hook.inside(0, row)
        score = hook.scores(0, row.h)
    expected = {0, len(kinds) - 1}
    for frame, n in enumerate(tokens):
        mine = (row.kind == frame).nonzero().squeeze(1)
        expected |= set(mine[score[mine].topk(-(-n * round(keep * 10) // 10)).indices].tolist())
    assert inside.tolist() == sorted(expected)
    if weight is None:
        assert sum(tokens) == 0
    else:
        torch.testing.assert_close(weight, torch.where(row.visual, 2 * score.sigmoid(), 1.0)[inside])


def test_experts_learn_from_what_they_let_through(model: VLM) -> None:
    row, documents = row_of(model, 6)
    hook = Bypass(WIDTH, (1,), keep=0.5)
    run(model.lm, row, documents=documents, hooks=[hook]).h[-1].sum().backward()
    grads = [p.grad for p in hook.parameters()]
    assert all(g is not None and bool((g != 0).any()) for g in grads)


@torch.no_grad()
def test_two_bypasses_of_one_layer_let_through_what_both_do(model: VLM) -> None:
    row, documents = row_of(model, 7)
    one = run(model.lm, row, documents=documents, hooks=[AllPlain(WIDTH, (1,), 0.5), AllPlain(WIDTH, (1,), 0.5)])
    other = run(model.lm, row, documents=documents, hooks=[AllPlain(WIDTH, (1,), 0.25)])
    torch.testing.assert_close(one.h, other.h, atol=1e-6, rtol=0)


# ---- learned keeping (Dynamic-LLaVA) ---------------------------------------------------------------------------------


@torch.no_grad()
def test_a_policy_inside_the_softmax_is_a_bias_on_logits() -> None:
    """exp(logit) times the policy, the diagonal exempt, then normalised: the attention that the paper writes down."""
    row = drawn([-1, 0, 0, 0, 1, 1, -1, -1])
    n, heads, d = row.length, 2, 3
    torch.manual_seed(1)
    policy = torch.where(row.visual, torch.rand(n) + 0.01, 1.0)
    query, key, value = (torch.randn(1, heads, n, d) for _ in range(3))
    ours = Layout(replace(row, bias=policy.log()), Causal(), 1).attend(0, query, key, value, d**-0.5, 0.0)
    eye = torch.eye(n)
    factor = policy.expand(n, n) * (1 - eye) + eye
    weights = (query @ key.mT * d**-0.5).exp() * factor * torch.ones(n, n).tril()
    theirs = (weights / weights.sum(-1, keepdim=True)) @ value
    torch.testing.assert_close(ours[0], theirs[0].transpose(0, 1), atol=1e-6, rtol=0)


class Settled(Gate):
    """A gate that was told which visual tokens of the row stay."""

    stay: Tensor

    def logits(self, h: Tensor, doc: Tensor) -> Tensor:
        sure = torch.where(self.stay, 100.0, -100.0)
        return torch.stack([sure, -sure], 1)


def settled(stay: Tensor, keep: float) -> Settled:
    gate = Settled(WIDTH, 1, keep, hidden=8)
    gate.stay = stay
    return gate


@torch.no_grad()
def test_answering_drops_what_training_masked(model: VLM) -> None:
    row, documents = row_of(model, 8, 9)
    torch.manual_seed(0)
    stay = torch.rand(int(row.visual.sum())) < 0.5
    stay[:64] = torch.arange(64) % 2 == 0  # a share of one half in both documents
    stay[64:] = torch.arange(64) % 4 < 2
    gate = settled(stay, 0.5)
    masked = run(model.lm, row, documents=documents, hooks=[gate.train()])
    dropped = run(model.lm, row, documents=documents, hooks=[gate.eval()])
    assert dropped.length == row.length - 64
    torch.testing.assert_close(masked.h[dropped.index], dropped.h, atol=1e-4, rtol=0)
    plain = model.read(row, documents).h[dropped.index]
    assert not torch.allclose(plain, dropped.h, atol=1e-2)


@torch.no_grad()
def test_a_gate_that_keeps_all_is_none(model: VLM) -> None:
    row, documents = row_of(model, 10)
    gate = settled(torch.ones(int(row.visual.sum()), dtype=torch.bool), 1.0)
    plain = model.read(row, documents).h
    assert torch.equal(run(model.lm, row, documents=documents, hooks=[gate.eval()]).h, plain)
    torch.testing.assert_close(
        run(model.lm, row, documents=documents, hooks=[gate.train()]).h, plain, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(("kept", "loss"), [(12, 0.0), (6, 100 * 0.125**2), (48, 100 * 0.75**2)])
def test_the_loss_of_a_share_is_least_at_its_goal(kept: int, loss: float) -> None:
    row = drawn([0] * 48, width=WIDTH)
    gate = settled(torch.arange(48) < kept, 0.25).train()
    gate(1, row, {})
    assert gate.aux is not None
    assert gate.aux[0] == "keeping"
    assert float(gate.aux[1]) == pytest.approx(loss, abs=1e-4)


def test_a_gate_learns_through_the_hard_mask(model: VLM) -> None:
    row, documents = row_of(model, 11)
    gate = Gate(WIDTH, 1, 0.5, hidden=16, weight=0.0).train()
    run(model.lm, row, documents=documents, hooks=[gate]).h[-1].sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in gate.parameters())


# ---- pooling along the row (LLaVolta) --------------------------------------------------------------------------------


@torch.no_grad()
def test_a_stride_of_one_is_no_pooling(model: VLM) -> None:
    row, documents = row_of(model, 12)
    hook = Pool1d(1, 1)
    assert hook.at == ()
    assert torch.equal(run(model.lm, row, documents=documents, hooks=[hook]).h, model.read(row, documents).h)


def test_stages_are_of_equal_length_and_the_last_has_no_hook() -> None:
    told = [Stages(FOUR_STAGES)(step, 8) for step in range(8)]
    assert [(t["hooks.0.layer"], t["hooks.0.stride"]) for t in told[::2]] == [(2, 8), (2, 2), (16, 2), (0, 1)]
    assert told[::2] == told[1::2]
    last = Stages(FOUR_STAGES)(99, 100)
    assert Pool1d(last["hooks.0.layer"], last["hooks.0.stride"]).at == ()


@given(st.integers(1, 9), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 11)), min_size=1, max_size=3))
def test_neighbours_are_averaged_and_positions_still_rise(stride: int, documents: list[tuple[int, int]]) -> None:
    kinds = [k for words, tokens in documents for k in [-1] * (words + 1) + [0] * tokens + [-1]]
    docs = [i for i, (words, tokens) in enumerate(documents) for _ in range(words + tokens + 2)]
    row = drawn(kinds, docs)
    out = Pool1d(0, stride)(0, row, {})
    assert torch.equal(out.h[~out.visual], row.h[~row.visual])
    for document, (_, tokens) in enumerate(documents):
        mine, theirs = (r.visual & (r.doc == document) for r in (out, row))
        means = [part.mean(0) for part in row.h[theirs].split(stride)] if tokens else []
        assert int(mine.sum()) == len(means) == -(-tokens // stride)
        assert all(torch.allclose(h, mean, atol=1e-6) for h, mean in zip(out.h[mine], means, strict=True))
        assert bool((out.pos[out.doc == document].diff() > 0).all())
    assert bool((out.index.diff() > 0).all())


# ---- pooling by choice (DPN-LLaVA) -----------------------------------------------------------------------------------


def routed(side: int, experts: tuple[int, ...] = (1, 2, 4)) -> PoolRoute:
    """A router that is sure of one expert."""
    route = PoolRoute(WIDTH, (1,), (experts,), least=1, temperature=1.0)
    last = route.routers["1"][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.where(torch.tensor(experts) == side, 200.0, 0.0))
    route.eval()
    return route


@torch.no_grad()
@pytest.mark.parametrize("side", [1, 2, 4])
def test_a_router_that_is_sure_is_the_fixed_pool(model: VLM, side: int) -> None:
    row, _ = row_of(model, 13, 14)
    out = routed(side)(1, row, {})
    maps = row.h[row.visual].view(2 * FRAMES, 4, 4, WIDTH).permute(0, 3, 1, 2)
    fixed = F.max_pool2d(maps, side).flatten(2).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(out.h[out.visual], fixed)
    assert torch.equal(out.h[~out.visual], row.h[~row.visual])
    assert bool((out.pos.diff()[out.doc.diff() == 0] > 0).all())


def test_frames_too_small_are_left_alone(model: VLM) -> None:
    row, _ = row_of(model, 15)
    route = routed(4)
    route.least = 4
    assert routed(4)(1, row, {}).length == row.length - FRAMES * 15
    assert route(1, row, {}).length == row.length


def test_little_pooling_is_charged_up_to_the_goal(model: VLM) -> None:
    row, _ = row_of(model, 16)
    for side, index in ((1, 0), (2, 1), (4, 2)):
        route = routed(side)
        route(1, row, {})
        assert route.aux is not None
        assert float(route.aux[1].detach()) == pytest.approx(max(0.0, route.goal - index), abs=1e-5)


# ---- joining (HoliTom, inside the model) -----------------------------------------------------------------------------


@torch.no_grad()
def test_dropped_tokens_are_averaged_into_the_nearest_kept_of_their_document() -> None:
    row = drawn([0] * 7 + [-1] + [0] * 5 + [-1], [0] * 8 + [1] * 6)
    score = torch.rand(row.length)
    out = Join(1, 0.4)(1, row, {0: score})
    kept = best(row, score, 0.4)
    assert torch.equal(out.index, kept)
    members: dict[int, list[int]] = {int(k): [int(k)] for k in kept if row.kind[k] != TEXT}
    for gone in set(range(row.length)) - set(kept.tolist()):
        mine = [k for k in members if row.doc[k] == row.doc[gone]]
        near = max(mine, key=lambda k: float(F.cosine_similarity(row.h[k], row.h[gone], dim=0)))
        members[near].append(gone)
    for k, joined in members.items():
        torch.testing.assert_close(out.h[kept == k][0], row.h[joined].mean(0), atol=1e-6, rtol=0)
    assert torch.equal(out.h[~out.visual], row.h[~row.visual])


def test_a_share_of_each_document_is_the_decimal_that_was_written() -> None:
    """0.07 * 100 is 7.000000000000001 in binary."""
    row = drawn([-1, *([0] * 100), -1])
    kept = best(row, torch.rand(row.length), 0.07)
    assert int(row.visual[kept].sum()) == 7
    assert int((~row.visual[kept]).sum()) == 2


@torch.no_grad()
def test_joining_nothing_is_the_identity() -> None:
    row = drawn([0] * 5 + [-1])
    assert Join(1, 1.0)(1, row, {0: torch.rand(6)}) is row


# ---- who sees whom (TC-LLaVA) ----------------------------------------------------------------------------------------


def seen_by(row: Seq, policy: Causal | ByFrame) -> Tensor:
    """bool [S, S] of a row of one document: queries by keys."""
    (lines,) = Layout(row, policy, 1).parts
    return lines.mask(lines.seen)[0, 0]


def test_inside_a_frame_both_ways_and_never_the_next() -> None:
    kinds = [-1, 0, 0, 0, 1, 1, -1, -1]
    mask = seen_by(drawn(kinds), ByFrame())
    for q, query in enumerate(kinds):
        for k, key in enumerate(kinds):
            assert bool(mask[q, k]) == (k <= q or (query == key != -1)), (q, k)


def test_frames_of_one_token_are_causal() -> None:
    row = drawn([-1, 0, 1, 2, -1])
    assert torch.equal(seen_by(row, ByFrame()), seen_by(row, Causal()))


def test_a_frame_s_tokens_share_its_number_and_words_carry_the_last_on() -> None:
    row = drawn([-1, 0, 0, 1, 1, -1, -1, -1, 0, -1], [0] * 7 + [1] * 3)
    assert ByFrame(10).positions(row).tolist() == [0, 1, 2, 13, 14, 15, 16, 0, 1, 2]
