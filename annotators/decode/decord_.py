"""Frames through decord: the same contract as PyAV, less what `CANNOT` names.

decord's own times are 32-bit floats, too coarse to cut spans by; the packets' times are used instead.

>>> open_medium("clip.mp4", Limits(), Troubles()).origin_s          # doctest: +SKIP
0.0
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from functools import partial
from typing import Any

from reelmill.annotators.decode.frames import Limits, Picture, Troubles
from reelmill.annotators.decode.headers import Header, opened, read_header
from reelmill.annotators.decode.packets import scan
from reelmill.annotators.decode.scale import scaled
from reelmill.schemas.errors import NotFound, Unusable

CANNOT = {
    "mirrored": "its rotation leaves mirroring out, so such files are refused",
    "stream_choice": "it reads FFmpeg's best stream only, so files where ours is another one are refused",
    "restarting_times": "it sorts all frames by time, so such files are refused",
    "damaged": "it does not tell of damage that its FFmpeg conceals, and ends at the first packet that cannot be read",
    "resolution_change": "it scales every frame to the size of the first",
}


def open_medium(path: str, limits: Limits, troubles: Troubles) -> DecordMedium:
    """Raises Unusable as `read_header` does, and "backend_cannot" for what `CANNOT` says is refused."""
    try:
        import decord
    except ImportError as error:
        raise NotFound("decode backend 'decord'", seen=str(error), do="pip install decord, or use pyav") from error
    header = read_header(path, limits)
    _refuse(path, header)
    packets = scan(path, header)
    times = packets.at_s
    try:
        reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    except (decord.DECORDError, RuntimeError) as error:
        raise Unusable("no_frames", f"decord: {_brief(error)}") from error
    if packets.restarts:
        raise Unusable("backend_cannot", "decord mixes up frames where times restart, as in this file; use pyav")
    if len(reader) != len(times):
        raise Unusable("backend_cannot", f"decord counts {len(reader)} frames where the packets hold {len(times)}")
    return DecordMedium(reader, header, times, troubles, (decord.DECORDError, RuntimeError, IndexError))


def _refuse(path: str, header: Header) -> None:
    if header.turn.mirrored:
        raise Unusable("backend_cannot", "decord does not mirror pictures, and this file asks for it; use pyav")
    with opened(path) as container:
        best = container.streams.best("video").index
    if best != header.stream_index:
        raise Unusable("backend_cannot", f"decord reads stream {best} only, wanted is {header.stream_index}; use pyav")


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0][-200:]


class DecordMedium:
    """One open file; see `frames.Medium`."""

    def __init__(
        self,
        reader: Any,
        header: Header,
        times: tuple[float, ...],
        troubles: Troubles,
        broken: tuple[type[Exception], ...],
    ) -> None:
        self._reader, self._broken = reader, broken
        self.header, self.times, self.troubles, self.origin_s = header, times, troubles, header.origin_s

    def close(self) -> None:
        self._reader = None

    def pictures(self, from_s: float | None) -> Iterator[Picture]:
        """Raw pictures in presentation order, from the last one at or before `from_s`."""
        from_s = self.origin_s if from_s is None else from_s
        first = max(0, bisect.bisect_right(self.times, from_s - self.origin_s + 1e-6) - 1)
        for number in range(first, len(self.times)):
            try:
                rgb = self._reader[number].asnumpy()
            except self._broken as error:
                self.troubles.add(f"decord breaks off ({_brief(error)})")
                return
            if rgb.shape[1::-1] != self.header.turned:
                raise Unusable("backend_cannot", f"decord reads another stream, of size {rgb.shape[1]}x{rgb.shape[0]}")
            shown = self.header.shown
            yield Picture(self.origin_s + self.times[number], self.header.frame_s, *shown, partial(scaled, rgb))
