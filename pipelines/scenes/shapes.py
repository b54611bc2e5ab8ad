"""Shapes as antialiased stamps at quarter-pixel places: what is drawn and what is boxed come from the same mask.

A place is a centre in whole quarter pixels. Sixteen sub-pixel phases per (shape, radius) exist, so each is made once.

>>> stamp("square", 10, 0, 0).box
(5, 5, 21, 21)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

QUARTERS = 4
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross")
_MARGIN_PX = 2
_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True)
class Stamp:
    """`coverage` float32 [side, side] in [0, 1]; `solid` where it is at least one half; `box` x0 y0 x1 y1 of `solid`.
    `origin_px` is the place of the centre's whole pixel inside the stamp."""

    coverage: np.ndarray
    solid: np.ndarray
    box: tuple[int, int, int, int]
    origin_px: int


def _ring(count: int, start_deg: float, radii: tuple[float, ...] = (1.0,)) -> np.ndarray:
    turns = [math.radians(start_deg) + 2 * math.pi * i / count for i in range(count)]
    return np.array(
        [(radii[i % len(radii)] * math.cos(a), radii[i % len(radii)] * math.sin(a)) for i, a in enumerate(turns)]
    )


def outline(shape: str) -> np.ndarray:
    """Polygon [n, 2] of a shape within the unit circle, y downwards. Raises KeyError for an unknown name."""
    arm = 0.3
    plus = [(-arm, -0.9), (arm, -0.9), (arm, -arm), (0.9, -arm), (0.9, arm), (arm, arm)]
    polygons = {
        "circle": _ring(64, 0.0, (0.95,)),
        "square": _ring(4, 45.0, (0.8 * math.sqrt(2),)),
        "triangle": _ring(3, -90.0) + np.array([0.0, 0.15]),
        "star": _ring(10, -90.0, (1.05, 0.48)),
        "diamond": _ring(4, 0.0, (1.0,)),
        "cross": np.array(plus + [(-x, -y) for x, y in plus]),
    }
    return np.asarray(polygons[shape])


@lru_cache(maxsize=4096)
def stamp(shape: str, radius_px: int, phase_x: int, phase_y: int) -> Stamp:
    """Stamp of a shape whose centre lies `phase / 4` pixels right of and below the top left of its whole pixel."""
    import cv2

    origin = math.ceil(radius_px * 1.15) + _MARGIN_PX - 1
    side = (2 * origin + 1) * QUARTERS
    centre = np.array([origin * QUARTERS + phase_x, origin * QUARTERS + phase_y])
    points = outline(shape) * radius_px * QUARTERS + centre - 0.5  # pixel i of the fine grid spans [i, i + 1)
    fine = np.zeros((side, side), np.uint8)
    fixed = np.rint(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(fine, [fixed], 255, lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)
    blocks = fine.reshape(side // QUARTERS, QUARTERS, side // QUARTERS, QUARTERS)
    coverage = (blocks.mean(axis=(1, 3)) / 255).astype(np.float32)
    return _stamped(coverage, origin)


def _stamped(coverage: np.ndarray, origin_px: int) -> Stamp:
    solid = coverage >= 0.5
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    coverage.setflags(write=False)
    solid.setflags(write=False)
    return Stamp(coverage, solid, (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1), origin_px)
