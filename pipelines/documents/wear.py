"""What happens to a page on its way into a picture: a tilt on a desk, blur, noise; boxes go with the tilt.

>>> import numpy as np
>>> flat, place = worn(np.zeros((40, 60, 3), np.uint8), Wear(0.0, 0, 0.0, 0.0, 0, 0))
>>> place(Box(1, 2, 3, 4))
(1.0, 2.0, 3.0, 2.0, 3.0, 4.0, 1.0, 4.0)
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reelmill.pipelines.documents.looks import Look
from reelmill.schemas.tube import Box

Quad = tuple[float, ...]
_DESK = (112, 104, 96)


@dataclass(frozen=True, slots=True)
class Wear:
    """Drawn from a look: degrees clockwise, margin of desk, blur and noise (standard deviations), JPEG quality."""

    tilt_deg: float
    desk_px: int
    blur_px: float
    noise: float
    jpeg_quality: int
    seed: int

    @staticmethod
    def of(rng: random.Random, look: Look) -> Wear:
        return Wear(
            round(rng.uniform(-look.tilt_deg, look.tilt_deg), 2),
            look.desk_px,
            round(rng.uniform(0, look.blur_px), 2),
            round(rng.uniform(0, look.noise), 1),
            rng.randint(*look.jpeg_quality),
            rng.getrandbits(32),
        )


def worn(pixels: np.ndarray, wear: Wear) -> tuple[np.ndarray, Callable[[Box], Quad]]:
    """The picture of a page (uint8 RGB), and where a box of the page lies in it: x0,y0 .. x3,y3 clockwise."""
    turn = _turn(pixels, wear)
    moved = _on_desk(pixels, wear, turn) if wear.desk_px or wear.tilt_deg else pixels

    def place(box: Box) -> Quad:
        corners = [(box.x0_px, box.y0_px), (box.x1_px, box.y0_px), (box.x1_px, box.y1_px), (box.x0_px, box.y1_px)]
        return tuple(float(v) for x, y in corners for v in turn @ np.array([x, y, 1.0]))

    return _rough(moved, wear), place


def _turn(pixels: np.ndarray, wear: Wear) -> np.ndarray:
    """float64 [2, 3]: page to picture, about the middle of both; pixel (0, 0) covers [0, 1)."""
    height, width = pixels.shape[:2]
    angle = math.radians(wear.tilt_deg)
    spin = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.array([width / 2, height / 2])
    return np.column_stack([spin, middle + wear.desk_px - spin @ middle])


def _on_desk(pixels: np.ndarray, wear: Wear, turn: np.ndarray) -> np.ndarray:
    import cv2

    size = (pixels.shape[1] + 2 * wear.desk_px, pixels.shape[0] + 2 * wear.desk_px)
    centred = turn.copy()  # OpenCV counts from the middle of a pixel
    centred[:, 2] += turn[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return np.asarray(cv2.warpAffine(pixels, centred, size, flags=cv2.INTER_LINEAR, borderValue=_DESK))


def _rough(pixels: np.ndarray, wear: Wear) -> np.ndarray:
    import cv2

    out = cv2.GaussianBlur(pixels, (0, 0), wear.blur_px) if wear.blur_px >= 0.2 else pixels
    if not wear.noise:
        return np.asarray(out)
    grain = np.random.default_rng(wear.seed).normal(0.0, wear.noise, out.shape)
    return np.clip(np.rint(out + grain), 0, 255).astype(np.uint8)
