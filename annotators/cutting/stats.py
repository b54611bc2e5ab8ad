"""Cheap facts of every frame of a decode, from which shots are judged and described without keeping any pixels.

Per frame: its times, three numbers (mean luma, its spread, sharpness) and three thumbnails of together about 1.3 kB, so
a unit of 60 s at 60 frames per second costs 5 MB.

>>> timeline = Facts(side_px=144).done()          # after `see` was called with every frame
>>> describe(timeline, 0, timeline.num_frames)    # doctest: +SKIP
ClipStats(motion=0.031, sharpness=412.0, luma=103.2, luma_spread=51.8, phash='d1c4b8a39e2e6c31')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reelmill.schemas.clip import ClipStats

if TYPE_CHECKING:
    from reelmill.annotators.decode.frames import Frame

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Rgb = npt.NDArray[np.uint8]

CELLS = 32
COLOUR_CELLS = 8
COLOUR_BINS = 4
PAIR_S = 0.5
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is known of N frames. Times in seconds of the unit, `source_s` in source time; luma in [0, 255].

    `cells` (N, 32, 32) luma; `colours` (N, 8, 8, 3) RGB; `hists` (N, 64) shares of a 4x4x4 RGB histogram, in 1/255.
    """

    at_s: Floats
    end_s: Floats
    source_s: Floats
    luma: Floats
    spread: Floats
    sharpness: Floats
    cells: Bytes
    colours: Bytes
    hists: Bytes

    @property
    def num_frames(self) -> int:
        return len(self.at_s)

    @property
    def duration_s(self) -> float:
        return float(self.end_s[-1]) if self.num_frames else 0.0

    def from_s(self, at_s: float) -> int:
        """Number of the first frame at or after a time (`num_frames` where there is none)."""
        return int(np.searchsorted(self.at_s, at_s - 1e-9))

    def length_s(self, start: int, stop: int) -> float:
        """Seconds that frames [start, stop) last."""
        return float(self.end_s[stop - 1] - self.at_s[start])


class Facts:
    """Consumer that fills a `Timeline`. `side_px`: short side of the picture that is measured."""

    def __init__(self, side_px: int) -> None:
        import cv2

        cv2.setNumThreads(1)
        self.side_px = side_px
        self.luma, self.spread = 0.0, 0.0  # of the frame last seen, for consumers that come after
        self._cv2: Any = cv2
        self._numbers: list[tuple[float, ...]] = []
        self._cells: list[Bytes] = []
        self._colours: list[Bytes] = []
        self._hists: list[Bytes] = []

    def see(self, frame: Frame) -> None:
        self.measure(frame.rgb(self.side_px), frame.at_s, frame.end_s, frame.source_s)

    def measure(self, rgb: Rgb, at_s: float, end_s: float, source_s: float) -> None:
        """Add one frame's facts. `rgb` (H, W, 3) at the measured size."""
        cv2 = self._cv2
        gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        mean, spread = cv2.meanStdDev(gray)
        _, edge = cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_32F))
        self.luma, self.spread = float(mean[0, 0]), float(spread[0, 0])
        self._numbers.append((at_s, end_s, source_s, self.luma, self.spread, float(edge[0, 0]) ** 2))
        small = cv2.resize(rgb, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
        self._cells.append(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        self._colours.append(cv2.resize(small, (COLOUR_CELLS, COLOUR_CELLS), interpolation=cv2.INTER_AREA))
        hist = cv2.calcHist([small], [0, 1, 2], None, [COLOUR_BINS] * 3, [0, 256] * 3)
        self._hists.append(np.rint(hist.reshape(-1) * (255 / CELLS**2)).astype(np.uint8))

    def done(self) -> Timeline:
        at_s, end_s, source_s, luma, spread, sharpness = np.array(self._numbers, np.float64).reshape(-1, 6).T.copy()
        return Timeline(
            at_s=at_s,
            end_s=end_s,
            source_s=source_s,
            luma=luma,
            spread=spread,
            sharpness=sharpness,
            cells=np.array(self._cells, np.uint8).reshape(-1, CELLS, CELLS),
            colours=np.array(self._colours, np.uint8).reshape(-1, COLOUR_CELLS, COLOUR_CELLS, 3),
            hists=np.array(self._hists, np.uint8).reshape(-1, COLOUR_BINS**3),
        )


def describe(timeline: Timeline, start: int, stop: int) -> ClipStats:
    """Stats of frames [start, stop), rounded so that they do not hang on the last bits of a sum.

    The hash is pHash (Zauner 2010, as in imagehash) of the middle frame's luma at 32x32.
    """
    return ClipStats(
        motion=round(float(changes(timeline, start, stop).mean()) / 255, _DIGITS),
        sharpness=round(float(np.median(timeline.sharpness[start:stop])), _DIGITS),
        luma=round(float(timeline.luma[start:stop].mean()), _DIGITS),
        luma_spread=round(float(timeline.spread[start:stop].mean()), _DIGITS),
        phash=phash(timeline.cells[(start + stop - 1) // 2]),
    )


def peak_change(timeline: Timeline, start: int, stop: int) -> float:
    """Largest change of any cell between frames 0.5 s apart, in [0, 1]: a small thing that moves is a movement too."""
    return float(changes(timeline, start, stop).max()) / 255


def changes(timeline: Timeline, start: int, stop: int) -> npt.NDArray[np.float32]:
    """Absolute luma change (pairs, 32, 32), in [0, 255], between frames 0.5 s apart, a pair every 0.25 s.

    Frames [start, stop) that last less give one pair, the first and the last; one frame gives a pair without change.
    """
    times = np.arange(timeline.at_s[start], timeline.end_s[stop - 1], PAIR_S / 2)
    earlier = np.searchsorted(timeline.at_s, times - 1e-9)
    later = np.searchsorted(timeline.at_s, timeline.at_s[np.minimum(earlier, stop - 1)] + PAIR_S - 1e-9)
    inside = (later < stop) & (earlier < later)
    if not inside.any():
        earlier, later, inside = np.array([start]), np.array([stop - 1]), np.array([True])
    cells = timeline.cells
    difference: npt.NDArray[np.float32] = np.abs(cells[earlier[inside]].astype(np.float32) - cells[later[inside]])
    return difference


def phash(cells: Bytes) -> str:
    """64-bit perceptual hash, hex, of luma (32, 32)."""
    import imagehash
    from PIL import Image

    return str(imagehash.phash(Image.fromarray(cells)))
