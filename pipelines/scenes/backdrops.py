"""Backgrounds: plain, graded, striped, checked, blotched, or cluttered with faint shapes like those that move.

Everything but `plain` mixes two tones of one colour; `mix` 0 is the first tone and 1 the second.

>>> paint(Backdrop("plain", (9, 9, 9), (20, 20, 20), 1), 4, 2).tolist()[0][0]
[9, 9, 9]
"""

from __future__ import annotations

import math
import random

import numpy as np

from reelmill.pipelines.scenes.motion import stamp_at
from reelmill.pipelines.scenes.scene import Backdrop, Mover
from reelmill.pipelines.scenes.shapes import SHAPES

KINDS = ("plain", "gradient", "stripes", "checker", "blobs", "clutter")
_CLUTTER_AREA_PX = 4000  # one faint shape per so many pixels


def paint(backdrop: Backdrop, width_px: int, height_px: int) -> np.ndarray:
    """uint8 [height, width, 3] of a background. Raises KeyError for an unknown kind."""
    mixes = {
        "plain": _plain,
        "gradient": _gradient,
        "stripes": _stripes,
        "checker": _checker,
        "blobs": _blobs,
        "clutter": _clutter,
    }
    mix = mixes[backdrop.kind](random.Random(backdrop.seed), width_px, height_px)[..., None]
    first, second = np.array(backdrop.rgb, np.float32), np.array(backdrop.second, np.float32)
    return np.asarray(np.rint(first + (second - first) * mix), np.uint8)


def _grid(width_px: int, height_px: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:height_px, 0:width_px].astype(np.float32)
    return x, y


def _plain(_rng: random.Random, width_px: int, height_px: int) -> np.ndarray:
    return np.zeros((height_px, width_px), np.float32)


def _gradient(rng: random.Random, width_px: int, height_px: int) -> np.ndarray:
    ramp = _turned(rng.uniform(0, 2 * math.pi), width_px, height_px)
    return np.asarray((ramp - ramp.min()) / (np.ptp(ramp) or 1.0), np.float32)


def _turned(angle: float, width_px: int, height_px: int) -> np.ndarray:
    """Distance in pixels along a direction."""
    x, y = _grid(width_px, height_px)
    return np.asarray(x * math.cos(angle) + y * math.sin(angle))


def _stripes(rng: random.Random, width_px: int, height_px: int) -> np.ndarray:
    ramp = _turned(rng.uniform(0, math.pi), width_px, height_px)
    return np.asarray(0.5 + 0.5 * np.sin(ramp * (2 * math.pi / rng.uniform(14, 40))), np.float32)


def _checker(rng: random.Random, width_px: int, height_px: int) -> np.ndarray:
    side, dx, dy = rng.uniform(16, 36), rng.uniform(0, 36), rng.uniform(0, 36)
    x, y = _grid(width_px, height_px)
    return np.asarray((np.floor((x + dx) / side) + np.floor((y + dy) / side)) % 2, np.float32)


def _blobs(rng: random.Random, width_px: int, height_px: int) -> np.ndarray:
    """Two octaves of smoothly enlarged random grids, stretched to [0, 1]."""
    import cv2

    total = np.zeros((height_px, width_px), np.float32)
    for cells, weight in ((6, 1.0), (18, 0.5)):
        rows = max(2, cells * height_px // max(width_px, 1))
        coarse = np.array([[rng.random() for _ in range(cells)] for _ in range(rows)], np.float32)
        total += weight * cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    return np.asarray((total - total.min()) / (np.ptp(total) or 1.0), np.float32)


def _clutter(rng: random.Random, width_px: int, height_px: int) -> np.ndarray:
    mix = 0.5 * _blobs(rng, width_px, height_px)
    for _ in range(width_px * height_px // _CLUTTER_AREA_PX):
        radius = rng.randint(8, 18)
        thing = Mover(rng.choice(SHAPES), "", (), radius, ())
        at = np.array([4 * rng.randrange(width_px), 4 * rng.randrange(height_px)])
        mark, left, top = stamp_at(thing, at)
        depth, side = rng.uniform(0.4, 1.0), mark.coverage.shape[0]
        window = mix[max(0, top) : top + side, max(0, left) : left + side]
        cut = mark.coverage[max(0, -top) :, max(0, -left) :][: window.shape[0], : window.shape[1]]
        window += (depth - window) * cut
    return mix
