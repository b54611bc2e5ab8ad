"""Pixels of a scene at a time, the same to the byte for the same libraries.

>>> from reelmill.pipelines.scenes.compose import compose
>>> from reelmill.pipelines.scenes.presets import EASY
>>> Painter(compose(7, EASY)).frame(0).shape
(240, 320, 3)
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterator

import numpy as np

from reelmill.pipelines.scenes.backdrops import paint
from reelmill.pipelines.scenes.motion import stamp_at
from reelmill.pipelines.scenes.scene import TICKS_PER_S, Mover, Scene, Shot
from reelmill.pipelines.scenes.signs import paint_sign

_NOISE_SPARE_PX = 32
_SHADE = 14  # grey levels from the middle of a shaded thing to its upper and lower end


class Painter:
    """Draws the frames of one scene; backgrounds and noise are made once."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._stages: dict[int, np.ndarray] = {}
        self._grain = _grain(scene)

    def frame(self, number: int) -> np.ndarray:
        """uint8 RGB [height, width, 3] of frame `number` (presentation order)."""
        scene = self.scene
        shot = scene.shots[bisect.bisect_right([s.first for s in scene.shots], number) - 1]
        picture = self._stage(shot).copy()
        at_s = np.array([scene.ticks[number] / TICKS_PER_S])
        for mover in shot.movers:
            _paint_mover(picture, mover, mover.quarters_at(at_s)[0], scene.preset.shaded)
        if self._grain is not None:
            picture = _grained(picture, self._grain, random.Random(f"{scene.seed} grain {number}"))
        return picture

    def frames(self) -> Iterator[np.ndarray]:
        """Every frame in order."""
        return (self.frame(number) for number in range(self.scene.num_frames))

    def _stage(self, shot: Shot) -> np.ndarray:
        """The background of a shot with its signs."""
        if shot.first not in self._stages:
            stage = paint(shot.backdrop, self.scene.preset.width_px, self.scene.preset.height_px)
            for sign in shot.signs:
                paint_sign(stage, sign)
            self._stages[shot.first] = stage
        return self._stages[shot.first]


def _paint_mover(picture: np.ndarray, mover: Mover, quarters: np.ndarray, shaded: bool) -> None:
    mark, left, top = stamp_at(mover, quarters)
    window = picture[
        max(0, top) : max(0, top + mark.coverage.shape[0]), max(0, left) : max(0, left + mark.coverage.shape[1])
    ]
    if not window.size:
        return
    rows = np.arange(max(0, -top), max(0, -top) + window.shape[0])
    columns = np.arange(max(0, -left), max(0, -left) + window.shape[1])
    cover = mark.coverage[np.ix_(rows, columns)][..., None]
    colour = np.broadcast_to(np.array(mover.rgb, np.float32), window.shape)
    if shaded:
        fall = (rows - mark.origin_px) / mover.radius_px * -_SHADE
        colour = np.clip(colour + fall.astype(np.float32)[:, None, None], 0, 255)
    window[:] = np.rint(window * (1 - cover) + colour * cover).astype(np.uint8)


def _grain(scene: Scene) -> np.ndarray | None:
    """Sensor noise, int16, larger than a frame: each frame takes another window of it."""
    if scene.preset.noise <= 0:
        return None
    shape = (scene.preset.height_px + _NOISE_SPARE_PX, scene.preset.width_px + _NOISE_SPARE_PX, 1)
    normal = np.random.default_rng(scene.seed).standard_normal(shape, dtype=np.float32)
    return np.asarray(np.rint(normal * scene.preset.noise), np.int16)


def _grained(picture: np.ndarray, grain: np.ndarray, rng: random.Random) -> np.ndarray:
    top, left = rng.randrange(_NOISE_SPARE_PX), rng.randrange(_NOISE_SPARE_PX)
    height, width = picture.shape[:2]
    return np.asarray(np.clip(picture + grain[top : top + height, left : left + width], 0, 255), np.uint8)
