"""Laws of losses and of what words and pictures do to one another: nested scales, ranked routes, fused prompts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_documents as tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reelmill.training import ladder
from reelmill.training.assemble import from_scratch
from reelmill.training.documents import Pack, packed
from reelmill.training.objectives.lm import Nested, SampleBudget, of_row
from reelmill.training.objectives.route import RankRoute
from reelmill.training.prefusion import Fused
from reelmill.training.reducers.combine import Stage, groups
from reelmill.training.values import TEXT
from reelmill.training.vlm import VLM

FRAMES = 2


def made(name: str, **settings: int) -> VLM:
    model, _ = from_scratch(name, ladder.XS, tiny.VOCABULARY, frames=FRAMES, settings=settings)
    model.eval()
    return model


def pack_of(*seeds: int) -> Pack:
    return packed([tiny.document(seed, frames=FRAMES, answers=(3 + seed % 2,)) for seed in seeds])


# ---- nested scales (M3), drawn budgets (MQT) -------------------------------------------------------------------------


def grads(model: VLM, loss: Tensor) -> list[Tensor]:
    model.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_a_nested_loss_is_the_mean_of_the_losses_at_each_scale() -> None:
    model, pack, scales = made("m3"), pack_of(0, 1), (1, 4, 16)
    nested = Nested(scales)(model, pack)
    apart = [of_row(model, model(pack, scale)) for scale in scales]
    torch.testing.assert_close(nested.total, torch.stack([a.total for a in apart]).mean(), atol=1e-5, rtol=0)
    assert float(nested.weight) == float(apart[0].weight)
    assert len({round(float(a.total.detach()), 4) for a in apart}) == 3
    together = grads(model, nested.total)
    each = [grads(model, of_row(model, model(pack, scale)).total) for scale in scales]
    for one, parts in zip(together, zip(*each, strict=True), strict=True):
        torch.testing.assert_close(one, torch.stack(parts).mean(0), atol=1e-4, rtol=1e-4)


def test_a_drawn_budget_is_one_of_the_losses_and_draws_go_on_where_they_stood() -> None:
    model, pack, budgets = made("mqt"), pack_of(2), (2, 6, 16)
    apart = {round(float(of_row(model, model(pack, b)).total.detach()), 4) for b in budgets}
    objective = SampleBudget(budgets, seed=3)
    objective(model, pack)
    held = objective.state.clone()
    drawn = [round(float(objective(model, pack).total.detach()), 4) for _ in range(8)]
    assert set(drawn) <= apart
    assert len(set(drawn)) > 1
    objective.state = held
    assert [round(float(objective(model, pack).total.detach()), 4) for _ in range(8)] == drawn


# ---- ranked routes (AVG-LLaVA) ---------------------------------------------------------------------------------------


def ranked(cross: float = 0.0) -> RankRoute:
    """The router's loss alone: it asks neither reducer."""
    return RankRoute(Stage(), None, cross=cross)  # type: ignore[arg-type]


@given(st.permutations(range(4)), st.integers(0, 1000))
def test_logits_in_the_order_of_losses_by_their_margins_cost_nothing(order: list[int], seed: int) -> None:
    steps = torch.rand(4, generator=torch.Generator().manual_seed(seed)) + 0.01
    losses = torch.empty(1, 4)
    losses[0, torch.tensor(order)] = steps.cumsum(0)
    # margin * places apart * gap is at most 3 * gap here
    assert float(ranked().router_loss(-3.01 * losses, losses)) == 0.0
    assert float(ranked().router_loss(losses, losses)) > 0.0


def test_a_pair_in_the_wrong_order_costs_its_distance_and_its_margin() -> None:
    logs = torch.tensor([[0.2, 0.8]]).log()
    losses = torch.tensor([[1.0, 1.5]])
    expected = float(logs[0, 1] - logs[0, 0]) + 0.5
    assert float(ranked().router_loss(logs, losses)) == pytest.approx(expected, abs=1e-6)
    with_cross = float(ranked(cross=0.1).router_loss(logs, losses))
    assert with_cross == pytest.approx(expected - 0.1 * float(logs[0, 0]), abs=1e-6)


def test_the_router_alone_learns_from_the_ranking() -> None:
    """Losses are constants of it, and a document without a video has nothing to choose."""
    model, variant = from_scratch("avg_llava", ladder.XS, tiny.VOCABULARY, frames=FRAMES)
    pack = packed([tiny.document(3, frames=FRAMES), tiny.document(4, frames=0), tiny.document(5, frames=FRAMES)])
    loss = variant.objective(model, pack)
    assert loss.parts["router"].requires_grad
    loss.parts["router"].backward(retain_graph=True)
    assert all(p.grad is None for p in model.lm.model.layers.parameters())
    assert all(p.grad is not None for n, p in model.reducer.named_parameters() if "router.votes" in n)
    alone = variant.objective(model, packed([tiny.document(4, frames=0)]))
    assert set(alone.parts) == {"lm"}


# ---- fused prompts (LLaVA-Mini) --------------------------------------------------------------------------------------


def mini(layers: int) -> VLM:
    return made("llava_mini", layers=layers)


@torch.no_grad()
def test_no_layers_of_fusion_are_the_query_and_the_words_as_they_were() -> None:
    model, pack = mini(0), pack_of(6, 7)
    words = model.words(pack)
    vis, fused = model.see(pack, words)
    assert torch.equal(fused, words)
    assert vis is not None
    torch.testing.assert_close(vis.x, model.reducer(model.tower(pack)).x)
    row = model.row(pack)
    assert torch.equal(row.h[row.kind == TEXT], words[pack.ids != tiny.VISUAL])


@torch.no_grad()
def test_answers_are_never_fused_and_never_seen_by_the_fusion() -> None:
    model, pack = mini(2), pack_of(8, 9)
    words = model.words(pack)
    _, fused = model.see(pack, words)
    learned = pack.labels >= 0
    prompt = ~learned & (pack.ids != tiny.VISUAL)
    assert torch.equal(fused[learned], words[learned])
    assert not bool((fused[prompt] == words[prompt]).all(1).any())
    ids = torch.where(learned, (pack.ids + 7) % 30 + 1, pack.ids)
    other = replace(pack, ids=ids, labels=torch.where(learned, ids, pack.labels))
    assert not torch.equal(ids, pack.ids)
    vis, _ = model.see(pack, words)
    changed, fused_again = model.see(other, model.words(other))
    assert torch.equal(fused_again[prompt], fused[prompt])
    assert vis is not None
    assert changed is not None
    assert torch.equal(changed.x, vis.x)


@torch.no_grad()
def test_fusion_is_a_causal_pass_over_patches_tokens_and_words() -> None:
    """Of one frame, with transformers' own attention; what comes out of the last two replaces what went in."""
    model = mini(2)
    fusion, pack = model.prefusion, packed([tiny.document(13, frames=1)])
    assert isinstance(fusion, Fused)
    words = model.words(pack)
    full, text = model.tower(pack), model.prompts(pack, words)
    reduced = model.reducer(full, text)
    vis, fused = model.see(pack, words)
    whole = torch.cat([fusion.project(full).x, reduced.x, text.h], 1)
    fusion.body.set_attn_implementation("eager")
    theirs = fusion.body(inputs_embeds=whole, use_cache=False).last_hidden_state[0]
    assert vis is not None
    torch.testing.assert_close(vis.x[0], theirs[16:17], atol=1e-5, rtol=0)
    torch.testing.assert_close(fused[text.at[0]], theirs[17:], atol=1e-5, rtol=0)


@torch.no_grad()
def test_prompts_are_fused_by_their_own_frames_alone() -> None:
    model = mini(2)
    together, alone = pack_of(10, 11), pack_of(11)
    _, both = model.see(together, model.words(together))
    _, one = model.see(alone, model.words(alone))
    torch.testing.assert_close(both[together.doc == 1], one, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_prompt_is_the_mean_over_what_each_frame_made_of_it() -> None:
    model, pack = mini(2), pack_of(12)
    fusion = model.prefusion
    assert isinstance(fusion, Fused)
    _, fused = model.see(pack, model.words(pack))
    text, full = model.prompts(pack, model.words(pack)), model.tower(pack)
    frames = [groups(full, torch.tensor([frame])) for frame in range(FRAMES)]
    each = [fusion(one, model.reducer(one, text), text)[1].h[0] for one in frames]
    assert not torch.allclose(each[0], each[1], atol=1e-4)
    prompt = (pack.labels < 0) & (pack.ids != tiny.VISUAL)
    torch.testing.assert_close(fused[prompt], torch.stack(each).mean(0), atol=1e-5, rtol=0)
