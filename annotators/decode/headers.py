"""What must be known of a file before frames are asked for: which stream, where time 0 lies, how pictures are turned.

Read with PyAV for every backend, so that they agree on it. PyAV does not turn pictures itself (measured), decord and
torchcodec do not apply the pixel aspect; the first decoded frame tells both.

>>> read_header("clip.mp4", Limits()).origin_s          # doctest: +SKIP
0.0333
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from reelmill.annotators.decode import mp4
from reelmill.annotators.decode.frames import Limits, Rgb, check_size, shown_size
from reelmill.schemas.errors import Unusable

# Containers that hold moving pictures, and sound files so that they can be named as such. Playlists (hls, concat, dash)
# are left out on purpose: they make the demuxer open other files and hosts. Still pictures are read by `picture.py`.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,h264,hevc,m4v,ivf,mxf,nut,dv,rm,mjpeg,"
    "yuv4mpegpipe,h263,h261,obu,av1,vc1,wtv,gxf,mp3,wav,flac,aac,ac3,eac3,amr,aiff,caf,w64"
)
_ONLY = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
_NO_RATE_S = 0.04


@dataclass(frozen=True, slots=True)
class Turn:
    """How a coded picture becomes the shown one: rows and columns swapped, then mirrored. One of eight."""

    transposed: bool = False
    mirrored_x: bool = False
    mirrored_y: bool = False

    @property
    def mirrored(self) -> bool:
        """True where left and right are exchanged, which no rotation undoes."""
        return self.transposed ^ self.mirrored_x ^ self.mirrored_y

    def applied(self, pixels: Rgb) -> Rgb:
        turned = pixels.transpose(1, 0, 2) if self.transposed else pixels
        turned = turned[:, ::-1] if self.mirrored_x else turned
        turned = turned[::-1] if self.mirrored_y else turned
        return np.ascontiguousarray(turned)


@dataclass(frozen=True, slots=True)
class Header:
    """Stream choice and geometry of one video file. `origin_s` is the first presented frame's time in the container;
    `rotation_deg`, clockwise, is what the display matrix says, `turn` what is done about it."""

    stream_index: int
    origin_s: float
    frame_s: float
    coded_width_px: int
    coded_height_px: int
    sample_aspect: float
    turn: Turn
    rotation_deg: int = 0

    @property
    def turned(self) -> tuple[int, int]:
        """(width, height) of the coded picture after its turn, pixel aspect not yet applied."""
        coded = (self.coded_width_px, self.coded_height_px)
        return coded[::-1] if self.turn.transposed else coded

    @property
    def shown(self) -> tuple[int, int]:
        """(width, height) in the shown orientation."""
        return shown_size(self.coded_width_px, self.coded_height_px, self.sample_aspect, self.turn.transposed)


def turn_of(frame: Any) -> Turn:
    """The turn in a frame's display matrix (ISO 14496-12, 6.2.2), taken to the nearest quarter turn.

    x' = a x + c y, y' = b x + d y: the signs of the larger terms say which way each shown axis runs.
    """
    a, b, c, d = _display_matrix(frame)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(False, a < 0, d < 0)
    return Turn(True, c < 0, b < 0)


def rotation_of(frame: Any) -> int:
    """Clockwise degrees, 0 .. 359, of a frame's display matrix, counted as FFmpeg's av_display_rotation_get does."""
    a, b, c, d = _display_matrix(frame)
    across, down = math.hypot(a, c), math.hypot(b, d)
    if not (across and down):
        return 0
    return round(math.degrees(math.atan2(b / down, a / across))) % 360


def _display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """The four numbers of a display matrix that turn and mirror; those of an upright picture where there is none."""
    for data in frame.side_data:
        raw = bytes(data)
        if data.type.name == "DISPLAYMATRIX" and len(raw) == 36:
            a, b, _, c, d, *_ = struct.unpack("=9i", raw)
            return a, b, c, d
    return 1, 0, 0, 1


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """A PyAV container of a local file. Raises Unusable with the true reason where it cannot be opened."""
    import av

    local = Path(path)
    try:
        if local.stat().st_size == 0:
            raise Unusable("empty_file", "0 bytes")
        # Titles in Latin-1 are common, and nothing here reads them.
        container = av.open(f"file:{local}", container_options=_ONLY, metadata_errors="replace")
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise Unusable("unreadable", error.strerror or str(error)) from error
    except av.error.FFmpegError as error:
        raise why_not_media(local, error.strerror) from error
    with container:
        yield container


def why_not_media(path: Path, seen: str) -> Unusable:
    """The true reason why a demuxer refused a file."""
    layout = mp4.layout(path)
    if layout.is_mp4 and not layout.has_moov:
        short = f", {layout.missing_bytes} bytes missing at the end" if layout.missing_bytes else ""
        return Unusable("truncated_no_index", f"an MP4 of {path.stat().st_size} bytes without a moov box{short}")
    if layout.is_mp4 and layout.missing_bytes:
        return Unusable("truncated_header", f"{layout.missing_bytes} bytes missing at the end; {seen}")
    return Unusable("not_media", f"no known video container: {seen}; begins with {_beginning(path)!r}")


def _beginning(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(16)


def choose_stream(container: Any) -> Any:
    """The video stream to read: never an attached picture; the default one, else the largest, else the first.

    Raises Unusable("no_video_stream"), or "audio_only" where there is sound alone.
    """
    attached = [s for s in container.streams.video if s.disposition & s.disposition.attached_pic]
    streams = [s for s in container.streams.video if s not in attached]
    if not streams:
        sound = len(container.streams.audio)
        seen = f"{sound} audio streams, {len(attached)} attached pictures, 0 video streams"
        raise Unusable("audio_only" if sound else "no_video_stream", seen)
    return max(streams, key=lambda s: (bool(s.disposition & s.disposition.default), _area(s), -s.index))


def _area(stream: Any) -> int:
    """Pixels by the header; 0 for a codec that FFmpeg does not know."""
    return int(stream.codec_context.width * stream.codec_context.height) if stream.codec_context else 0


def check_readable(path: str, stream: Any, limits: Limits) -> None:
    """Raises Unusable for an encrypted stream, a codec nobody here decodes, or too many pixels by the header."""
    scheme = mp4.encryption_scheme(Path(path))
    if scheme:
        raise Unusable("encrypted", f"Common Encryption, scheme {scheme}; the key is not ours")
    if stream.codec_context is None:
        raise Unusable("unknown_codec", f"stream {stream.index} names a codec that this FFmpeg does not know")
    check_size(stream.codec_context.width, stream.codec_context.height, limits)


def read_header(path: str, limits: Limits) -> Header:
    """Choose the stream, decode up to its first frame and keep what all backends need of it.

    Raises Unusable: empty_file, unreadable, not_media, truncated_no_index, audio_only, no_video_stream, encrypted,
    unknown_codec, too_many_pixels, no_frames, no_timestamps.
    """
    with opened(path) as container:
        stream = choose_stream(container)
        check_readable(path, stream, limits)
        stream.codec_context.thread_count = 1
        frame = _first_frame(container, stream)
        aspect = sample_aspect(stream)
        header = Header(
            stream_index=stream.index,
            origin_s=float(stamp(frame) * stream.time_base),
            frame_s=float(1 / (stream.average_rate or stream.guessed_rate or Fraction(1) / Fraction(_NO_RATE_S))),
            coded_width_px=frame.width,
            coded_height_px=frame.height,
            sample_aspect=aspect,
            turn=turn_of(frame),
            rotation_deg=rotation_of(frame),
        )
    check_size(header.coded_width_px, header.coded_height_px, limits)
    check_size(*header.shown, limits)
    return header


def sample_aspect(stream: Any) -> float:
    """Width of a coded pixel over its height; 1 where none is declared."""
    declared = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return float(declared) if declared else 1.0


def stamp(frame: Any) -> int:
    """Presentation time in the stream's time base; AVI keeps only decode order, which its frames then carry."""
    pts = frame.pts if frame.pts is not None else frame.dts
    if pts is None:
        raise Unusable("no_timestamps", "frames carry no time (a raw stream?); wrap it in a container first")
    return int(pts)


def _first_frame(container: Any, stream: Any) -> Any:
    import av

    errors = 0
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                errors += 1
                continue
            if frames:
                return frames[0]
    except av.error.FFmpegError as error:
        raise Unusable("no_frames", f"the container breaks off before the first frame: {error.strerror}") from error
    raise Unusable("no_frames", f"no frame could be decoded; {errors} packets refused")
