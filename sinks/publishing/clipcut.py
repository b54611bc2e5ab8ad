"""Cutting a clip out of its source as an mp4 whose bytes depend on the source and the span alone.

One x264 thread and bit-exact flags: other thread counts give other bytes. The picture is what a person sees: rotation
and pixel aspect applied, sound left out, times from the clip's first frame. Odd sizes gain a line at the far side, so
that boxes in shown pixels still hold.
"""

from __future__ import annotations

import errno
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reelmill.schemas.errors import Corrupt, NotFound
from reelmill.schemas.keys import child_key, file_digest, micros
from reelmill.schemas.media import MediaRef
from reelmill.schemas.points import reach
from reelmill.schemas.span import Span

CRF = 20
TIMEOUT_S = 600.0
_BITS_PER_PIXEL = 0.1
_ASSUMED_FPS = 30.0
_SECONDS_PER_MEGAPIXEL_FRAME = 0.03


@dataclass(frozen=True, slots=True)
class Cost:
    """What cutting would take, guessed from sizes and durations at 30 fps before any frame is decoded."""

    clips: int
    bytes: int
    seconds: float


def cost(medium: MediaRef) -> Cost:
    """Guess for one clip; nothing for a picture."""
    if medium.span is None:
        return Cost(0, 0, 0.0)
    pixels = medium.width_px * medium.height_px * medium.duration_s * _ASSUMED_FPS
    return Cost(1, int(pixels * _BITS_PER_PIXEL / 8), pixels / 1e6 * _SECONDS_PER_MEGAPIXEL_FRAME)


@dataclass
class Cutter:
    """Cuts each clip once into `folder` and hands out its bytes; sources are checked against their digest once."""

    folder: Path
    _checked: dict[tuple[str, str], Path] = field(default_factory=dict)

    def mp4(self, medium: MediaRef) -> bytes:
        """The mp4 of a clip. Raises NotFound where the source is gone, Corrupt where it changed or cannot be cut."""
        assert medium.span is not None, "a picture has no clip to cut"
        source = self._source(medium)
        name = child_key(medium.digest, "cut", micros(medium.span.start_s), micros(medium.span.end_s))
        path = self.folder / f"{name}.mp4"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            cut(source, medium.span, medium.width_px, medium.height_px, path)
        return path.read_bytes()

    def _source(self, medium: MediaRef) -> Path:
        known = (medium.uri, medium.digest)
        if known not in self._checked:
            path = Path(medium.uri.removeprefix("file://"))
            if not path.is_file():
                do = "put the file back, or pack with media frames"
                raise NotFound(f"source {medium.uri!r}", seen="no such file", do=do)
            digest = file_digest(path)
            if digest != medium.digest:
                seen = f"sha256 {digest[:12]}, the dataset was made from {medium.digest[:12]}"
                raise Corrupt(f"source {medium.uri!r}", seen=seen, do="put the old file back, or run the recipe again")
            self._checked[known] = path
        return self._checked[known]


def cut(source: Path, span: Span, width_px: int, height_px: int, target: Path) -> None:
    """Encode `[start_s, end_s)` of a video (seconds from its first presented frame) to `target`.

    Raises Corrupt where ffmpeg fails or gives no frame.
    """
    import ffmpeg

    # The name goes in as a `file:` URL so that no file name is read as an option or another protocol.
    start = span.start_s + _first_frame_s(source)
    read = ffmpeg.input(f"file:{source.absolute()}", ss=f"{start:.6f}", t=f"{span.duration_s:.6f}")
    shown = read.video.filter("scale", width_px, height_px).filter("setsar", 1)
    even = shown.filter("pad", "ceil(iw/2)*2", "ceil(ih/2)*2")
    aside = target.with_suffix(".part")
    written = ffmpeg.output(even, f"file:{aside.absolute()}", **_ENCODING).global_args("-nostdin", "-v", "error")
    told = _run(ffmpeg.compile(written, overwrite_output=True), source)
    if not _has_frames(aside):
        raise Corrupt(f"cut of {source}", seen=f"no frame in [{span.start_s}, {span.end_s}); {told}", do="verify it")
    reach("clip.cut")
    aside.rename(target)
    reach("clip.renamed")


_ENCODING: dict[str, Any] = {
    "format": "mp4",
    "vcodec": "libx264",
    "crf": CRF,
    "preset": "medium",
    "pix_fmt": "yuv420p",
    "threads": 1,
    "fps_mode": "passthrough",
    "map_metadata": -1,
    "fflags": "+bitexact",
    "flags:v": "+bitexact",
    "movflags": "+faststart",
}


def _first_frame_s(source: Path) -> float:
    """Start of the video after the container's own: ffmpeg seeks from the latter, our seconds count from the former."""
    import ffmpeg

    try:
        told = ffmpeg.probe(f"file:{source.absolute()}", select_streams="v:0")
    except ffmpeg.Error as error:
        raise Corrupt(f"source {source}", seen=_last_line(error.stderr), do="look at it with ffprobe") from error
    video = float(told["streams"][0].get("start_time", 0.0)) if told["streams"] else 0.0
    return max(0.0, video - float(told["format"].get("start_time", video)))


def _run(command: list[str], source: Path) -> str:
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise Corrupt(f"cut of {source}", seen=f"still running after {TIMEOUT_S} s", do="pack frames") from error
    if os.strerror(errno.ENOSPC).encode() in done.stderr:  # a disk's fault is not the video's
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if done.returncode != 0:
        raise Corrupt(f"cut of {source}", seen=_last_line(done.stderr), do="pack with media frames, or verify it")
    return _last_line(done.stderr)


def _has_frames(path: Path) -> bool:
    import ffmpeg

    told = ffmpeg.probe(f"file:{path.absolute()}", count_packets=None)
    return any(int(s.get("nb_read_packets", 0)) > 0 for s in told["streams"])


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "no message"
