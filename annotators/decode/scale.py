"""One way to scale for all backends: FFmpeg's scaler, area average downwards, bilinear upwards, exact and bit-stable.

>>> scaled(np.zeros((4, 8, 3), np.uint8), 4, 2).shape
(2, 4, 3)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class Scalers:
    """Scalers of one medium, each kept for frames of one form and one size asked for: making one costs a third of
    what it does."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Any] = {}

    def of(self, frame: Any, width_px: int, height_px: int) -> Any:
        from av.video.reformatter import VideoReformatter

        form = (frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range)
        wanted = (*form, width_px, height_px)
        if wanted not in self._known:
            self._known[wanted] = VideoReformatter()
        return self._known[wanted]


def converted(frame: Any, width_px: int, height_px: int, scalers: Scalers | None = None) -> npt.NDArray[np.uint8]:
    """Full-range RGB uint8 (height, width, 3) of a PyAV frame, converted and scaled in one pass, on this thread."""
    from av.video.reformatter import ColorRange, Interpolation

    exact = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
    shrinks = width_px <= frame.width and height_px <= frame.height
    scaler = (scalers or Scalers()).of(frame, width_px, height_px)
    rgb = scaler.reformat(
        frame,
        width=width_px,
        height=height_px,
        format="rgb24",
        interpolation=(Interpolation.AREA if shrinks else Interpolation.BILINEAR) | exact,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    pixels: npt.NDArray[np.uint8] = rgb.to_ndarray()
    return pixels


def scaled(rgb: npt.NDArray[np.uint8], width_px: int, height_px: int) -> npt.NDArray[np.uint8]:
    """RGB pixels at another size; a copy where the size is already right."""
    import av

    if rgb.shape[:2] == (height_px, width_px):
        return rgb.copy()
    return converted(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"), width_px, height_px)
