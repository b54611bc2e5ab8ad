"""The trunk that learns on a CPU: what its settings are, and that what moves is not lost beside what stands still."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_documents as tiny
import torch

from reelmill.schemas.errors import BadInput
from reelmill.training import ladder
from reelmill.training.assemble import from_scratch
from reelmill.training.documents import IGNORED, Document, packed
from reelmill.training.reducers.stamp import Timed
from reelmill.training.values import Vis

FRAMES = 4


def test_a_time_between_two_rows_is_their_mix() -> None:
    timed = Timed(8, 4)
    shown = torch.zeros(3, 2, dtype=torch.long)
    times = torch.tensor([0.25, 0.375, 1.0]).unsqueeze(1).expand(-1, 2)
    vis = Vis(torch.zeros(3, 2, 8), torch.zeros(3, 2, 2), shown, times, torch.zeros(3, dtype=torch.long))
    first, between, last = timed(vis).x[:, 0]
    torch.testing.assert_close(first, timed.rows[1])
    torch.testing.assert_close(between, (timed.rows[1] + timed.rows[2]) / 2)
    torch.testing.assert_close(last, timed.rows[4])


@pytest.mark.parametrize(("codec", "slots"), [("dist", ["time", "box"]), ("bins", ["time", "x", "y"]), ("text", [])])
def test_a_codec_is_chosen_by_name(codec: str, slots: list[str]) -> None:
    model, _ = from_scratch("small", ladder.XS, tiny.VOCABULARY, frames=FRAMES, settings={"codec": codec})
    assert model.slots() == slots


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(BadInput, match="codec 'words'"):
        from_scratch("small", ladder.XS, tiny.VOCABULARY, frames=FRAMES, settings={"codec": "words"})


def test_nested_is_asked_for_one_four_or_all_tokens_of_a_frame() -> None:
    model, variant = from_scratch("small", ladder.XS, tiny.VOCABULARY, frames=FRAMES, settings={"nested": True})
    pack = packed([tiny.document(0, frames=FRAMES)])
    lengths = {budget: model.row(pack, budget).length for budget in variant.budgets}
    assert [lengths[b] - lengths[1] for b in (1, 4, 16)] == [0, 3 * FRAMES, 15 * FRAMES]


def test_a_fresh_model_shows_what_changes_between_frames() -> None:
    """A dark square enters one corner in the last of eight frames. Its token must change by more than half of what all
    tokens differ: 0.9 with a large patch embedding and small codes of time, 0.15 to 0.19 without (three seeds)."""
    model, _ = from_scratch("small", ladder.XS, tiny.VOCABULARY, frames=8)
    frames = np.full((8, 24, 24, 3), 170, np.uint8)
    frames[7, 2:10, 2:10] = 30
    ids = np.array([2, tiny.VISUAL, 3, 4])
    labels, branch = np.array([IGNORED, IGNORED, IGNORED, 4]), np.zeros(4, np.int64)
    document = Document(("a",), ids, labels, branch, (), frames, np.arange(8.0), 8.0)
    reducer: Any = model.reducer
    with torch.no_grad():
        x = reducer(model.tower(packed([document]))).x
        features = x - reducer.stages[-1].rows[:8].unsqueeze(1)
    change = (features[7] - features[6]).std(-1)
    assert change[3] < 0.5 * change[0]
    assert change[0] > 0.5 * x.std()


def test_fresh_attention_tells_tokens_apart() -> None:
    """Of 64 unlike tokens a head reads 8 (the exponential of its entropy, mean over heads and layers, three seeds);
    with torch's own start it reads 61, so that what a few of them show is lost in the mean."""
    for seed in range(3):
        torch.manual_seed(seed)
        words = ladder.language(ladder.XS, 64)
        x = torch.nn.functional.normalize(torch.randn(64, 96), dim=1) * 96**0.5
        assert np.mean([_read(layer.self_attn, x) for layer in words.model.layers]) < 16


@torch.no_grad()
def _read(attention: Any, x: torch.Tensor) -> float:
    """How many tokens a head reads, mean over heads and queries."""
    query, key = (project(x).view(64, 4, 24).transpose(0, 1) for project in (attention.q_proj, attention.k_proj))
    shares = (query @ key.transpose(1, 2) * 24**-0.5).softmax(-1)
    return float((-(shares * shares.log()).sum(-1)).exp().mean())
