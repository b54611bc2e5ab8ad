"""TEMPLE's rules for source videos, merged clips and key frames, each at its edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.pipelines.views.choosing import clips_fault, cuts_fault, grouped, key_frames, runs_of
from reelmill.schemas.span import Span


@pytest.mark.parametrize(
    ("durations_s", "reason"),
    [
        ([3.0] * 4, None),
        ([3.0] * 32, None),
        ([3.0] * 3, "too_few_cuts"),
        ([3.0] * 33, "too_many_cuts"),
        ([3.0, 16.0, 3.0, 3.0], None),
        ([3.0, 16.1, 3.0, 3.0], "cut_too_long"),
    ],
)
def test_how_many_cuts_and_how_long(durations_s, reason):
    fault = cuts_fault(durations_s)
    assert (fault[0] if fault else None) == reason


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        ([0, 1, 2], "too_few_clips"),
        ([0, 1, 2, 3], None),
        ([0, 1, 0, 1], "recurring_clips"),
        ([0, 1, 0, 2, 3, 4], None),
        ([0, 1, 0, 2, 0, 3], "recurring_clips"),
        ([0, 1, 0, 2, 0, 3, 0, 4, 5, 6, 7, 8, 9], "recurring_clips"),
        ([0, 1, 0, 2, 0, 3, 4, 5, 6], None),
    ],
)
def test_a_dialogue_that_goes_back_and_forth_is_refused(groups, reason):
    fault = clips_fault(groups)
    assert (fault[0] if fault else None) == reason


def test_the_most_similar_are_merged_first_and_a_merged_row_is_the_mean():
    # 0 and 1 are merged at 0.95; the mean of 0.9 and 0.6 to cut 2 is then 0.75, and so 2 stays alone.
    assert grouped([[1, 0.95, 0.9], [0.95, 1, 0.6], [0.9, 0.6, 1]]) == (0, 0, 1)
    assert grouped([[1, 0.95, 0.9], [0.95, 1, 0.75], [0.9, 0.75, 1]]) == (0, 0, 0)
    assert grouped([[1.0, 0.8], [0.8, 1.0]]) == (0, 1)
    assert grouped(np.ones((1, 1))) == (0,)


def test_a_group_may_come_back_and_neighbours_of_one_group_are_one_clip():
    likeness = np.full((4, 4), 0.1)
    likeness[0, 2] = likeness[2, 0] = 0.9
    assert grouped(likeness) == (0, 1, 0, 2)
    assert runs_of((0, 0, 1, 0, 2, 2)) == ((0, 2), (2, 3), (3, 4), (4, 6))
    assert runs_of(()) == ()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_runs_cover_every_cut_once(groups):
    runs = runs_of(groups)
    assert [i for a, b in runs for i in range(a, b)] == list(range(len(groups)))
    assert all(len({groups[i] for i in range(a, b)}) == 1 for a, b in runs)


@given(st.integers(1, 7), st.integers(0, 2**16))
def test_cuts_that_show_the_same_are_one_group_whatever_their_order(n, seed):
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    vectors = np.eye(3)[kind]
    groups = grouped(vectors @ vectors.T)
    assert all((groups[i] == groups[j]) == (kind[i] == kind[j]) for i in range(n) for j in range(n))


def test_the_sharpest_frame_near_a_third_is_the_key_frame():
    at_s = [i / 10 for i in range(90)]
    flat = [1.0] * 90
    assert key_frames(at_s, flat, Span(0.0, 9.0)) == (30, 60)
    sharp = flat.copy()
    sharp[34] = 2.0
    assert key_frames(at_s, sharp, Span(0.0, 9.0)) == (34, 60)
    far = flat.copy()
    far[44] = 5.0  # near the window's end the weight is next to nothing
    assert key_frames(at_s, far, Span(0.0, 9.0)) == (30, 60)
    assert key_frames([0.1], [1.0], Span(0.0, 9.0)) == ()
    assert key_frames([4.0, 4.4], [1.0, 2.0], Span(0.0, 9.0)) == (0,), "one window has no frame"
