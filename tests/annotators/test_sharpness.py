"""Sharpness of shown frames: a blurred one has less, a flat one none, and a row's numbers are its own."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from reelmill.annotators.annotator import Annotator
from reelmill.annotators.sharpness import Sharpness, sharpness
from reelmill.annotators.shown import Rgb
from reelmill.schemas.column import schema

CHECKS: Rgb = np.repeat((np.indices((40, 40)).sum(0) // 4 % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)


def test_a_blurred_picture_is_less_sharp() -> None:
    blurred = cv2.blur(CHECKS, (7, 7)).astype(np.uint8)
    assert sharpness(CHECKS) > 2 * sharpness(blurred) > 0
    assert sharpness(np.full((8, 8, 3), 7, np.uint8)) == 0.0


def test_by_hand() -> None:
    """A step of 80 grey levels, blurred by (1, 2, 1) / 4, has second differences 20, 20, -20, -20 around it."""
    step = np.zeros((9, 12, 3), np.uint8)
    step[:, 6:] = 80
    assert sharpness(step) == pytest.approx(4 * 20 / 12)


def jpeg(rgb: Rgb) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=95)
    return out.getvalue()


def test_one_number_for_each_frame_whatever_else_is_asked() -> None:
    step = Sharpness()
    assert isinstance(step, Annotator)
    rows = [{"key": "a", "jpegs": [jpeg(CHECKS), jpeg(CHECKS // 2)]}, {"key": "b", "jpegs": []}]
    out = step(pa.Table.from_pylist(rows, schema=schema(*step.needs))).to_pylist()
    first, second = out[0]["frame_sharpness"]
    assert first > second > 0
    assert out[1]["frame_sharpness"] == []
    assert step(pa.Table.from_pylist(rows[:1], schema=schema(*step.needs))).to_pylist() == out[:1]
