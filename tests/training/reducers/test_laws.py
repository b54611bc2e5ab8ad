"""Laws of the reducing primitives: where they are identities, what they keep, and what a part says of the whole."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reelmill.training.reducers.combine import Branch, Chain, Select, Stage, by_sample, evenly, groups
from reelmill.training.reducers.mix import Layers
from reelmill.training.reducers.pool import GridPool, RasterMax, Resize, VideoPool, WeightedPool, average, cosine, dct
from reelmill.training.reducers.query import Query, VideoQuery
from reelmill.training.reducers.select import Changed, TopK, changed, from_class, shares
from reelmill.training.reducers.stamp import Numbered
from reelmill.training.reducers.still import Still
from reelmill.training.reducers.window import Stack, TimeWindow, Window
from reelmill.training.share import rounded_up
from reelmill.training.towers import from_class as attention_from_class
from reelmill.training.towers import places
from reelmill.training.values import Text, Vis

WIDTH = 8


def seen(
    frames: tuple[int, ...] = (2,),
    side: int = 4,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Vis:
    """Random patches of several samples."""
    torch.manual_seed(seed)
    n, cells = sum(frames), side * side
    number = torch.cat([torch.arange(f) for f in frames])
    return Vis(
        torch.randn(n, cells, WIDTH, dtype=dtype),
        places((side, side)).expand(n, -1, -1),
        number.unsqueeze(1).expand(-1, cells),
        (number / 8).unsqueeze(1).expand(-1, cells),
        torch.arange(len(frames)).repeat_interleave(torch.tensor(frames)),
        grid=(side, side),
        scores={-2: torch.rand(n, cells)},
    )


def test_a_pool_of_a_pool_is_the_pool() -> None:
    vis = seen(side=24, dtype=torch.float64)
    straight = GridPool((6, 6))(vis).x
    torch.testing.assert_close(GridPool((6, 6))(GridPool((12, 12))(vis)).x, straight, atol=1e-12, rtol=0)


@pytest.mark.parametrize("op", [average, cosine])
def test_a_pool_to_its_own_size_is_the_identity(op: Resize) -> None:
    vis = seen(side=6)
    torch.testing.assert_close(GridPool((6, 6), op)(vis).x, vis.x, atol=1e-5, rtol=0)


def test_one_cosine_is_the_mean_and_each_size_keeps_it() -> None:
    maps = torch.randn(2, 3, 8, 8, dtype=torch.float64).float()
    mean = maps.mean((2, 3))
    torch.testing.assert_close(cosine(maps, (1, 1))[..., 0, 0], mean, atol=1e-6, rtol=0)
    for side in range(1, 9):
        torch.testing.assert_close(cosine(maps, (side, side)).mean((2, 3)), mean, atol=1e-6, rtol=0)


def test_more_cosines_keep_more_energy() -> None:
    maps = torch.randn(1, 1, 8, 8)
    kept = [float(cosine(maps, (k, k)).square().sum() * 64 / k**2) for k in range(1, 9)]
    assert kept == sorted(kept)
    torch.testing.assert_close(kept[-1], float(maps.square().sum()), rtol=1e-5, atol=0)


def test_the_transform_is_orthonormal() -> None:
    torch.testing.assert_close(dct(7) @ dct(7).T, torch.eye(7), atol=1e-6, rtol=0)


def test_a_video_pool_of_one_frame_repeats_it() -> None:
    out = VideoPool((4, 2, 2))(seen((1,)))
    assert out.groups == 4
    torch.testing.assert_close(out.x, out.x[:1].expand(4, -1, -1), atol=1e-6, rtol=0)


def test_a_video_pool_keeps_samples_apart() -> None:
    vis = seen((2, 5))
    out = VideoPool((2, 2, 2))(vis)
    assert out.sample.tolist() == [0, 0, 1, 1]
    alone = VideoPool((2, 2, 2))(seen((2,)))
    torch.testing.assert_close(out.x[:2].mean(), vis.x[:2].mean())
    assert alone.x.shape == out.x[:2].shape


@torch.no_grad()
def test_a_pool_by_words_does_not_know_the_other_videos_of_its_pack() -> None:
    """At a low temperature a neighbour that fits its prompt would leave nothing of one that does not."""
    pool = WeightedPool((2, 2, 2), WIDTH, WIDTH, temperature=0.01)
    vis = seen((2, 3, 2))
    prompts = pool_prompts(pool, vis)

    def of(order: list[int]) -> Vis:
        mask = torch.ones(len(order), 1, dtype=torch.bool)
        at = [(vis.sample == s).nonzero().squeeze(1) for s in order]
        kept = groups(vis, torch.cat(at))
        sample = torch.arange(len(order)).repeat_interleave(torch.tensor([len(a) for a in at]))
        return pool(replace(kept, sample=sample), Text(prompts[order].unsqueeze(1), mask, mask.long()))

    alone = [of([s]).x for s in range(3)]
    for order in ([0, 1, 2], [2, 0, 1], [1, 2]):
        torch.testing.assert_close(of(order).x, torch.cat([alone[s] for s in order]), atol=1e-5, rtol=1e-5)
    weighted = torch.cat(alone).abs().mean()
    assert float(weighted) > 0.1


def pool_prompts(pool: WeightedPool, vis: Vis) -> Tensor:
    """A prompt like a patch of the first video, and two unlike all patches of the others, [3, WIDTH]."""
    torch.manual_seed(1)
    pool.say.load_state_dict(pool.see.state_dict())
    return torch.stack([vis.x[0, 0], -vis.x[2:5].mean((0, 1)), -vis.x[5:7].mean((0, 1))])


def test_neighbours_in_raster_order_give_their_largest() -> None:
    vis = seen((1,))
    assert torch.equal(RasterMax(2)(vis).x[0, 3], torch.maximum(vis.x[0, 6], vis.x[0, 7]))


@torch.no_grad()
def test_the_first_queries_do_not_know_of_the_others() -> None:
    query = Query(WIDTH, 9, heads=2, keys="position")
    vis = seen()
    torch.testing.assert_close(query(vis, None, 4).x, query(vis).x[:, :4], atol=1e-6, rtol=0)


def test_queries_beyond_the_budget_learn_nothing() -> None:
    query = Query(WIDTH, 9, heads=2)
    query(seen(), None, 4).x.sum().backward()
    assert query.query.grad is not None
    assert torch.equal(query.query.grad[4:], torch.zeros(5, WIDTH))
    assert bool((query.query.grad[:4] != 0).any())


@torch.no_grad()
def test_keys_of_places_alone_pool_without_looking() -> None:
    """Attention does not change with the content: what is read is linear in the normed features."""
    query = Query(WIDTH, 4, heads=2, keys="position")
    one, other = seen(seed=1), seen(seed=2)
    between = one.with_x(query.norm_kv(one.x) + query.norm_kv(other.x))
    query.norm_kv = torch.nn.Identity()
    halves = [query(v.with_x(torch.nn.functional.layer_norm(v.x, (WIDTH,)))).x for v in (one, other)]
    bias = query(one.with_x(torch.zeros_like(one.x))).x
    torch.testing.assert_close(query(between).x, halves[0] + halves[1] - bias, atol=1e-5, rtol=0)


@torch.no_grad()
def test_causal_queries_see_no_later_frame() -> None:
    query = VideoQuery(WIDTH, 4, parts=2, causal=True, heads=2)
    vis = seen((4,))
    later = vis.x.clone()
    later[2:] = torch.randn_like(later[2:])
    before, after = query(vis).x, query(vis.with_x(later)).x
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2:], after[:, 2:])


@torch.no_grad()
def test_a_window_reads_its_own_patches_alone() -> None:
    window = Window(WIDTH, 2, heads=2)
    vis = seen((1,))
    moved = vis.x.clone()
    moved[0, 0] += 3.0  # the corner patch, of the first window
    changed_tokens = (window(vis).x != window(vis.with_x(moved)).x).any(-1)[0]
    assert changed_tokens.tolist() == [True, False, False, False]


def test_windows_that_do_not_tile_are_refused() -> None:
    with pytest.raises(ValueError, match="windows of 3 do not tile a grid of 4 x 4"):
        Window(WIDTH, 3)(seen())
    with pytest.raises(ValueError, match="a multiple of 2 frames"):
        TimeWindow(WIDTH, 2)(seen((3,)))


def test_stacked_neighbours_are_all_there() -> None:
    vis = seen((1,))
    out = Stack(2)(vis)
    assert out.x.shape == (1, 4, 4 * WIDTH)
    torch.testing.assert_close(out.x.sum(), vis.x.sum())


@given(st.integers(1, 16), st.integers(0, 5))
def test_kept_tokens_are_the_best_in_their_order(budget: int, seed: int) -> None:
    vis = seen((1, 2), seed=seed)
    out = TopK(from_class(-2), 0.5)(vis, None, budget)
    for group in range(vis.groups):
        best = vis.scores[-2][group].topk(budget).indices.sort().values
        assert torch.equal(out.x[group], vis.x[group, best])


@given(st.integers(1, 100), st.integers(1, 1024))
def test_a_share_is_the_decimal_that_was_written(hundredths: int, tokens: int) -> None:
    assert rounded_up(hundredths / 100, tokens) == -(-hundredths * tokens // 100)


def test_shares_that_binary_numbers_overshoot() -> None:
    """0.07 * 100 is 7.000000000000001, and its ceiling 8."""
    missed = [(k / 100, n) for k in range(1, 100) for n in (25, 50, 100) if math.ceil(k / 100 * n) > -(-k * n // 100)]
    assert (0.07, 100) in missed
    assert [rounded_up(share, n) for share, n in missed] == [round(share * n) for share, n in missed]
    hundred = seen((1,), side=10)
    assert TopK(from_class(-2), 0.07)(hundred).tokens == 7
    assert TopK(from_class(-2), 0.07).shape(1, (10, 10)) == (1, (1, 7))
    moving = Still(from_class(-2), 0.07, 1.01)
    assert moving(hundred).tokens == 7
    assert moving.shape(2, (10, 10)) == (1, (1, 14))


def test_a_still_video_s_share_is_exact_too() -> None:
    """Three frames of 25 places, all still: 0.04 / (25 / 75) is 0.12 of what is left, and 3 of its 25 tokens."""
    still = seen((3,), side=5)
    still = still.with_x(still.x[:1].expand(3, -1, -1))
    assert Still(from_class(-2), 0.04)(still).tokens == 3


def test_all_kept_is_the_identity() -> None:
    vis = seen()
    assert TopK(from_class(-2), 1.0)(vis) is vis


def test_a_first_frame_is_all_new_and_a_still_one_is_not() -> None:
    vis = seen((3, 2))
    still = vis.x.clone()
    still[1] = still[0]
    score = changed(vis.with_x(still))
    assert torch.isinf(score[[0, 3]]).all()
    assert float(score[1].abs().max()) < 1e-6


def test_the_class_token_s_attention_is_the_softmax_of_its_row() -> None:
    query, key = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    heads = [torch.softmax(query[:, :1, i : i + 4] @ key[:, :, i : i + 4].mT / 2, -1) for i in (0, 4)]
    torch.testing.assert_close(attention_from_class(query, key, 2), (heads[0] + heads[1])[:, 0] / 2)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=8), st.data())
def test_shares_sum_to_the_total_and_fit(weights: list[float], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, 20 * len(weights)))
    given_tokens = shares(torch.tensor(weights), total, 20)
    assert int(given_tokens.sum()) == total
    assert int(given_tokens.max()) <= 20
    with pytest.raises(ValueError, match="do not fit"):
        shares(torch.tensor(weights), 20 * len(weights) + 1, 20)


def test_branches_stand_one_behind_the_other() -> None:
    vis = seen((2, 3))
    out = Branch(Stage(), Chain(Select(evenly(1)), GridPool((1, 1))))(vis)
    assert out.counts().tolist() == [33, 49]
    assert torch.equal(out.x[0][valid_rows(out, 0)][:32], vis.x[:2].flatten(0, 1))


def valid_rows(vis: Vis, group: int) -> Tensor:
    return torch.ones(vis.tokens, dtype=torch.bool) if vis.mask is None else vis.mask[group]


def test_frames_of_a_sample_stay_in_order() -> None:
    whole = by_sample(seen((1, 3)))
    assert whole.counts().tolist() == [16, 48]
    assert whole.frame[1].tolist() == sorted(whole.frame[1].tolist())


def test_what_changed_is_kept_and_the_first_frame_whole() -> None:
    vis = seen((3, 1))
    out = Changed(0.5)(vis)
    assert out.counts().tolist() == [24, 16]
    kept = Changed(1.0)(vis)
    assert torch.equal(kept.x[0], vis.x[:3].flatten(0, 1))
    assert int((out.frame[0] == 0).sum()) == 16


def test_mixed_layers_start_at_the_last_one() -> None:
    vis = seen()
    other = torch.randn_like(vis.x)
    mixed = Layers(WIDTH, (-2, -1))(replace(vis, levels={-2: other, -1: vis.x})).x
    last = torch.nn.functional.layer_norm(vis.x, (WIDTH,))
    assert float((mixed - last).square().mean()) < 0.002 * float(last.square().mean())
    with pytest.raises(ValueError, match=r"no states of layers \[-2\]"):
        Layers(WIDTH, (-2,))(vis)


def test_numbered_frames_differ_by_their_number_alone() -> None:
    stage, vis = Numbered(WIDTH, 2), seen((3,))
    change = stage(vis).x - vis.x
    torch.testing.assert_close(change[1], stage.number.weight[1].expand(16, -1), atol=1e-6, rtol=0)
    torch.testing.assert_close(change[2], change[1], atol=1e-6, rtol=0)
