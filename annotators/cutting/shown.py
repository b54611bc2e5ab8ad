"""Which frames of a unit are stored, as JPEG bytes fixed once: a grid of 2 per second, and where shots may begin.

Where shots begin is known only when the decode is over, and frames are gone by then. So the grid runs in unit time, and
every frame is kept besides at which a cut was proposed or black begins or ends. A clip then shows its own first frame
and the grid frames inside it that do not follow that one too closely.

    clip [1.2, 3.4) of a unit -> frames at 1.2, 1.5, 2.0, 2.5, 3.0 s of the unit: 0.0, 0.3, 0.8, 1.3, 1.8 s of the clip
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from reelmill.annotators.cutting.shots import Cuts
from reelmill.annotators.cutting.stats import Facts, Timeline
from reelmill.schemas.media import NewFrame

if TYPE_CHECKING:
    from reelmill.annotators.decode.frames import Frame

Rgb = npt.NDArray[np.uint8]

_EDGE_S = 1e-9
_TIME_DIGITS = 9
_LATE = 3  # a cut is proposed at most two frames after it was seen


@dataclass(frozen=True, slots=True)
class ShownRules:
    """`every_s`: the grid; `side_px`: short side at most; `most_cuts`: frames kept per unit beyond the grid, so that a
    strobe cannot fill the memory; `picture_px`: long side at most of a picture, large since text is read in it."""

    every_s: float = 0.5
    side_px: int = 448
    quality: int = 90
    most_cuts: int = 600
    picture_px: int = 2048
    picture_quality: int = 92


@dataclass(frozen=True, slots=True)
class Kept:
    """Stored frames by frame number of the unit, and which numbers lie on the grid."""

    jpegs: Mapping[int, tuple[int, int, bytes]]
    grid: tuple[int, ...]


class Shown:
    """Consumer that encodes frames. It reads what `facts` and `cuts` made of the same frame, so it comes after them."""

    def __init__(self, rules: ShownRules, facts: Facts, cuts: Cuts) -> None:
        self.rules, self.facts, self.cuts = rules, facts, cuts
        self._jpegs: dict[int, tuple[int, int, bytes]] = {}
        self._grid: list[int] = []
        self._held: dict[int, Rgb] = {}
        self._ticks = 0
        self._black = False
        self._extra = 0

    def see(self, frame: Frame) -> None:
        black = self.cuts.rules.black(self.facts.luma, self.facts.spread)
        if frame.at_s >= self._ticks * self.rules.every_s - _EDGE_S:
            self._ticks = int((frame.at_s + _EDGE_S) / self.rules.every_s) + 1
            self._grid.append(frame.index)
            self._keep(frame.index, frame.rgb(self.rules.side_px))
        elif black != self._black:
            self._keep_extra(frame.index, frame.rgb(self.rules.side_px))
        self._black = black
        self._held = {i: rgb for i, rgb in self._held.items() if i > frame.index - _LATE}
        if self.cuts.suspect:
            self._held[frame.index] = frame.rgb(self.rules.side_px)
        for index in self.cuts.newly:
            self._keep_extra(index, self._held[index])

    def _keep_extra(self, index: int, rgb: Rgb) -> None:
        if index not in self._jpegs and self._extra < self.rules.most_cuts:
            self._extra += 1
            self._keep(index, rgb)

    def _keep(self, index: int, rgb: Rgb) -> None:
        self._jpegs[index] = (rgb.shape[1], rgb.shape[0], jpeg(rgb, self.rules.quality))

    def done(self) -> Kept:
        return Kept(self._jpegs, tuple(self._grid))


def frames_of(kept: Kept, timeline: Timeline, start: int, stop: int, every_s: float) -> tuple[NewFrame, ...]:
    """Shown frames of a clip that is frames [start, stop) of the unit, with clip times and frame numbers."""
    first_s = float(timeline.at_s[start])
    near_s = first_s + every_s / 2 - _EDGE_S if start in kept.jpegs else first_s
    chosen: Sequence[int] = [g for g in kept.grid if start < g < stop and timeline.at_s[g] >= near_s]
    if start in kept.jpegs:
        chosen = [start, *chosen]
    return tuple(
        NewFrame(i - start, round(float(timeline.at_s[i]) - first_s, _TIME_DIGITS), *kept.jpegs[i]) for i in chosen
    )


def jpeg(rgb: Rgb, quality: int, *, full_colour: bool = False) -> bytes:
    """JPEG bytes of RGB pixels: baseline, standard tables, no metadata; the same input gives the same bytes.

    Colour is stored at half size (4:2:0, as in nearly every video) unless `full_colour`, for coloured text in pictures.
    """
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(rgb).save(
        out, "JPEG", quality=quality, subsampling=0 if full_colour else 2, optimize=False, progressive=False
    )
    return out.getvalue()
