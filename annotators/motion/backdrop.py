"""What stands still behind the moving things of a clip: a background picture, how noisy each pixel is, and whether the
camera stands still at all.

The background is a median over the whole clip. A thing that rests for half of the clip is in that median; `_repaired`
takes it out again: where it left, the background has an edge that the frame has not.

>>> frames = np.zeros((9, 48, 64, 3), np.uint8)
>>> background(frames).colour.shape, camera(frames, np.arange(9) / 25).moves
((48, 64, 3), False)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_SAMPLES = 41
_REPAIRS = 2
_GHOST_RATIO = 1.3
_GHOST_VOTES = 3
_CONTOUR_GREY = 6.0
# The 40th percentile of |x| is 0.524 sigma for normal noise, and holds while things cover less than 60 % of the time.
_QUIET_SHARE, _QUIET_SIGMAS = 0.4, 0.524
THRESHOLD_GREY = (12.0, 40.0)
_NOISE_SIGMAS = 4.5


@dataclass(frozen=True, slots=True)
class Background:
    """`colour` uint8 [h, w, 3]; `threshold` uint8 [h, w]: what differs by more, in any channel, is not noise."""

    colour: Picture
    threshold: Picture


@dataclass(frozen=True, slots=True)
class Camera:
    """`moves` where the whole frame shifts: in `moved` of `steps` tested steps, by `shift_px` (median)."""

    moves: bool
    steps: int
    moved: int
    shift_px: float


def background(frames: Picture) -> Background:
    """Background and thresholds of uint8 [n, h, w, 3] frames, n >= 1, taken by a camera that stands still."""
    sample = frames[np.unique(np.linspace(0, len(frames) - 1, min(_SAMPLES, len(frames))).round().astype(int))]
    colour = _median(sample)
    for _ in range(_REPAIRS):
        colour, changed = _repaired(sample, colour)
        if not changed:
            break
    return Background(colour, _threshold(sample, colour))


def difference(frame: Picture, other: Picture) -> Picture:
    """uint8 [h, w]: the largest change of any channel."""
    import cv2

    apart = cv2.absdiff(frame, other)
    most: Picture = cv2.max(cv2.max(apart[..., 0], apart[..., 1]), apart[..., 2])
    return most


def lit_alike(colour: Picture, frame: Picture) -> Picture:
    """The background under the frame's light: automatic exposure shifts a picture when something large comes, a fade
    scales it. Of shift and scale, per channel by the median, the one that leaves less is taken."""
    seen, usual = frame[::4, ::4].astype(np.float32), colour[::4, ::4].astype(np.float32)
    shift = np.median(seen - usual, axis=(0, 1))
    if not np.abs(shift).max() >= 1:
        return colour
    scale = np.median((seen + 1) / (usual + 1), axis=(0, 1))
    left = [float(np.abs(seen - lit).mean(dtype=np.float64)) for lit in (usual + shift, usual * scale)]
    lit = colour + shift if left[0] <= left[1] else colour * scale
    return np.asarray(np.clip(lit, 0, 255), np.uint8)


def _median(sample: Picture) -> Picture:
    middle = len(sample) // 2
    return np.ascontiguousarray(np.partition(sample, middle, axis=0)[middle])


def _threshold(sample: Picture, colour: Picture) -> Picture:
    import cv2

    apart = np.stack([difference(frame, lit_alike(colour, frame)) for frame in sample])
    place = int(_QUIET_SHARE * (len(apart) - 1))
    quiet = np.partition(apart, place, axis=0)[place].astype(np.float32)
    noise = cv2.blur(cv2.dilate(quiet, np.ones((3, 3), np.uint8)), (5, 5)) / _QUIET_SIGMAS
    limit: Picture = np.clip(_NOISE_SIGMAS * noise, *THRESHOLD_GREY).astype(np.uint8)
    return limit


def _repaired(sample: Picture, colour: Picture) -> tuple[Picture, bool]:
    """The background without ghosts, and whether there were any. Every sampled frame votes with its blobs."""
    edges = _edges(colour)
    ghost = np.zeros((len(sample), *colour.shape[:2]), bool)
    thing = np.zeros(colour.shape[:2], np.int16)
    for number, frame in enumerate(sample):
        for blob, is_ghost in _judged(frame, colour, edges):
            if is_ghost:
                ghost[number] |= blob
            else:
                thing += blob
    votes = ghost.sum(axis=0)
    wrong = (votes >= _GHOST_VOTES) & (votes > thing)
    if not wrong.any():
        return colour, False
    repaired = colour.copy()
    repaired[wrong] = _voted_colour(sample[:, wrong], ghost[:, wrong])
    return repaired, True


def _voted_colour(pixels: Picture, voted: Mask) -> Picture:
    """Median uint8 [p, 3] of pixels [n, p, 3] over the frames that voted [n, p], at least one each."""
    ranked = np.sort(np.where(voted[..., None], pixels.astype(np.int16), 999), axis=0)
    middle = (voted.sum(axis=0) - 1) // 2
    return np.asarray(np.take_along_axis(ranked, middle[None, :, None], axis=0)[0], np.uint8)


def _judged(frame: Picture, colour: Picture, edges: Picture) -> list[tuple[Mask, bool]]:
    """Blobs that differ from the background, and whether their outline stands in the background, not in the frame."""
    import cv2

    differs = (difference(frame, lit_alike(colour, frame)) > 2 * THRESHOLD_GREY[0]).astype(np.uint8)
    differs = cv2.morphologyEx(differs, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(differs, connectivity=8)
    if count < 2:
        return []
    here, judged = _edges(frame), []
    for label in range(1, min(count, 40)):
        if stats[label, cv2.CC_STAT_AREA] < 30:
            continue
        blob = labels == label
        inner, outline = _outline(blob, stats[label])
        ours, theirs = float(here[inner][outline].mean()), float(edges[inner][outline].mean())
        if max(ours, theirs) > _CONTOUR_GREY:
            judged.append((blob, theirs > _GHOST_RATIO * ours))
    return judged


def _edges(picture: Picture) -> Picture:
    """uint8 [h, w]: how much a pixel's neighbours differ among each other."""
    import cv2

    spread = cv2.morphologyEx(picture, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    most: Picture = cv2.max(cv2.max(spread[..., 0], spread[..., 1]), spread[..., 2])
    return most


def _outline(blob: Mask, stats: Any) -> tuple[tuple[slice, slice], Mask]:
    """The window of a blob with a margin, and the pixels of it that lie along the blob's edge."""
    import cv2

    left, top, width, height = (int(v) for v in stats[:4])
    window = (slice(max(0, top - 3), top + height + 3), slice(max(0, left - 3), left + width + 3))
    crop = blob[window].astype(np.uint8)
    around = cv2.morphologyEx(crop, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return window, around.astype(bool)


# ---- does the camera move? -------------------------------------------------------------------------------------------

_STEPS_S = (0.08, 0.4)
_MAX_STEPS = 20
_COLUMNS, _ROWS = 4, 3
_CORNERS = 12
_TEXTURE_GREY, _UNCHANGED_GREY = 5.0, 2.5
_LEAST_PARTS, _LEAST_SHARE = 6, 0.6
_FLOW_PX = 1.0
_MOVED_SHARE = 0.1


def camera(frames: Picture, at_s: npt.NDArray[np.float64]) -> Camera:
    """Does the whole frame shift, turn or zoom? Corners are tracked over short and long steps and the clip's halves.

    Each of twelve parts of the frame has one vote, so that a large mover cannot outvote the rest; a plain part has
    none. On a plain background nothing can be seen, and the camera is taken to stand still.
    """
    import cv2

    grey = {i: cv2.cvtColor(frames[i], cv2.COLOR_RGB2GRAY) for pair in _steps(at_s) for i in pair}
    shifts = [_shift(grey[a], grey[b]) for a, b in _steps(at_s)]
    moved = [s for s in shifts if s > 0]
    moves = len(moved) > max(1, _MOVED_SHARE * len(shifts))
    return Camera(moves, len(shifts), len(moved), float(np.median(moved)) if moved else 0.0)


def _steps(at_s: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs of frame numbers to compare: near ones for a quick pan, far ones for a slow drift."""
    last = len(at_s) - 1
    starts = np.arange(0.0, at_s[-1], max(_STEPS_S[-1], at_s[-1] / _MAX_STEPS))
    firsts = np.searchsorted(at_s, starts - 1e-6).tolist()
    pairs = [(a, int(np.searchsorted(at_s, at_s[a] + step - 1e-6))) for a in firsts for step in _STEPS_S]
    halves = [(0, last // 2), (last // 2, last)]
    return sorted({(a, b) for a, b in pairs + halves if a < b <= last})


def _shift(before: Picture, after: Picture) -> float:
    """Median flow in pixels of the parts of the frame that move, if most of those with texture do; else 0."""
    import cv2

    corners = _corners(before)
    if len(corners) == 0:
        return 0.0
    found, status, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, winSize=(15, 15), maxLevel=3)
    back, again, _ = cv2.calcOpticalFlowPyrLK(after, before, found, None, winSize=(15, 15), maxLevel=3)
    kept = (status & again).ravel().astype(bool) & (np.abs(back - corners).max(axis=(1, 2)) < 0.7)
    flow = np.hypot(*(found - corners)[kept][:, 0].T)
    flow[_unchanged(before, after, corners[kept][:, 0])] = 0.0
    height, width = before.shape
    places = (corners[kept][:, 0] * (_COLUMNS / width, _ROWS / height)).astype(int)
    part = places[:, 1] * _COLUMNS + places[:, 0]
    votes = [float(np.median(flow[part == p])) for p in range(_COLUMNS * _ROWS) if (part == p).sum() >= 2]
    moving = [v for v in votes if v > _FLOW_PX * height / 240]
    enough = len(moving) >= _LEAST_PARTS and len(moving) >= _LEAST_SHARE * len(votes)
    return float(np.median(moving)) if enough else 0.0


def _unchanged(before: Picture, after: Picture, points: npt.NDArray[np.float32]) -> Mask:
    """bool [n]: points [n, 2] about which nothing changed: along a stripe, flow slides though nothing moves."""
    import cv2

    change = cv2.blur(cv2.absdiff(before, after).astype(np.float32), (9, 9))
    columns, rows = points.astype(int).T
    return np.asarray(change[rows, columns] < _UNCHANGED_GREY)


def _corners(grey: Picture) -> npt.NDArray[np.float32]:
    """Corners float32 [n, 1, 2] from every part of the frame that has texture above noise."""
    import cv2

    values = grey.astype(np.float32)
    spread = np.sqrt(np.maximum(cv2.blur(values**2, (9, 9)) - cv2.blur(values, (9, 9)) ** 2, 0))
    textured = (spread > _TEXTURE_GREY).astype(np.uint8)
    height, width = grey.shape
    found = [np.zeros((0, 1, 2), np.float32)]
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            top, left = row * height // _ROWS, column * width // _COLUMNS
            window = (
                slice(top, (row + 1) * height // _ROWS),
                slice(left, (column + 1) * width // _COLUMNS),
            )
            corners = cv2.goodFeaturesToTrack(grey[window], _CORNERS, 0.05, 5, mask=textured[window])
            if corners is not None:
                found.append(corners + np.array([left, top], np.float32))
    return np.concatenate(found)
