"""How many frames a file holds, by its packets: no decoding, so it is cheap, and no trust in the header's own count.

>>> scan("clip.mp4").expected(Span(0.0, 1.0))          # doctest: +SKIP
25
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelmill.annotators.decode import mp4
from reelmill.annotators.decode.frames import Limits
from reelmill.annotators.decode.headers import Header, opened, read_header
from reelmill.schemas.span import Span

_TIME_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Packets:
    """Presentation times of the video packets in source seconds, sorted; `timed` is False where the container has none.

    `missing` frames are declared by the index but lie past the end of the file; `restarts` counts how often the decode
    times jump back, as where files were glued together; `note` says how the scan ended.
    """

    at_s: tuple[float, ...]
    num_packets: int
    keyframes_s: tuple[float, ...]
    end_s: float
    timed: bool
    missing: int
    restarts: int
    note: str

    def expected(self, span: Span | None) -> int | None:
        """Frames that a decode of `span` should give; missing ones are owed by the span that reaches the end."""
        if span is None or (span.start_s <= 0 and span.end_s >= self.end_s):
            return self.num_packets + self.missing
        if not self.timed:
            return None
        inside = bisect.bisect_left(self.at_s, span.end_s) - bisect.bisect_left(self.at_s, span.start_s)
        return inside + (self.missing if span.end_s >= self.end_s else 0)


def scan(path: str, header: Header | None = None, limits: Limits | None = None) -> Packets:
    """Read every video packet of a file. Raises Unusable as `read_header` does."""
    import av

    header = header or read_header(path, limits or Limits())
    found = _Found()
    with opened(path) as container:
        stream = container.streams[header.stream_index]
        base = stream.time_base
        try:
            for packet in container.demux(stream):
                found.add(packet, base, header)
        except av.error.FFmpegError as error:
            found.note = f"the container breaks off: {error.strerror}"
        declared = int(stream.frames or 0)
    cut = bool(found.note) or _ends_early(Path(path))
    return found.packets(max(0, declared - found.count) if cut else 0)


def _ends_early(path: Path) -> bool:
    """True where the container itself declares more bytes than the file has."""
    if mp4.layout(path).missing_bytes:
        return True
    with path.open("rb") as stream:
        head = stream.read(12)
    riff = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    return riff and int.from_bytes(head[4:8], "little") + 8 > path.stat().st_size


class _Found:
    """What has been seen of a stream so far."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.keys: list[float] = []
        self.count, self.end_s, self.timed, self.note = 0, 0.0, True, ""
        self.restarts, self.last_dts = 0, -math.inf

    def add(self, packet: Any, base: Any, header: Header) -> None:
        if packet.size == 0 or packet.is_discard:
            return
        if packet.dts is not None:
            self.restarts += packet.dts < self.last_dts
            self.last_dts = packet.dts
        stamp = packet.pts if packet.pts is not None else packet.dts
        self.timed = self.timed and packet.pts is not None
        if stamp is None:
            self.count += 1
            return
        at_s = round(float(stamp * base) - header.origin_s, _TIME_DIGITS)
        if at_s < 0 and self.timed:
            return  # pictures before the first presented one lean on a key frame that is not in the file
        self.count += 1
        self.times.append(at_s)
        self.end_s = max(self.end_s, at_s + (float(packet.duration * base) if packet.duration else header.frame_s))
        if packet.is_keyframe:
            self.keys.append(at_s)

    def packets(self, missing: int) -> Packets:
        return Packets(
            at_s=tuple(sorted(self.times)),
            num_packets=self.count,
            keyframes_s=tuple(sorted(self.keys)),
            end_s=self.end_s,
            timed=self.timed,
            missing=missing,
            restarts=self.restarts,
            note=self.note,
        )
