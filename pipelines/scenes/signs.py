"""Signs: a plate with one line of words, drawn with the font that Pillow carries, and where its text exactly lies.

>>> plate_size("EXIT 4", 24)[0] > plate_size("EXIT", 24)[0]
True
"""

from __future__ import annotations

import math
import random
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from reelmill.pipelines.scenes.scene import Sign

if TYPE_CHECKING:
    from PIL import ImageFont

# No lone letters and no word that differs from another by one confusable glyph (O and 0, I and 1).
WORDS = (
    "EXIT", "OPEN", "STOP", "TAXI", "GATE", "PARK", "CAFE", "HOTEL", "BAKERY", "MUSEUM", "STATION", "LIBRARY", "MARKET",
    "TICKETS", "PLATFORM", "WELCOME", "CAUTION", "ENTRANCE", "HARBOR", "GARDEN", "BRIDGE", "FERRY", "BOOKS", "COFFEE",
    "FRESH", "BREAD", "NORTH", "SOUTH", "EAST", "WEST", "MAPLE", "STREET", "RIVER", "CASTLE", "SUMMER", "WINTER",
)  # fmt: skip
_NUMBERS = tuple(str(n) for n in range(22, 100) if "0" not in str(n) and "1" not in str(n))
_PAD_SHARE = 0.35


def phrase(rng: random.Random) -> str:
    """One or two different words, or a word and a number."""
    first = rng.choice(WORDS)
    end = rng.random()
    if end < 0.4:
        return first
    if end < 0.7:
        return f"{first} {rng.choice(_NUMBERS)}"
    return f"{first} {rng.choice([w for w in WORDS if w != first])}"


@lru_cache(maxsize=64)
def font(text_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font (Aileron Regular) at a size. Needs Pillow built with FreeType, as all its wheels are."""
    from PIL import ImageFont

    return ImageFont.load_default(size=text_px)


@lru_cache(maxsize=256)
def ink(text: str, text_px: int) -> np.ndarray:
    """uint8 [h, w] coverage of one line of text, cropped to its ink."""
    from PIL import Image, ImageDraw

    face = font(text_px)
    left, top, right, bottom = face.getbbox(text)
    canvas = Image.new("L", (math.ceil(right - left) + 4, math.ceil(bottom - top) + 4))
    ImageDraw.Draw(canvas).text((2 - left, 2 - top), text, fill=255, font=face)
    pixels = np.asarray(canvas)
    rows, columns = np.flatnonzero((pixels >= 64).any(axis=1)), np.flatnonzero((pixels >= 64).any(axis=0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()


def plate_size(text: str, text_px: int) -> tuple[int, int]:
    """Width and height in pixels of the plate around a line of text."""
    height, width = ink(text, text_px).shape
    pad = round(text_px * _PAD_SHARE)
    return width + 2 * pad, height + 2 * pad


def corners(sign: Sign, width_px: float, height_px: float) -> np.ndarray:
    """float64 [4, 2]: a rectangle about the sign's centre, turned with it, clockwise from its own top left."""
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array([width_px, height_px]) / 2
    turn = math.radians(sign.tilt_deg)
    spin = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return np.asarray(half @ spin + np.array([sign.x_px, sign.y_px]))


def text_quad(sign: Sign) -> tuple[float, ...]:
    """x0,y0 .. x3,y3 around the ink of a sign's text."""
    height, width = ink(sign.text, sign.text_px).shape
    return tuple(float(v) for v in corners(sign, width, height).ravel())


def plate_box(sign: Sign) -> tuple[float, float, float, float]:
    """Upright box x0 y0 x1 y1 around a sign's plate."""
    points = corners(sign, *plate_size(sign.text, sign.text_px))
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def paint_sign(frame: np.ndarray, sign: Sign) -> None:
    """Draw a sign onto uint8 [h, w, 3], in place."""
    import cv2

    flat = _flat(sign)
    height, width = flat.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)
    place = cv2.getRotationMatrix2D(centre, -sign.tilt_deg, 1.0)
    place[:, 2] += np.array([sign.x_px - 0.5 - centre[0], sign.y_px - 0.5 - centre[1]])
    size = (frame.shape[1], frame.shape[0])
    drawn = cv2.warpAffine(flat, place, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(np.full((height, width), 1.0, np.float32), place, size, flags=cv2.INTER_LINEAR)[..., None]
    frame[:] = np.rint(frame * (1 - cover) + drawn * cover).astype(np.uint8)


def _flat(sign: Sign) -> np.ndarray:
    """float32 [h, w, 3]: the plate and its text before turning and placing."""
    width, height = plate_size(sign.text, sign.text_px)
    letters = ink(sign.text, sign.text_px)
    top, left = (height - letters.shape[0]) // 2, (width - letters.shape[1]) // 2
    cover = np.zeros((height, width, 1), np.float32)
    cover[top : top + letters.shape[0], left : left + letters.shape[1], 0] = letters.astype(np.float32) / 255
    return np.asarray(np.array(sign.plate, np.float32) * (1 - cover) + np.array(sign.ink, np.float32) * cover)
