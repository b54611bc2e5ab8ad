"""Stored frames: on the grid by presentation time, at the true first frame of each shot, with bytes fixed once."""

from __future__ import annotations

import io

import numpy as np
import pytest
from painted import black, frames, mixed, texture
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from reelmill.annotators.cutting.shots import Cuts, ShotRules
from reelmill.annotators.cutting.shown import Kept, Shown, ShownRules, frames_of, jpeg
from reelmill.annotators.cutting.stats import Facts

A, B, C = texture(1), texture(2), texture(3)


def kept(pictures, times_s=None, rules=None, fps=25.0):
    facts, cuts = Facts(144), Cuts(ShotRules())
    shown = Shown(rules or ShownRules(), facts, cuts)
    for one in frames(pictures, times_s, fps):
        for consumer in (facts, cuts, shown):
            consumer.see(one)
        one.release()
    return facts.done(), shown.done()


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def sampling(data: bytes) -> tuple[int, int]:
    """How often brightness is stored for one colour, across and down."""
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, JpegImageFile)
    across, down = image.layer[0][1:3]
    return across, down


def looks_like(data, picture):
    return np.abs(pixels(data) - picture).mean() < 6


def test_the_grid_is_the_first_frame_at_or_after_each_half_second():
    timeline, found = kept([A] * 40, fps=24.0)
    assert [round(float(timeline.at_s[i]), 4) for i in found.grid] == [0.0, 0.5, 1.0, 1.5]
    _, uneven = kept([A] * 6, times_s=[0.0, 0.4, 0.9, 1.0, 2.7, 3.1])
    assert uneven.grid == (0, 2, 3, 4, 5), "a gap gives no frame twice, and does not shift what comes after"


def test_frames_of_a_clip_have_its_own_times_and_numbers():
    timeline, found = kept([A] * 31 + [B] * 40)
    clip = frames_of(found, timeline, 31, 71, 0.5)
    assert [(f.frame, f.at_s) for f in clip] == [(0, 0.0), (7, 0.28), (19, 0.76), (32, 1.28)]
    assert (clip[0].width_px, clip[0].height_px) == (192, 144)


def test_a_grid_frame_just_after_the_first_is_left_out():
    timeline, found = kept([A] * 23 + [B] * 30)
    assert [(f.frame, f.at_s) for f in frames_of(found, timeline, 23, 53, 0.5)] == [(0, 0.0), (15, 0.6), (27, 1.08)]


def test_the_first_frame_of_a_shot_shows_that_shot_even_where_it_was_proposed_late():
    step = mixed(A, B, 0.12)  # so small a step that only the adaptive detector sees it, two frames later
    marked = step.copy()
    marked[:, :20] = 0  # and what stands there by then can be told from it
    timeline, found = kept([A] * 31 + [step] + [marked] * 30 + [C] * 30)
    assert 31 in found.jpegs
    for start, stop, picture in ((0, 31, A), (31, 62, step), (62, 92, C)):
        first = frames_of(found, timeline, start, stop, 0.5)[0]
        assert first.at_s == 0.0
        assert looks_like(first.jpeg, picture)


def test_frames_at_the_edges_of_black_are_kept():
    timeline, found = kept([A] * 17 + [black()] * 11 + [A] * 30)
    assert frames_of(found, timeline, 17, 28, 0.5)[0].frame == 0
    assert looks_like(frames_of(found, timeline, 28, 58, 0.5)[0].jpeg, A)


def test_a_strobe_keeps_no_more_than_the_limit():
    rules = ShownRules(most_cuts=5)
    strobe = [(A, B, C)[i % 3] for i in range(100)]
    timeline, found = kept(strobe, rules=rules)
    assert len(found.jpegs) == len(found.grid) + 5
    assert frames_of(found, timeline, 90, 95, 0.5) == ()


def test_a_clip_whose_first_frame_was_not_kept_begins_with_the_grid():
    timeline, found = kept([A] * 50)
    assert [f.frame for f in frames_of(found, timeline, 5, 50, 0.5)] == [8, 20, 33]
    assert frames_of(Kept({}, ()), timeline, 5, 50, 0.5) == ()


@pytest.mark.parametrize("size", [(1000, 600), (600, 1000), (192, 144)])
def test_the_short_side_is_bounded_and_nothing_is_enlarged(size):
    _, found = kept([texture(1, *size)])
    width, height, data = found.jpegs[0]
    assert min(width, height) == min(448, *size)
    assert width / height == pytest.approx(size[0] / size[1], rel=0.01)
    assert Image.open(io.BytesIO(data)).size == (width, height)


def test_the_same_pixels_give_the_same_bytes_and_no_metadata():
    assert jpeg(A, 90) == jpeg(A.copy(), 90)
    image = Image.open(io.BytesIO(jpeg(A, 90)))
    assert set(image.info) == {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert sampling(jpeg(A, 90)) == (2, 2), "colour at half size"
    assert sampling(jpeg(A, 92, full_colour=True)) == (1, 1)
