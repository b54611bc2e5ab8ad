"""Stored frames as a tower takes them: decoded, square, 8 bit.

A frame is squeezed to a square and not padded: shares of its width and height, which boxes are learned in, stay what
they were, and no token shows an empty border.

>>> drawn(8, 4)
[1, 3, 5, 7]
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from reelmill.schemas.errors import Corrupt

Made = TypeVar("Made")


def drawn(count: int, most: int | None) -> list[int]:
    """Which of `count` frames are shown: all, or the ones in the middle of `most` equal parts."""
    if most is None or count <= most:
        return list(range(count))
    return [(2 * i + 1) * count // (2 * most) for i in range(most)]


def decoded(jpeg: bytes, size_px: int) -> np.ndarray:
    """uint8 RGB [size_px, size_px, 3]. Bicubic with antialias (Pillow's: the filter widens as it shrinks), the resizing
    that CLIP's and SigLIP's processors use. Raises Corrupt on bytes that are no JPEG, or one that was cut."""
    return np.asarray(_squared(_opened(jpeg), size_px))


def cropped(jpeg: bytes, size_px: int, crops: np.ndarray) -> np.ndarray:
    """uint8 RGB [n, size_px, size_px, 3]: parts of one picture, `crops` [n, 4] being their corners in shares of it.
    A part sees no pixel of its neighbours. Raises as `decoded`."""
    picture = _opened(jpeg)
    corners = np.rint(crops * np.array([*picture.size, *picture.size])).astype(int).tolist()
    return np.stack([np.asarray(_squared(picture.crop(corner), size_px)) for corner in corners])


def _opened(jpeg: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise Corrupt("a stored frame", seen=str(error), do="run `reelmill verify`, then pack again") from error


def _squared(picture: Image.Image, size_px: int) -> Image.Image:
    if picture.size == (size_px, size_px):
        return picture
    return picture.resize((size_px, size_px), Image.Resampling.BICUBIC)


class Kept(Generic[Made]):
    """What is kept for the next epoch, as long as it takes no more than `most_bytes`: what comes later is made each
    time. For small sets, which cost more to read and decode than to learn from. Threads may share it."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._held: dict[Hashable, Made] = {}
        self._lock = threading.Lock()

    def of(self, name: Hashable, make: Callable[[], Made], size: Callable[[Made], int]) -> Made:
        """What has a name, made where it is not kept; `size` gives its bytes."""
        if (kept := self._held.get(name)) is not None:
            return kept
        made = make()
        with self._lock:
            if name not in self._held and self.bytes + size(made) <= self.most_bytes:
                self._held[name] = made
                self.bytes += size(made)
        return made


def stacked(jpegs: Sequence[bytes], size_px: int, crops: np.ndarray | None = None) -> np.ndarray:
    """uint8 RGB [T, size_px, size_px, 3] of T frames, or of the T crops of one picture."""
    if crops is not None:
        (jpeg,) = jpegs
        return cropped(jpeg, size_px, crops)
    return np.stack([decoded(jpeg, size_px) for jpeg in jpegs])
