"""Which stored frames of a clip are read, since text stays on screen for seconds and reading a frame takes long.

A frame is a candidate where the picture changed since the candidate before it. Where there are too many, an even choice
of them is read, and besides those in which something with the look of text has come and stays: cells with strong
upright edges that differ from the frame read before and no longer change towards the next. That finds the caption that
appears over moving pictures (edges as the mark of text: Lienhart and Effelsberg 2000).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Cells = npt.NDArray[np.int16]
_CELLS = (96, 54)
_FINE = (384, 216)  # pixels looked at for edges: four by four to a cell


@dataclass(frozen=True, slots=True)
class Look:
    """A frame made small: luma by cell, and how strong upright edges are in it. Both (54, 96)."""

    luma: Cells
    edges: Cells


def look(jpeg: bytes) -> Look:
    """A frame on a grid that is fine enough to notice a line of subtitles."""
    from PIL import Image

    with Image.open(io.BytesIO(jpeg)) as image:
        image.draft("L", _FINE)
        grey = image.convert("L")
        luma = np.asarray(grey.resize(_CELLS, Image.Resampling.BOX), np.int16)
        fine = np.asarray(grey.resize(_FINE, Image.Resampling.BILINEAR), np.int16)
    steps = np.abs(np.diff(fine, axis=1, prepend=fine[:, :1]))
    return Look(luma, steps.reshape(_CELLS[1], 4, _CELLS[0], 4).mean(axis=(1, 3)).astype(np.int16))


@dataclass(frozen=True, slots=True)
class FrameRules:
    """A frame changed where at least `share` of its cells differ by over `luma` (of 255).

    At most `most` changed frames are read, and the strongest `most_still` of those in which at least `share` of the
    cells are new, hold edges of `edge` grey levels a pixel and do not change by over `still_luma` to the next frame.
    """

    luma: int = 20
    share: float = 0.002
    most: int = 8
    most_still: int = 8
    edge: int = 8
    still_luma: int = 6


def frames_to_read(looks: Sequence[Look], rules: FrameRules) -> list[int]:
    """Indices of the frames that are read, ascending; the first is always among them."""
    changed = changed_frames([one.luma for one in looks], rules)
    if len(changed) <= rules.most:
        return changed
    comes = still_frames(looks, rules)
    strongest = sorted(comes, key=lambda i: (-comes[i], i))[: rules.most_still]
    return sorted({*spread(changed, rules.most), *strongest})


def changed_frames(cells: Sequence[Cells], rules: FrameRules) -> list[int]:
    """Indices of the first frame and of each that differs from the one chosen before it."""
    chosen: list[int] = []
    for i, now in enumerate(cells):
        if not chosen or float((np.abs(now - cells[chosen[-1]]) > rules.luma).mean()) >= rules.share:
            chosen.append(i)
    return chosen


def still_frames(looks: Sequence[Look], rules: FrameRules) -> dict[int, float]:
    """Indices of frames in which text-like cells are new since the one found before and stay to the next, each with the
    share of such cells: that of a caption which appears is several times what moving things leave behind."""
    found: dict[int, float] = {}
    last = 0
    for i in range(1, len(looks) - 1):
        now, after, before = looks[i], looks[i + 1], looks[last]
        stays = (np.abs(after.luma - now.luma) <= rules.still_luma) & (np.abs(after.edges - now.edges) <= rules.edge)
        new = (np.abs(now.luma - before.luma) > rules.luma) | (np.abs(now.edges - before.edges) > rules.edge)
        share = float((new & stays & (now.edges >= rules.edge)).mean())
        if share >= rules.share:
            found[i], last = share, i
    return found


def spread(places: Sequence[int], most: int) -> list[int]:
    """At most `most` of them, evenly, the first and the last kept."""
    if len(places) <= most:
        return list(places)
    return [places[p] for p in np.linspace(0, len(places) - 1, most).round().astype(int)]
