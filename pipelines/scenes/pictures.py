"""Still pictures of text with exact lines, so that reading has image truth and not only signs in film.

>>> picture = compose_picture(3)
>>> len(picture_truth(picture).texts) == len(picture.signs), picture_truth(picture).duration_s
(True, 0.0)
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from reelmill.pipelines.scenes import colours
from reelmill.pipelines.scenes.backdrops import paint
from reelmill.pipelines.scenes.scene import RENDERER, Backdrop, Sign
from reelmill.pipelines.scenes.signs import paint_sign, phrase, plate_size, text_quad
from reelmill.pipelines.scenes.truth import METHOD, SceneTruth
from reelmill.schemas.text import TextLine

_SIZE_PX = (480, 320)
_MARGIN_PX = 16
_GAP_PX = 10


@dataclass(frozen=True, slots=True)
class Picture:
    """Lines of text from top to bottom on a quiet background."""

    renderer: str
    seed: int
    width_px: int
    height_px: int
    backdrop: Backdrop
    signs: tuple[Sign, ...]

    @property
    def identity(self) -> dict[str, Any]:
        size = [self.width_px, self.height_px]
        return {"renderer": self.renderer, "seed": self.seed, "parameters": {"picture_px": size}}


def compose_picture(seed: int) -> Picture:
    """The picture of a seed: two to five lines of 20 to 36 px."""
    rng = random.Random(f"{RENDERER} {seed} picture")
    rgb = rng.choice(colours.MUTED)
    backdrop = Backdrop(rng.choice(("plain", "gradient", "blobs")), rgb, colours.shifted(rgb, 18), rng.getrandbits(32))
    dark = (30, 30, 36)
    light = (244, 242, 236)
    far = max((dark, light), key=lambda c: colours.distance(c, rgb))
    plate = rng.choice((rgb, light if far == dark else dark))
    signs: list[Sign] = []
    top = _MARGIN_PX
    for _ in range(rng.randint(2, 5)):
        text_px = rng.randint(20, 36)
        text = _short_phrase(rng, text_px)
        width, height = plate_size(text, text_px)
        if top + height > _SIZE_PX[1] - _MARGIN_PX:
            break
        left = rng.randint(_MARGIN_PX, _SIZE_PX[0] - _MARGIN_PX - width)
        signs.append(Sign(text, left + width / 2, top + height / 2, text_px, 0.0, far, plate))
        top += height + _GAP_PX
    return Picture(RENDERER, seed, *_SIZE_PX, backdrop, tuple(signs))


def _short_phrase(rng: random.Random, text_px: int) -> str:
    while plate_size(text := phrase(rng), text_px)[0] > _SIZE_PX[0] - 2 * _MARGIN_PX:
        continue
    return text


def draw_picture(picture: Picture) -> np.ndarray:
    """uint8 RGB [height, width, 3]."""
    canvas = paint(picture.backdrop, picture.width_px, picture.height_px)
    for sign in picture.signs:
        paint_sign(canvas, sign)
    return canvas


def picture_truth(picture: Picture) -> SceneTruth:
    """A picture's lines in reading order; nothing happens in it."""
    lines = tuple(TextLine(s.text, text_quad(s), 1.0, i, 0, 0.0, METHOD) for i, s in enumerate(picture.signs))
    return SceneTruth(picture.width_px, picture.height_px, (), (), (), (), lines, 0.0, (0.0,))
