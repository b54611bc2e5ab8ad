"""What a listed file is, by its content and never by its name, and the units of work that it gives.

A file is a picture (one unit), a video (units of at most 60 s, of equal length), or rejected with its true reason.
Every touch of its bytes by native code happens in a child process.

    uri="holiday.jpg" (an MP4 of 90 s) -> kind="video", probe=Probe(container="mov,mp4,...", ...), two units of 45 s
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from reelmill.annotators.annotator import Resources
from reelmill.annotators.decode.local import local_path
from reelmill.annotators.decode.with_child import WithChild
from reelmill.schemas.clip import UNIT_MAX_S, Unit
from reelmill.schemas.column import Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.keys import child_key, micros
from reelmill.schemas.media import Kind, MediaRef, Probe
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import State, Verdict, rejected

URI = Column.of("uri", str)
DIGEST = Column.of("digest", str | None)
LICENCE = Column.of("licence", str)
PROBLEM = Column.of("problem", str | None)
KIND = Column.of("kind", Kind)
PROBE = Column.of("probe", Probe | None)
UNITS = Column.of("units", tuple[Unit, ...])

WALL_S = 120.0
_SLOWEST_BYTES_PER_S = 10e6
_SNIFF_BYTES = 4096
_STEP = "identify"

_ARCHIVES = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "empty zip",
    b"\x1f\x8b": "gzip",
    b"Rar!\x1a\x07": "rar",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_PICTURES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"II*\x00",
    b"MM\x00*",
    b"\x00\x00\x00\x0cjP  ",
)
_PICTURE_BRANDS = {b"avif", b"avis"}
_UNREAD_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc"}
_DOCUMENTS = (b"%PDF-", b"%!PS", b"\xd0\xcf\x11\xe0")
_PLAYLISTS = (b"#EXTM3U", b"ffconcat version")
_EXTENSIONS = {
    Kind.IMAGE: frozenset({"jpg", "jpeg", "png", "gif", "webp", "tif", "tiff", "bmp", "ppm", "pgm", "avif", "jp2"}),
    Kind.VIDEO: frozenset({"mp4", "m4v", "mov", "mkv", "webm", "avi", "ts", "mpg", "mpeg", "flv", "wmv", "3gp"}),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What the child found out about one file. `frames` holds (start_s, end_s, expected frames) of each unit."""

    kind: Kind
    probe: Probe
    width_px: int
    height_px: int
    duration_s: float
    frames: tuple[tuple[float, float, int | None], ...]
    note: str


@dataclass(frozen=True)
class Identify(WithChild):
    """Sniff, probe and split every listed file."""

    needs: ClassVar[tuple[Column, ...]] = (URI, DIGEST, LICENCE, PROBLEM)
    gives: ClassVar[tuple[Column, ...]] = (KIND, PROBE, UNITS)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources()

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["problem"]:
            reason, _, detail = row["problem"].partition(": ")
            raise Unusable(reason.replace(" ", "_"), detail)
        path = Path(local_path(row["uri"], row["digest"])).absolute()
        found = self.child.call(f"{__name__}:identify", str(path), row["uri"], wall_s=_wall_s(path))
        return {"kind": found.kind, "probe": found.probe, "units": units_of(row, found)}


def _wall_s(path: Path) -> float:
    """Time for one file: every packet is read, so it grows with the size."""
    try:
        return WALL_S + path.stat().st_size / _SLOWEST_BYTES_PER_S
    except OSError:
        return WALL_S


def units_of(row: dict[str, Any], found: Identity) -> tuple[Unit, ...]:
    """One unit of a picture, or the parts of a video in order."""
    whole = MediaRef(
        uri=row["uri"],
        digest=row["digest"] or "",
        kind=found.kind,
        width_px=found.width_px,
        height_px=found.height_px,
        duration_s=found.duration_s,
        span=None,
        licence=row["licence"],
    )
    accepted = Verdict(State.ACCEPTED, "", "", found.note)
    if found.kind is Kind.IMAGE:
        return (Unit(child_key(row["key"], "unit", 0, 0), row["key"], whole, 1, accepted),)
    return tuple(_unit(row["key"], whole, *part, accepted) for part in found.frames)


def _unit(parent: str, whole: MediaRef, start_s: float, end_s: float, expected: int | None, good: Verdict) -> Unit:
    key = child_key(parent, "unit", micros(start_s), micros(end_s))
    media = MediaRef(**{name: getattr(whole, name) for name in MediaRef.__slots__} | {"span": Span(start_s, end_s)})
    empty = rejected(_STEP, "empty_span", f"no frame begins in [{start_s:.3f}, {end_s:.3f}) s")
    return Unit(key, parent, media, expected, empty if expected == 0 else good)


def parts_of(duration_s: float) -> list[tuple[float, float]]:
    """Equal parts of at most 60 s that cover [0, duration), at whole microseconds."""
    count = max(1, math.ceil(duration_s / UNIT_MAX_S - 1e-9))
    cuts = [round(duration_s * i / count, 6) for i in range(count)]
    return list(zip(cuts, [*cuts[1:], max(round(duration_s, 6), cuts[-1] + 1e-6)], strict=True))


# ---- in the child ----------------------------------------------------------------------------------------------------


def identify(path: str, uri: str) -> Identity:
    """Look at one local file. Raises Unusable with the true reason where it gives no unit."""
    kind = sniff(Path(path))
    found = _picture(path) if kind is Kind.IMAGE else _video(path)
    suffix = uri.rsplit("/", 1)[-1].rpartition(".")[2].lower()
    other = Kind.VIDEO if kind is Kind.IMAGE else Kind.IMAGE
    if suffix not in _EXTENSIONS[other]:
        return found
    note = f"named .{suffix}, but the content is {found.probe.container}"
    return Identity(**{n: getattr(found, n) for n in Identity.__slots__} | {"note": _joined(found.note, note)})


def _joined(*notes: str) -> str:
    return "; ".join(n for n in notes if n)


def sniff(path: Path) -> Kind:
    """Picture, or perhaps a video, by the first bytes.

    Raises Unusable for what is certainly neither: empty_file, unreadable, archive, document, vector_picture, playlist,
    unsupported_picture.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_SNIFF_BYTES)
    except OSError as error:
        raise Unusable("unreadable", (error.strerror or str(error)).lower()) from error
    if not head:
        raise Unusable("empty_file", "0 bytes")
    _refuse(head)
    return Kind.IMAGE if _is_picture(head) else Kind.VIDEO


def _refuse(head: bytes) -> None:
    archive = next((name for magic, name in _ARCHIVES.items() if head.startswith(magic)), None)
    if archive is None and head[257:262] == b"ustar":
        archive = "tar"
    if archive:
        raise Unusable("archive", f"{archive}; unpack it first, archives are never opened here")
    if head.startswith(_DOCUMENTS):
        raise Unusable("document", f"begins with {head[:8]!r}; render its pages to pictures first")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<") and b"<svg" in head.lower():
        raise Unusable("vector_picture", "SVG; render it to pixels first")
    if text.startswith(_PLAYLISTS) or (text.startswith(b"<") and b"<MPD" in head):
        raise Unusable("playlist", "it names other media instead of holding one; list those")
    if head[4:8] == b"ftyp" and head[8:12] in _UNREAD_BRANDS:
        raise Unusable("unsupported_picture", f"HEIF, brand {head[8:12].decode()}; convert it to JPEG or AVIF")


def _is_picture(head: bytes) -> bool:
    if head.startswith(_PICTURES):
        return True
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return True
    if head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS:
        return True
    if head[:2] == b"BM":
        return int.from_bytes(head[14:18], "little") in (12, 40, 52, 56, 64, 108, 124)
    return head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace()


def _picture(path: str) -> Identity:
    """Decode it whole: a picture that breaks off would pass by its header."""
    from reelmill.annotators.decode.picture import read_picture

    facts, pixels = read_picture(path)
    probe = Probe(
        container=facts.container,
        codec=facts.container,
        pixel_format=facts.mode,
        coded_width_px=facts.width_px,
        coded_height_px=facts.height_px,
        rotation_deg=facts.rotation_deg,
        sample_aspect=1.0,
        declared_fps=None,
        declared_frames=facts.num_frames,
        declared_duration_s=None,
        start_s=0.0,
        video_streams=0,
        audio_streams=0,
    )
    height, width = pixels.shape[:2]
    return Identity(Kind.IMAGE, probe, width, height, 0.0, (), facts.note)


def _video(path: str) -> Identity:
    from reelmill.annotators.decode.frames import Limits
    from reelmill.annotators.decode.headers import read_header
    from reelmill.annotators.decode.packets import scan
    from reelmill.annotators.decode.probe import probe

    header = read_header(path, Limits())
    packets = scan(path, header)
    parts = parts_of(packets.end_s)
    frames = tuple((start, end, packets.expected(Span(start, end))) for start, end in parts)
    missing = f"{packets.missing} declared frames lie past the end of the file" if packets.missing else ""
    note = _joined(packets.note, missing)
    return Identity(Kind.VIDEO, probe(path, header), *header.shown, packets.end_s, frames, note)
