"""What the boxes of an MP4 or MOV file tell without a demuxer: is the index there, is the end missing, is it encrypted.

Demuxers say "invalid data" for all three. Box layout: ISO 14496-12, 4.2; protection: ISO 14496-12, 8.12 and 23001-7.

>>> layout(Path("half.mp4"))          # doctest: +SKIP
Layout(is_mp4=True, has_moov=False, missing_bytes=31000)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_FIRST = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"}
_MAX_MOOV_BYTES = 64 << 20
_MAX_BOXES = 10_000


@dataclass(frozen=True, slots=True)
class Layout:
    """Top-level facts. `missing_bytes` says how far the last declared box runs past the end of the file."""

    is_mp4: bool
    has_moov: bool
    missing_bytes: int


@dataclass(frozen=True, slots=True)
class Box:
    """Type and payload place of one box; `end` may lie past the end of the file."""

    name: bytes
    start: int
    end: int


def layout(path: Path) -> Layout:
    """Walk the top-level boxes of a file; `is_mp4` is False for anything that does not begin like one."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        boxes = list(_boxes(stream, 0, size))
    if not boxes or boxes[0].name not in _FIRST:
        return Layout(False, False, 0)
    return Layout(True, any(b.name == b"moov" for b in boxes), max(0, boxes[-1].end - size))


def encryption_scheme(path: Path) -> str | None:
    """Scheme of Common Encryption ("cenc", "cbcs" ...) where a video sample entry is protected, else None."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        for box in _boxes(stream, 0, size):
            if box.name not in _FIRST and box.start <= 16:
                return None
            if box.name == b"moov":
                stream.seek(box.start)
                return _scheme(stream.read(min(box.end - box.start, _MAX_MOOV_BYTES)))
    return None


def _scheme(moov: bytes) -> str | None:
    """A protected video track has the sample entry `encv`, first in its `stsd`; its `schm` box names the scheme."""
    table = moov.find(b"stsd")
    while table >= 0:
        entry = table + 16  # past the name, version and flags, the count, and the entry's own length
        if moov[entry : entry + 4] == b"encv":
            scheme = moov.find(b"schm", entry)
            return moov[scheme + 8 : scheme + 12].decode("latin-1") if scheme > 0 else "unnamed"
        table = moov.find(b"stsd", table + 4)
    return None


def _boxes(stream: BinaryIO, start: int, size: int) -> Iterator[Box]:
    for _ in range(_MAX_BOXES):
        if start + 8 > size:
            return
        stream.seek(start)
        length, name = struct.unpack(">I4s", stream.read(8))
        payload = start + 8
        if length == 1:
            wide = stream.read(8)
            if len(wide) < 8:
                return
            length, payload = struct.unpack(">Q", wide)[0], start + 16
        end = size if length == 0 else start + length
        if end < payload:
            return
        yield Box(name, payload, end)
        start = end
