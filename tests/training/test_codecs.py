"""Numbers to tokens and back: exact where the papers are, and learned from where gradients must reach."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reelmill.training.codecs.bins import Bins
from reelmill.training.codecs.dist import Dist, iou_with_distance, mean_floor
from reelmill.training.codecs.text import Text

SHARE = st.floats(0, 1, width=32)


def test_text_is_written_in_the_units_of_its_scale() -> None:
    assert Text().spell((0.25, 0.5), (8.0, 8.0)) == ["2.0 to 4.0"]
    assert Text(2).spell((0.1, 0.2, 0.3, 0.4), (1.0,) * 4) == ["[0.10, 0.20, 0.30, 0.40]"]
    with pytest.raises(ValueError, match="no slot 'time'"):
        Text().embed("time", torch.zeros(1, 1))


def test_bins_write_one_slot_a_number_by_axis() -> None:
    assert Bins(("x", "y"), 4).spell((0.1, 0.2, 0.3, 0.4), (1.0,) * 4) == [
        ("x", (0.1,)), ("y", (0.2,)), ("x", (0.3,)), ("y", (0.4,)),
    ]  # fmt: skip


@given(SHARE)
def test_two_hot_is_exact(value: float) -> None:
    bins = Bins(("time",), 4, 100)
    target = bins.target("time", torch.tensor([[value]]))[0]
    assert int((target > 0).sum()) <= 2
    torch.testing.assert_close(target.sum(), torch.tensor(1.0), atol=1e-5, rtol=0)
    torch.testing.assert_close((target @ torch.arange(100.0)) / 99, torch.tensor(value), atol=1e-6, rtol=0)


def test_propagation_changes_gradients_and_nothing_else() -> None:
    plain, near = Bins(("time",), 3, 5, propagate=False), Bins(("time",), 3, 5)
    near.load_state_dict(plain.state_dict())
    one, other = plain.rows("time"), near.rows("time")
    assert one is not None
    assert other is not None
    torch.testing.assert_close(other, one)
    other[2].sum().backward()
    grad = near.said["time"].grad
    assert grad is not None
    assert grad[:, 0].tolist() == [0.25, 0.5, 2.0, 0.5, 0.25]


def test_a_bin_that_is_said_is_read() -> None:
    bins = Bins(("time",), 16, 11)
    with torch.no_grad():
        bins.said["time"].copy_(torch.eye(11, 16) * 40)
    said = bins.target("time", torch.tensor([[0.34]]))
    state = torch.zeros(1, 16)
    state[0, :11] = said.clamp(min=1e-9).log() / 40
    torch.testing.assert_close(bins.read("time", state), torch.tensor([[0.34]]), atol=1e-4, rtol=0)


@given(st.floats(0.001, 0.999))
def test_the_least_dfl_says_the_number(value: float) -> None:
    """With logits free, the minimum is at the two-hot target: its expectation is the number, its value the entropy."""
    dist = Dist("time", 4, d=1, r=10)
    low = min(int(value * 10), 9)
    share = value * 10 - low
    two = torch.full((11,), -40.0)
    two[low], two[low + 1] = torch.tensor(1 - share).clamp(min=1e-9).log(), torch.tensor(share).clamp(min=1e-9).log()
    dist.decode = torch.nn.Identity()
    h, target = two.unsqueeze(0), torch.tensor([[value]])
    torch.testing.assert_close(dist.read("time", h), target, atol=1e-4, rtol=0)
    torch.testing.assert_close(dist.dfl(h, target), mean_floor(target, 10), atol=1e-3, rtol=0)
    assert float(dist.dfl(h + torch.randn_like(h), target)) >= float(mean_floor(target, 10)) - 1e-3


def test_an_interval_overlaps_itself_and_stands_apart_from_others() -> None:
    true = torch.tensor([[0.2, 0.6]])
    assert float(iou_with_distance(true, true)) == pytest.approx(1.0)
    far = float(iou_with_distance(torch.tensor([[0.8, 1.0]]), true))
    assert far == pytest.approx(-(0.5**2) / 0.8**2)
    box = torch.tensor([[0.0, 0.0, 0.5, 0.5]])
    half = torch.tensor([[0.0, 0.0, 0.5, 0.25]])
    assert float(iou_with_distance(half, box)) == pytest.approx(0.5 - 0.125**2 / (0.5**2 + 0.5**2))


def test_a_distribution_s_loss_reaches_both_its_networks() -> None:
    dist = Dist("time", 8)
    values = torch.tensor([[0.1, 0.4]])
    dist.loss("time", torch.randn(1, 8), values).sum().backward()
    assert all(p.grad is not None for p in dist.decode.parameters())
    dist.embed("time", values).sum().backward()
    assert all(p.grad is not None for p in dist.encode.parameters())


def test_numbers_go_in_and_come_out_after_fitting() -> None:
    """What the one network writes the other reads, within one anchor, for intervals that it never saw."""
    torch.manual_seed(0)
    dist, r, steps = Dist("time", 32, r=16, hidden=64), 16, 400
    values = torch.combinations((torch.arange(16) + 0.4) / 16, 2, with_replacement=True)
    optimiser = torch.optim.Adam(dist.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        loss = dist.loss("time", dist.embed("time", values), values).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    fresh = torch.rand(500, 2).sort(1).values
    with torch.no_grad():
        off = (dist.read("time", dist.embed("time", fresh)) - fresh).abs()
    assert float(off.max()) < 1 / r


def test_the_share_of_dfl_is_a_setting_and_the_paper_s_without_one() -> None:
    paper, whole = Dist("time", 8, r=4), Dist("time", 8, r=4, share=1.0)
    whole.load_state_dict(paper.state_dict())
    states, values = torch.randn(3, 8), torch.tensor([[0.1, 0.4], [0.2, 0.9], [0.5, 0.75]])
    more = whole.loss("time", states, values) - paper.loss("time", states, values)
    torch.testing.assert_close(more, 0.75 * paper.dfl(states, values))
