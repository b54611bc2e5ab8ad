"""What differs from the background in one frame: boxes, areas and colours of connected blobs.

A blob's edge is drawn at half of its own contrast nearby, since a pixel half covered by a thing shows half of its
contrast. A fixed threshold made boxes 1-2 px too large on every side.

>>> still = Background(np.full((40, 60, 3), 90, np.uint8), np.full((40, 60), 12, np.uint8))
>>> frame = still.colour.copy(); frame[10:20, 30:45] = 200
>>> [blob.box.tolist() for blob in blobs(frame, still)[0]]
[[30.0, 10.0, 45.0, 20.0]]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reelmill.annotators.motion.backdrop import Background, Mask, Picture, difference, lit_alike

Floats = npt.NDArray[np.float64]

MIN_AREA_PX = 6
_MAX_BLOBS = 40
_REACH_PX = 5
_HALF, _OWN = 0.5, 0.3
_STRONG = 2.0


@dataclass(frozen=True, slots=True)
class Blob:
    """`box` x0 y0 x1 y1 float64 in analysis pixels; `mask` and `lab` cover the box's window at `left`, `top`.

    `colour` is the median CIE L*a*b* of the mask's inner pixels, `spread` their median distance from it; `contrast` is
    in grey levels."""

    box: Floats
    left: int
    top: int
    mask: Mask
    lab: npt.NDArray[np.int16]
    colour: Floats
    spread: float
    area_px: int
    contrast: float


def blobs(frame: Picture, still: Background) -> tuple[list[Blob], float]:
    """Blobs of a uint8 [h, w, 3] frame, the largest first, and the share of the frame that differs."""
    import cv2

    apart = difference(frame, lit_alike(still.colour, frame))
    weak = apart > still.threshold
    share = float(weak.mean())
    if share == 0:
        return [], 0.0
    near = cv2.dilate(apart, np.ones((_REACH_PX, _REACH_PX), np.uint8))
    fine = weak & (apart >= _HALF * near)
    joined = cv2.morphologyEx(fine.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    order = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")
    strong = apart > _STRONG * still.threshold.astype(np.float32)
    found = []
    for label in order[:_MAX_BLOBS]:
        if stats[label, cv2.CC_STAT_AREA] < MIN_AREA_PX:
            break
        left, top, width, height = (int(v) for v in stats[label, :4])
        window = (slice(top, top + height), slice(left, left + width))
        mask = (labels[window] == label) & fine[window]
        if (mask & strong[window]).sum() >= MIN_AREA_PX:
            found.append(_blob(frame[window], apart[window], mask, left, top))
    return found, share


def _blob(frame: Picture, apart: Picture, mask: Mask, left: int, top: int) -> Blob:
    contrast = float(np.percentile(apart[mask], 80))
    return cut(lab(frame), mask & (apart >= _OWN * contrast), left, top, contrast)


def lab(frame: Picture) -> npt.NDArray[np.int16]:
    """CIE L*a*b* int16 [h, w, 3] of sRGB pixels: L in [0, 100], a and b about 0 for grey."""
    import cv2

    eight = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2LAB).astype(np.int16)
    eight[..., 0] = eight[..., 0] * 100 // 255
    eight[..., 1:] -= 128
    return np.asarray(eight)


def cut(colours: npt.NDArray[np.int16], mask: Mask, left: int, top: int, contrast: float) -> Blob:
    """A blob from a non-empty mask of a window whose top left pixel is (`left`, `top`) of the frame."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    mask, colours = mask[window], colours[window]
    left, top = left + int(columns[0]), top + int(rows[0])
    inner = colours[_inner(mask)]
    colour = np.median(inner, axis=0)
    return Blob(
        box=np.array([left, top, left + mask.shape[1], top + mask.shape[0]], np.float64),
        left=left,
        top=top,
        mask=mask,
        lab=colours,
        colour=colour,
        spread=float(np.median(np.linalg.norm(inner - colour, axis=1))),
        area_px=int(mask.sum()),
        contrast=contrast,
    )


def _inner(mask: Mask) -> Mask:
    """The mask without its edge pixels, which are mixed with the background; the mask itself where nothing is left."""
    import cv2

    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0).astype(bool)
    return inner if inner.sum() >= MIN_AREA_PX else mask


def united(one: Blob, other: Blob) -> Blob:
    """Two blobs of one frame as one."""
    left, top = min(one.left, other.left), min(one.top, other.top)
    right, bottom = max(one.box[2], other.box[2]), max(one.box[3], other.box[3])
    mask = np.zeros((int(bottom) - top, int(right) - left), bool)
    colours = np.zeros((*mask.shape, 3), np.int16)
    for part in (one, other):
        rows = slice(part.top - top, part.top - top + part.mask.shape[0])
        columns = slice(part.left - left, part.left - left + part.mask.shape[1])
        mask[rows, columns] |= part.mask
        colours[rows, columns][part.mask] = part.lab[part.mask]
    contrast = (one.contrast * one.area_px + other.contrast * other.area_px) / (one.area_px + other.area_px)
    return cut(colours, mask, left, top, contrast)
