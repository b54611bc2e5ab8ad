"""A scene: the frozen description of a short film from which both its pixels and its exact truth follow.

Everything derives from (renderer revision, seed, preset); no frame is kept. Times are seconds of the film, and every
turn of a path lies on a frame, so "the first frame with displacement" shows a displacement that can be seen.

>>> mover = Mover("circle", "red", (206, 46, 42), 10, (Waypoint(0.0, 20.0, 30.0), Waypoint(1.0, 60.0, 30.0)))
>>> mover.quarters_at(np.array([0.0, 0.5, 9.0])).tolist()
[[80, 120], [160, 120], [240, 120]]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reelmill.pipelines.scenes.presets import Preset
from reelmill.pipelines.scenes.shapes import QUARTERS
from reelmill.schemas import arrow

RENDERER = "scenes-1"
TICKS_PER_S = 90_000  # holds 25 fps (3600), 30000/1001 fps (3003) and irregular gaps as whole numbers


@dataclass(frozen=True, slots=True)
class Waypoint:
    """Where a thing's centre is at a time. It goes straight to the next at constant speed; to an equal one it rests."""

    at_s: float
    x_px: float
    y_px: float


@dataclass(frozen=True, slots=True)
class Mover:
    """A coloured shape with a path. Before its first and after its last waypoint it stays where that waypoint is."""

    shape: str
    colour: str
    rgb: tuple[int, ...]
    radius_px: int
    path: tuple[Waypoint, ...]

    @property
    def subject(self) -> str:
        return f"the {self.colour} {self.shape}"

    def quarters_at(self, at_s: np.ndarray) -> np.ndarray:
        """Centres int64 [n, 2] in quarter pixels at times [n]."""
        turns = [w.at_s for w in self.path]
        x = np.interp(at_s, turns, [w.x_px for w in self.path])
        y = np.interp(at_s, turns, [w.y_px for w in self.path])
        return np.asarray(np.rint(np.stack([x, y], axis=1) * QUARTERS), np.int64)


@dataclass(frozen=True, slots=True)
class Sign:
    """A plate with one line of text, turned by `tilt_deg` (clockwise) about its centre."""

    text: str
    x_px: float
    y_px: float
    text_px: int
    tilt_deg: float
    ink: tuple[int, ...]
    plate: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Backdrop:
    """A background: its kind, two tones and the seed of its pattern."""

    kind: str
    rgb: tuple[int, ...]
    second: tuple[int, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Shot:
    """Frames `[first, end)` of a scene seen without a cut. Later movers are drawn over earlier ones."""

    first: int
    end: int
    backdrop: Backdrop
    signs: tuple[Sign, ...]
    movers: tuple[Mover, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """`ticks` are the presentation times of the frames in 1/90000 s, and after them the end of the last frame."""

    renderer: str
    seed: int
    preset: Preset
    ticks: tuple[int, ...]
    shots: tuple[Shot, ...]

    @property
    def edges_s(self) -> np.ndarray:
        """float64 [frames + 1]: the start of every frame, then the duration."""
        return np.array(self.ticks, dtype=np.float64) / TICKS_PER_S

    @property
    def num_frames(self) -> int:
        return len(self.ticks) - 1

    @property
    def identity(self) -> dict[str, Any]:
        """What the scene derives from, as plain data. Two scenes are one where this is equal."""
        return {"renderer": self.renderer, "seed": self.seed, "parameters": arrow.plain(self.preset)}

    def shot_edges_s(self, shot: Shot) -> np.ndarray:
        """float64 [n + 1]: the start of each of a shot's n frames, then the shot's end."""
        return self.edges_s[shot.first : shot.end + 1]
