"""Facts of frames: what moves, what is sharp, how bright, and the hash, each against what was painted."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from painted import black, frames, mixed, moving, texture, timeline_of
from PIL import Image

from reelmill.annotators.cutting.stats import changes, describe, peak_change

A = texture(1)


def test_a_picture_that_stands_does_not_move():
    timeline = timeline_of(frames([A] * 30))
    assert describe(timeline, 0, 30).motion == 0.0
    assert peak_change(timeline, 0, 30) == 0.0


def test_motion_is_the_mean_change_over_half_a_second():
    pictures = [np.full_like(A, 100)] * 13 + [np.full_like(A, 151)] * 13
    timeline = timeline_of(frames(pictures, fps=26))
    pairs = changes(timeline, 0, 26)
    assert set(np.unique(pairs).tolist()) <= {0.0, 51.0}
    assert describe(timeline, 0, 26).motion == pytest.approx(float(pairs.mean()) / 255, abs=1e-6)
    assert peak_change(timeline, 0, 26) == pytest.approx(0.2)


def test_a_small_thing_that_moves_shows_in_the_peak_and_hardly_in_the_mean():
    timeline = timeline_of(frames(moving(texture(1), lambda i: 2 * i, 50)))
    assert describe(timeline, 0, 50).motion < 0.01
    assert peak_change(timeline, 0, 50) > 0.1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_shot_under_half_a_second_compares_its_ends(count):
    pictures = [np.full_like(A, 40 + 10 * i) for i in range(count)]
    assert describe(timeline_of(frames(pictures)), 0, count).motion == pytest.approx(10 * (count - 1) / 255, abs=1e-6)


def test_motion_goes_by_time_not_by_frame_count():
    slow = [np.full_like(A, int(20 + 40 * t)) for t in np.arange(0, 3, 0.1)]
    fast = [np.full_like(A, int(20 + 40 * t)) for t in np.arange(0, 3, 0.02)]
    few = describe(timeline_of(frames(slow, fps=10)), 0, len(slow)).motion
    many = describe(timeline_of(frames(fast, fps=50)), 0, len(fast)).motion
    assert few == pytest.approx(many, rel=0.1)


def test_luma_and_spread():
    half = np.zeros((144, 192, 3), np.uint8)
    half[:, 96:] = 200
    stats = describe(timeline_of(frames([half])), 0, 1)
    assert (stats.luma, stats.luma_spread) == pytest.approx((100.0, 100.0), abs=0.01)


def test_blur_lowers_sharpness():
    blurred = np.asarray(Image.fromarray(A).resize((24, 18)).resize((192, 144)))
    sharp, soft = (describe(timeline_of(frames([p])), 0, 1).sharpness for p in (A, blurred))
    assert soft < sharp / 10


def test_stats_are_of_their_own_frames_only():
    timeline = timeline_of(frames([black()] * 20 + [A] * 20))
    alone = describe(timeline_of(frames([A] * 20)), 0, 20)
    assert describe(timeline, 20, 40) == alone


def test_the_hash_is_of_the_middle_frame_and_near_that_of_the_whole_picture():
    timeline = timeline_of(frames([A, texture(2), texture(3)]))
    found = imagehash.hex_to_hash(describe(timeline, 0, 3).phash)
    assert found - imagehash.phash(Image.fromarray(texture(2))) <= 4
    assert found - imagehash.phash(Image.fromarray(A)) > 12


def test_a_frame_costs_little_memory():
    timeline = timeline_of(frames([A] * 10))
    arrays = [getattr(timeline, name) for name in timeline.__slots__]
    assert sum(a.nbytes for a in arrays) / 10 < 1400


def test_times_are_found_by_presentation():
    timeline = timeline_of(frames([A] * 4, times_s=[0.0, 0.1, 0.7, 0.75]))
    assert [timeline.from_s(t) for t in (0.0, 0.1, 0.11, 0.7, 2.0)] == [0, 1, 2, 2, 4]
    assert timeline.length_s(1, 3) == pytest.approx(0.65)
    assert timeline.duration_s == pytest.approx(0.8)


def test_mixing_changes_nothing_but_the_mixed_frame():
    pictures = [A] * 10
    pictures[4] = mixed(A, black(), 0.5)
    a, b = timeline_of(frames([A] * 10)), timeline_of(frames(pictures))
    assert [i for i in range(10) if not np.array_equal(a.cells[i], b.cells[i])] == [4]
