"""A noun phrase for a followed thing from what pixels can show: colour, size, outline, place. Never what it *is*.

A word is used only where it is clear: one colour, an outline that fits one of six figures, a place kept all the time.

>>> phrase(Look(np.array([53.0, 80.0, 67.0]), 3.0, None, 0.02, np.full((5, 2), 0.5)))
'the red object'
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reelmill.annotators.motion.blobs import Floats
from reelmill.annotators.motion.follow import SHAPE_CELLS

_ONE_COLOUR_SPREAD = 14.0
_GREY_CHROMA = 11.0
_FAR_COLOUR, _NEXT_COLOUR = 42.0, 3.0
_OTHER_HUE_DEG, _OTHER_LIGHT = 30.0, 30.0
_FIT, _NEXT_FIT = 0.88, 0.03
_LARGE, _SMALL = 0.08, 0.004
_FLAT, _TALL = 0.75, 1.33
_EVEN = frozenset({"square", "circle"})
_SIDES_ERR_PX = 2.0
"""How far the two sides of a square's box may differ. An edge is drawn at half of the contrast, on the grid of analysis
pixels: it errs by half a pixel, a side by one, the difference of two sides by two."""
_KEEPS_PLACE = 0.9

# A term holds for a range of hues and of lightness: brown is no dull red, pink no dark one. What is near to a typical
# colour only because both are dull is not called by it. Typical hues of terms that are neighbours lie 23 to 34 degrees
# apart, and pink's lightness is 26 to 33 above that of red.
# Typical CIE L*a*b* of the basic colour terms (Berlin and Kay 1969) that are not shades of grey; several for wide ones.
_COLOURS = (
    ("red", (45, 65, 45)),
    ("red", (38, 52, 28)),
    ("orange", (66, 34, 66)),
    ("yellow", (85, 0, 75)),
    ("green", (55, -42, 32)),
    ("green", (38, -28, 20)),
    ("blue", (40, 15, -58)),
    ("blue", (55, -8, -35)),
    ("purple", (36, 45, -42)),
    ("pink", (71, 42, 3)),
    ("brown", (36, 18, 28)),
)


@dataclass(frozen=True, slots=True)
class Look:
    """How a thing looks: `colour` CIE L*a*b*, `spread` of its pixels about it, `shape` as in `Path`, `area_share` of
    the frame, `places` [n, 2] its centre over time, normalised, `sides` its width and height in analysis pixels."""

    colour: Floats
    spread: float
    shape: Floats | None
    area_share: float
    places: Floats
    sides: tuple[float, float] = (1.0, 1.0)


def phrases(looks: list[Look]) -> list[str]:
    """A phrase for every thing of a clip; those that share one get a place, where they keep it."""
    plain = [phrase(look) for look in looks]
    count = Counter(plain)
    return [f"{p}{_place(look)}" if count[p] > 1 else p for p, look in zip(plain, looks, strict=True)]


def phrase(look: Look) -> str:
    """One of "the red circle", "the large dark object", "the object"."""
    figure = _figure(look)
    words = ["the", "" if figure else _size(look.area_share), _colour(look.colour, look.spread), figure or "object"]
    return " ".join(word for word in words if word)


def _colour(colour: Floats, spread: float) -> str:
    """A colour term where one is clear, else "dark" or "light" where that is, else nothing."""
    light, chroma = float(colour[0]), float(np.hypot(*colour[1:]))
    if spread > _ONE_COLOUR_SPREAD:
        return _shade(light)
    if chroma < _GREY_CHROMA:
        return "black" if light < 22 else "white" if light > 88 else "grey" if 40 < light < 75 else _shade(light)
    far: dict[str, float] = {}
    for name, typical in _COLOURS:
        away = np.array(typical) - colour
        if abs(away[0]) < _OTHER_LIGHT and _between_deg(colour[1:], np.array(typical[1:])) < _OTHER_HUE_DEG:
            far[name] = min(far.get(name, np.inf), float(np.linalg.norm(away)))
    nearest, *others = sorted(far, key=lambda name: far[name]) or [""]
    # By less than its own spread a colour is not nearer to one term: as many of its pixels would be called otherwise.
    margin = max(_NEXT_COLOUR, spread)
    clear = nearest and far[nearest] < _FAR_COLOUR and all(far[o] - far[nearest] > margin for o in others)
    return nearest if clear else _shade(light)


def _between_deg(one: Floats, other: Floats) -> float:
    """The angle between two hues, [a*, b*] each."""
    turn = np.degrees(np.arctan2(one[1], one[0]) - np.arctan2(other[1], other[0]))
    return abs(float((turn + 180) % 360 - 180))


def _shade(light: float) -> str:
    return "dark" if light < 35 else "light" if light > 75 else ""


def _size(area_share: float) -> str:
    return "large" if area_share > _LARGE else "small" if area_share < _SMALL else ""


def _place(look: Look) -> str:
    x, y = look.places[:, 0], look.places[:, 1]
    for word, there in (
        (" on the left", x < 0.4),
        (" on the right", x > 0.6),
        (" at the top", y < 0.4),
        (" at the bottom", y > 0.6),
    ):
        if there.mean() >= _KEEPS_PLACE:
            return word
    return ""


# ---- outlines --------------------------------------------------------------------------------------------------------


def _figure(look: Look) -> str:
    """The figure whose outline, stretched to the thing's box, covers it best; empty where none clearly does.

    The stretch makes a square of every rectangle and a circle of every ellipse, so of these the sides decide too. The
    other figures are called by their names in other proportions as well.
    """
    wide, tall = look.sides
    if look.shape is None or not _FLAT * tall < wide < _TALL * tall:
        return ""
    fits: dict[str, float] = {}
    for name, outline in _figures().items():
        figure = name.split()[0]
        fits[figure] = max(fits.get(figure, 0.0), _overlap(look.shape, outline))
    best, following = sorted(fits, key=lambda name: -fits[name])[:2]
    if best in _EVEN and abs(wide - tall) > _SIDES_ERR_PX:
        return ""
    return best if fits[best] > _FIT and fits[best] - fits[following] > _NEXT_FIT else ""


def _overlap(one: Floats, other: Floats) -> float:
    """Soft intersection over union of two coverages in [0, 1]."""
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


def _figures() -> dict[str, Floats]:
    """Coverage [32, 32] of every figure in its own box."""
    turn = np.arange(64) * (2 * np.pi / 64)
    star = np.where(np.arange(10) % 2 == 0, 1.0, 0.45)
    tips = np.arange(10) * (np.pi / 5) - np.pi / 2
    third = np.array([1, 2]) / 3
    plus = [(third[0], 0), (third[1], 0), (third[1], third[0]), (1, third[0]), (1, third[1]), (third[1], third[1])]
    plus += [(third[1], 1), (third[0], 1), (third[0], third[1]), (0, third[1]), (0, third[0]), (third[0], third[0])]
    corners = {
        "circle": np.stack([np.cos(turn), np.sin(turn)], axis=1),
        "square": np.array([(0, 0), (1, 0), (1, 1), (0, 1)]),
        "triangle": np.array([(0.5, 0), (1, 1), (0, 1)]),
        "triangle upside down": np.array([(0, 0), (1, 0), (0.5, 1)]),
        "star": np.stack([star * np.cos(tips), star * np.sin(tips)], axis=1),
        "diamond": np.array([(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)]),
        "cross": np.array(plus),
    }
    return {name: _coverage(points.astype(np.float64)) for name, points in corners.items()}


def _coverage(points: npt.NDArray[np.float64]) -> Floats:
    import cv2

    fine = SHAPE_CELLS * 8
    low, high = points.min(axis=0), points.max(axis=0)
    drawn = np.zeros((fine, fine), np.uint8)
    fixed = np.rint(((points - low) / (high - low) * fine - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(drawn, [fixed], 1, shift=4)
    return np.asarray(drawn.reshape(SHAPE_CELLS, 8, SHAPE_CELLS, 8).mean(axis=(1, 3)))
