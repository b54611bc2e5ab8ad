"""Scaling: what a scaler did before, and for which frames and sizes, leaves no trace in the next answer."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from reelmill.annotators.decode.scale import Scalers, converted, scaled

SIZES = ((40, 22), (96, 54), (64, 36), (128, 72))


def frames() -> list[av.VideoFrame]:
    """Noise in several forms, as a stream may change its form in the middle."""
    rng = np.random.default_rng(5)
    found = []
    for i in range(12):
        rgb = av.VideoFrame.from_ndarray(rng.integers(0, 256, (36, 64, 3)).astype(np.uint8), format="rgb24")
        frame = rgb.reformat(format=("yuv420p", "yuv444p", "yuv420p10le")[i % 3])
        frame.color_range = (ColorRange.MPEG, ColorRange.JPEG)[i % 2]
        frame.colorspace = (Colorspace.ITU709, Colorspace.ITU601)[i // 2 % 2]
        found.append(frame)
    return found


def test_a_scaler_that_is_kept_gives_what_a_new_one_gives():
    kept = Scalers()
    for again in range(2):
        for i, frame in enumerate(frames()):
            for width, height in SIZES:
                one = converted(frame, width, height, kept)
                assert one.shape == (height, width, 3)
                assert np.array_equal(one, converted(frame, width, height)), (again, i, width)


def test_scaling_to_the_same_size_is_a_copy():
    rgb = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    same = scaled(rgb, 4, 2)
    assert np.array_equal(same, rgb)
    assert not np.shares_memory(same, rgb)


@pytest.mark.parametrize("size", SIZES)
def test_a_flat_picture_stays_flat(size):
    flat = np.full((36, 64, 3), 77, np.uint8)
    assert np.array_equal(np.unique(scaled(flat, *size)), [77])
