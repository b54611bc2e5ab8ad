"""Laws of merging, of selection under a budget, and of videos that are one picture or stand still."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from reelmill.training.reducers.budget import Shared
from reelmill.training.reducers.combine import Branch, Chain, Grid, Route, Select, Stage, by_sample, evenly
from reelmill.training.reducers.merge import PerSegment, Tome, density_peaks, still_stretches
from reelmill.training.reducers.mosaic import Sampled
from reelmill.training.reducers.pool import GridPool, RasterMax, VideoPool
from reelmill.training.reducers.pyramid import Classes
from reelmill.training.reducers.select import TopK, from_class
from reelmill.training.reducers.still import Still
from reelmill.training.splice import flat
from reelmill.training.towers import places
from reelmill.training.values import Text, Vis

WIDTH = 8


def seen(frames: tuple[int, ...] = (2,), grid: Grid = (4, 4), *, seed: int = 0) -> Vis:
    """Random patches of several samples, in double precision."""
    torch.manual_seed(seed)
    n, cells = sum(frames), grid[0] * grid[1]
    number = torch.cat([torch.arange(f) for f in frames])
    return Vis(
        torch.randn(n, cells, WIDTH, dtype=torch.float64),
        places(grid).expand(n, -1, -1),
        number.unsqueeze(1).expand(-1, cells),
        (number / 8).unsqueeze(1).expand(-1, cells),
        torch.arange(len(frames)).repeat_interleave(torch.tensor(frames)),
        grid=grid,
        scores={0: torch.rand(n, cells), -2: torch.rand(n, cells)},
        classes={layer: torch.randn(n, WIDTH, dtype=torch.float64) for layer in (-2, -1)},
    )


def tokens(vis: Vis) -> Tensor:
    """All that count, in the order of the row."""
    return flat(vis, int(vis.sample.max()) + 1)[0]


# ---- merging (ToMe, LongVLM) -----------------------------------------------------------------------------------------


def test_merging_none_is_the_identity() -> None:
    vis = seen()
    assert Tome((0, 0))(vis) is vis
    assert Tome(())(vis) is vis


@settings(max_examples=40)
@given(st.integers(0, 30), st.lists(st.integers(0, 4), max_size=3))
def test_merging_keeps_the_mean_by_size_and_all_patches(seed: int, steps: list[int]) -> None:
    vis = seen((1, 2), seed=seed)
    out = Tome(steps)(vis)
    assert out.tokens == 16 - sum(steps)
    size = out.sizes().double()
    assert torch.equal(size.sum(1), torch.full((3,), 16.0, dtype=torch.float64))
    mean = (out.x * size.unsqueeze(-1)).sum(1) / 16
    torch.testing.assert_close(mean, vis.x.mean(1), atol=1e-12, rtol=0)


def test_the_most_alike_of_both_halves_join() -> None:
    """Tokens 0 and 3 are the same: 0 is of the even half, 3 of the odd one, and no other pair is nearer."""
    vis = seen((1,), (1, 6))
    x = vis.x.clone()
    x[0, 3] = x[0, 0]
    out = Tome((1,))(vis.with_x(x))
    torch.testing.assert_close(out.x[0], x[0, 1:])
    assert out.sizes()[0].tolist() == [1, 1, 2, 1, 1]


def test_more_than_half_cannot_join() -> None:
    with pytest.raises(ValueError, match="9 of 16 tokens cannot join"):
        Tome((9,))(seen())


def test_stretches_are_merged_by_themselves() -> None:
    """A stretch is one group: what happens in another changes nothing, and each keeps the mean of its patches."""
    vis = seen((4,))
    out = PerSegment(2, Tome((16, 8)))(vis)
    assert out.counts().tolist() == [8, 8]
    later = vis.x.clone()
    later[2:] = 0.5
    assert torch.equal(PerSegment(2, Tome((16, 8)))(vis.with_x(later)).x[0], out.x[0])
    mean = (out.x * out.sizes().unsqueeze(-1)).sum(1) / 32
    torch.testing.assert_close(mean, vis.x.unflatten(0, (2, 2)).mean((1, 2)), atol=1e-12, rtol=0)
    with pytest.raises(ValueError, match="a multiple of 3 frames"):
        PerSegment(3, Stage())(vis)


def test_global_tokens_are_the_mean_class_tokens_of_each_sample() -> None:
    vis = seen((3, 1))
    out = Classes((-2, -1))(vis)
    torch.testing.assert_close(out.x[0], torch.stack([vis.classes[layer][:3].mean(0) for layer in (-2, -1)]))
    torch.testing.assert_close(out.x[1], torch.stack([vis.classes[layer][3] for layer in (-2, -1)]))


# ---- still places (HoliTom) ------------------------------------------------------------------------------------------


def saved(alike: Tensor, threshold: float, cuts: list[tuple[int, int]]) -> int:
    """Tokens that a division into stretches saves."""
    still = (alike > threshold).long()
    return sum(int(still[a : b - 1].prod(0).sum()) * (b - a - 1) for a, b in cuts if b - a > 1)


def every_division(frames: int) -> list[list[tuple[int, int]]]:
    """All 2^(frames - 1) ways to cut frames into stretches."""
    ends = [[i + 1 for i in range(frames - 1) if bits >> i & 1] for bits in range(2 ** (frames - 1))]
    return [list(pairwise([0, *cuts, frames])) for cuts in ends]


@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 10_000))
def test_no_division_into_stretches_saves_more(frames: int, cells: int, seed: int) -> None:
    alike = torch.rand(frames - 1, cells, generator=torch.Generator().manual_seed(seed))
    found = still_stretches(alike, 0.3)
    assert [a for a, _ in found[1:]] == [b for _, b in found[:-1]]
    assert (found[0][0], found[-1][1]) == (0, frames)
    assert saved(alike, 0.3, found) == max(saved(alike, 0.3, cuts) for cuts in every_division(frames))


def test_a_threshold_above_every_cosine_leaves_the_best_of_each_frame() -> None:
    vis = seen((3, 2))
    out, plain = Still(from_class(-2), 0.25, 1.01)(vis), TopK(from_class(-2), 0.25)(vis)
    assert torch.equal(tokens(out), tokens(plain))


def test_a_video_that_stands_still_is_one_frame() -> None:
    vis = seen((1,))
    constant = Vis(
        vis.x.expand(5, -1, -1),
        vis.place.expand(5, -1, -1),
        torch.arange(5).unsqueeze(1).expand(-1, 16),
        vis.time.expand(5, -1),
        torch.zeros(5, dtype=torch.long),
        grid=(4, 4),
        scores={-2: torch.rand(5, 16)},
    )
    out = Still(from_class(-2), 0.2)(constant)
    torch.testing.assert_close(tokens(out), vis.x[0], atol=1e-12, rtol=0)
    assert out.frame.unique().tolist() == [0]


def test_a_still_place_among_moving_ones_is_there_once() -> None:
    vis = seen((4,))
    x = vis.x.clone()
    x[:, 5] = x[0, 5]
    out = Still(from_class(-2), 0.9, 0.99)(vis.with_x(x))
    same = (out.x[0] - x[0, 5]).abs().amax(-1) < 1e-12
    assert int((same & valid_of(out)).sum()) == 1


def test_a_place_that_moves_once_in_a_stretch_is_there_in_each_of_its_frames() -> None:
    vis = seen((3,))
    x = vis.x[:1].repeat(3, 1, 1)
    x[2, 5] = vis.x[1, 5]
    out = Still(from_class(-2), 0.9, 0.99)(vis.with_x(x))
    assert int(out.counts()) == 15 + 3
    kept = {tuple(row) for row in tokens(out).tolist()}
    assert {tuple(x[0, 5].tolist()), tuple(x[2, 5].tolist())} <= kept


def valid_of(vis: Vis) -> Tensor:
    return torch.ones(vis.tokens, dtype=torch.bool) if vis.mask is None else vis.mask[0]


def test_peaks_of_separate_clusters_are_one_of_each() -> None:
    middles = torch.eye(3) * 10
    x = torch.cat([m + 0.01 * torch.randn(6, 3, generator=torch.Generator().manual_seed(0)) for m in middles])
    centres, nearest = density_peaks(x, 3)
    assert [int(c) // 6 for c in centres] == [0, 1, 2]
    assert nearest.tolist() == [0] * 6 + [1] * 6 + [2] * 6


# ---- budgets (FasterVLM, HiRED) --------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(1, 48), st.integers(0, 20))
def test_a_budget_is_spent_to_the_last_token_on_the_best_of_each_frame(budget: int, seed: int) -> None:
    vis = seen((3,), seed=seed)
    out = Shared(0.2, 0, -2)(vis, None, budget)
    counts = out.counts()
    assert int(counts.sum()) == budget
    kept = tokens(out).split(counts.tolist())
    for frame, (count, x) in enumerate(zip(counts.tolist(), kept, strict=True)):
        best = vis.scores[-2][frame].topk(count).indices.sort().values
        assert torch.equal(x, vis.x[frame, best])


def test_more_attention_early_is_a_larger_share() -> None:
    vis = seen((3,))
    vis.scores[0][:] = torch.tensor([[1.0], [2.0], [5.0]])
    assert Shared(0.5, 0, -2)(vis).counts().tolist() == [3, 6, 15]


def test_a_budget_for_all_is_the_identity() -> None:
    vis = seen((2, 1))
    assert Shared(1.0, 0, -2)(vis) is vis
    one = seen((2,))
    assert torch.equal(tokens(Shared(0.2, 0, -2)(one, None, 32)), tokens(one))
    assert TopK(from_class(-2), 0.1)(vis, None, 16) is vis


# ---- one picture as a video (PLLaVA, SlowFast-LLaVA, TS-LLaVA) -------------------------------------------------------


def test_a_video_of_one_frame_is_its_picture() -> None:
    vis = seen((1,))
    picture = GridPool((2, 2))(vis).x[0]
    torch.testing.assert_close(VideoPool((3, 2, 2))(vis).x, picture.expand(3, -1, -1))
    torch.testing.assert_close(VideoPool((1, 2, 2))(vis).x[0], picture)
    streams = Branch(Chain(Select(evenly(10)), RasterMax(2)), GridPool((2, 2)))
    torch.testing.assert_close(tokens(streams(vis)), torch.cat([RasterMax(2)(vis).x[0], picture]))
    assert torch.equal(tokens(Sampled(2880)(vis)), vis.x[0])


def test_sampled_tokens_reach_from_the_first_to_the_last() -> None:
    vis = seen((2, 3))
    out = Sampled(5)(vis)
    for sample, n in ((0, 32), (1, 48)):
        whole = by_sample(vis).x[sample]
        steps = [int(i * (n - 1) / 4) for i in range(5)]
        assert torch.equal(out.x[sample], whole[steps])


# ---- choice (AVG-LLaVA) ----------------------------------------------------------------------------------------------


class Sure(torch.nn.Module):  # type: ignore[misc]
    """A router that wants one branch for each sample."""

    def __init__(self, wanted: list[int], branches: int) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(200.0 * F.one_hot(torch.tensor(wanted), branches))

    def forward(self, vis: Vis, text: Text | None) -> Tensor:
        return self.logits


def test_a_router_that_is_sure_is_the_fixed_reducer() -> None:
    vis, pools = seen((2, 1)), [GridPool((k, k)) for k in (1, 2, 4)]
    for wanted in ([0, 0], [1, 2], [2, 0]):
        out = Route(Sure(wanted, 3), *pools)(vis)
        fixed = [by_sample(pools[k](seen((2, 1)))).x[s] for s, k in enumerate(wanted)]
        counts = [2 * 4 ** wanted[0], 4 ** wanted[1]]
        expected = [x[:n] for x, n in zip(fixed, counts, strict=True)]
        torch.testing.assert_close(tokens(out), torch.cat(expected), atol=1e-6, rtol=0)
    assert torch.equal(Route(Sure([0, 0], 3), *pools)(vis, None, 1).x, pools[1](vis).x)


def test_a_router_learns_from_what_it_chose() -> None:
    router = Sure([1, 0], 2)
    with torch.no_grad():
        router.logits.mul_(0.005)
    Route(router, GridPool((1, 1)), GridPool((2, 2)))(seen((1, 1))).x.sum().backward()
    assert router.logits.grad is not None
    assert bool((router.logits.grad != 0).all())


def test_a_text_between_videos_has_no_say() -> None:
    """Document 1 has no media: the router has a row for each of the two others."""
    vis = seen((1, 1))
    apart = Vis(vis.x, vis.place, vis.frame, vis.time, torch.tensor([0, 2]), grid=vis.grid)
    out = Route(Sure([0, 1], 2), GridPool((1, 1)), GridPool((2, 2)))(apart)
    assert flat(out, 3)[2].tolist() == [1, 0, 4]
