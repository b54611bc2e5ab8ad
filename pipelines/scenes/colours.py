"""Named colours of things, muted colours of backdrops, and how far apart two colours look.

>>> round(distance((255, 0, 0), (255, 0, 0)), 3)
0.0
"""

from __future__ import annotations

import numpy as np

Rgb = tuple[int, ...]

THINGS: dict[str, Rgb] = {
    "red": (206, 46, 42),
    "orange": (235, 137, 36),
    "yellow": (236, 210, 58),
    "green": (56, 152, 74),
    "blue": (44, 88, 196),
    "purple": (128, 62, 160),
    "pink": (240, 142, 180),
    "white": (240, 240, 236),
    "black": (26, 26, 30),
}

MUTED: tuple[Rgb, ...] = (
    (196, 186, 164),
    (150, 158, 168),
    (112, 124, 104),
    (96, 112, 136),
    (142, 118, 100),
    (70, 78, 88),
    (176, 196, 196),
    (208, 204, 212),
    (88, 70, 72),
    (124, 140, 150),
)

# sRGB (D65) to CIE XYZ, IEC 61966-2-1; rows divided by the white point.
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
) / np.array([[0.95047], [1.0], [1.08883]])


def lab(rgb: Rgb) -> np.ndarray:
    """CIE L*a*b* of an 8-bit sRGB colour."""
    unit = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    xyz = _TO_XYZ @ linear
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (xyz * 24389 / 27 + 16) / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def distance(one: Rgb, other: Rgb) -> float:
    """CIE76 colour difference: about 2 is just noticeable, 100 is black against white."""
    return float(np.linalg.norm(lab(one) - lab(other)))


def shifted(rgb: Rgb, *by: int) -> Rgb:
    """The colour with each channel moved and kept within 8 bits. One number moves all three."""
    steps = by * 3 if len(by) == 1 else by
    return tuple(min(255, max(0, channel + step)) for channel, step in zip(rgb, steps, strict=True))
