"""Frames through PyAV: the default backend. One thread, seeks by key frame, turns pictures itself.

Why the default: it brings its own FFmpeg, needs no torch, gives exact PTS and flags damaged frames (decision 0003).

>>> open_medium("clip.mp4", Limits(), Troubles()).origin_s          # doctest: +SKIP
0.0
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from reelmill.annotators.decode.frames import Limits, Picture, Rgb, Troubles, shown_size
from reelmill.annotators.decode.headers import Header, opened, read_header
from reelmill.annotators.decode.scale import Scalers, converted
from reelmill.annotators.decode.stream import frames_of, sought

CANNOT: dict[str, str] = {}
# Some indexes point at a key frame later than asked for; go back further until one lies at or before it.
_SEEK_BACK_S = (0.0, 4.0, 30.0)
_PACKETS = "packets"


def open_medium(path: str, limits: Limits, troubles: Troubles) -> PyavMedium:
    """Raises Unusable as `read_header` does."""
    return PyavMedium(path, read_header(path, limits), troubles)


class PyavMedium:
    """One open file; see `frames.Medium`."""

    def __init__(self, path: str, header: Header, troubles: Troubles) -> None:
        self.path, self.header, self.troubles, self.origin_s = path, header, troubles, header.origin_s
        self._stack, self._scalers = ExitStack(), Scalers()
        self._open()

    def _open(self) -> None:
        self._stack.close()
        self._container = self._stack.enter_context(opened(self.path))
        self._stream = self._container.streams[self.header.stream_index]
        self._stream.codec_context.thread_count = 1

    def close(self) -> None:
        self._stack.close()

    def pictures(self, from_s: float | None) -> Iterator[Picture]:
        """Raw pictures in presentation order, from a key frame at or before `from_s`."""
        frames = self._all() if from_s is None else self._from(from_s)
        return (self._picture(frame) for frame in frames)

    def _from(self, from_s: float) -> Iterator[Any]:
        for back_s in _SEEK_BACK_S:
            before = dict(self.troubles.counts)
            at_s = max(self.origin_s, from_s - back_s)
            frames = sought(self._container, self._stream, at_s, self.troubles, _PACKETS)
            first = next(frames, None)
            if first is not None and first.pts is not None and first.pts * self._stream.time_base <= from_s + 1e-6:
                yield first
                yield from frames
                return
            self.troubles.counts = before
        self._open()
        yield from self._all()

    def _all(self) -> Iterator[Any]:
        return frames_of(self._container, self._stream, self.troubles, _PACKETS)

    def _picture(self, frame: Any) -> Picture:
        base, header = self._stream.time_base, self.header
        pts = frame.pts if frame.pts is not None else frame.dts
        width, height = shown_size(frame.width, frame.height, header.sample_aspect, header.turn.transposed)
        return Picture(
            time_s=None if pts is None else float(pts * base),
            duration_s=float(frame.duration * base) if frame.duration else header.frame_s,
            width_px=width,
            height_px=height,
            pixels=lambda w, h: _rgb(frame, w, h, header, self._scalers),
            damaged=frame.is_corrupt,
        )


def _rgb(frame: Any, width_px: int, height_px: int, header: Header, scalers: Scalers) -> Rgb:
    """Convert and scale in the coded orientation, then turn."""
    width, height = (height_px, width_px) if header.turn.transposed else (width_px, height_px)
    return header.turn.applied(converted(frame, width, height, scalers))
