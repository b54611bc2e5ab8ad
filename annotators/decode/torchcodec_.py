"""Frames through torchcodec (the extra `torchcodec`): the same contract as PyAV, less what `CANNOT` names.

>>> open_medium("clip.mp4", Limits(), Troubles()).origin_s          # doctest: +SKIP
0.0
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from functools import partial
from typing import Any

from reelmill.annotators.decode.frames import Limits, Picture, Troubles
from reelmill.annotators.decode.headers import Header, read_header
from reelmill.annotators.decode.packets import scan
from reelmill.annotators.decode.scale import scaled
from reelmill.schemas.errors import NotFound, Unusable

CANNOT = {
    "mirrored": "its rotation leaves mirroring out, so such files are refused",
    "restarting_times": "it sorts all frames by time, so such files are refused",
    "damaged": "it does not tell of damage that its FFmpeg conceals, and ends at the first packet that cannot be read",
}


def open_medium(path: str, limits: Limits, troubles: Troubles) -> TorchcodecMedium:
    """Raises NotFound where torchcodec is missing, Unusable as `read_header` does and "backend_cannot"."""
    try:
        from torchcodec.decoders import VideoDecoder
    except (
        ImportError,
        RuntimeError,
        OSError,
    ) as error:  # a wheel for another torch gives the latter
        seen = str(error).strip().splitlines()[0][:200]
        raise NotFound("decode backend 'torchcodec'", seen=seen, do="pip install 'reelmill[torchcodec]'") from error
    header = read_header(path, limits)
    if header.turn.mirrored:
        raise Unusable("backend_cannot", "torchcodec does not mirror pictures, and this file asks for it; use pyav")
    packets = scan(path, header)
    if packets.restarts:
        raise Unusable("backend_cannot", "torchcodec mixes up frames where times restart, as in this file; use pyav")
    try:
        decoder = VideoDecoder(path, stream_index=header.stream_index, dimension_order="NHWC", num_ffmpeg_threads=1)
    except (RuntimeError, ValueError) as error:
        raise Unusable("no_frames", f"torchcodec: {_brief(error)}") from error
    return TorchcodecMedium(decoder, header, packets.at_s, troubles)


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0][-200:]


class TorchcodecMedium:
    """One open file; see `frames.Medium`."""

    def __init__(self, decoder: Any, header: Header, times: tuple[float, ...], troubles: Troubles) -> None:
        self._decoder: Any = decoder
        self.header, self.times, self.troubles, self.origin_s = header, times, troubles, header.origin_s

    def close(self) -> None:
        self._decoder = None

    def pictures(self, from_s: float | None) -> Iterator[Picture]:
        """Raw pictures in presentation order, from the last one at or before `from_s`."""
        for number in range(self._number_at(from_s), len(self._decoder)):
            try:
                decoded = self._decoder.get_frame_at(number)
            except (RuntimeError, IndexError) as error:
                self.troubles.add(f"torchcodec breaks off ({_brief(error)})")
                return
            yield self._picture(decoded)

    def _number_at(self, from_s: float | None) -> int:
        """Frame number for a time, by the packets' times; 0 where torchcodec counts otherwise than they do."""
        if from_s is None or len(self.times) != len(self._decoder):
            return 0
        return max(0, bisect.bisect_right(self.times, from_s - self.origin_s + 1e-6) - 1)

    def _picture(self, decoded: Any) -> Picture:
        rgb = decoded.data.numpy()
        size, first = rgb.shape[1::-1], self.header.turned
        if size != first:  # where sizes differ torchcodec may begin in the wrong part, so no frame can be trusted
            seen = f"{first[0]}x{first[1]} became {size[0]}x{size[1]} in the file"
            raise Unusable("resolution_changed", seen)
        duration_s = decoded.duration_seconds or self.header.frame_s
        return Picture(decoded.pts_seconds, duration_s, *self.header.shown, partial(scaled, rgb))
