"""What a container declares of itself, before any frame is decoded: the columns that ffprobe would give.

Read with PyAV, as the frames are: a process of ffprobe for every file cost more than all else that identifies it, and
was of another FFmpeg than the one that decodes (decision 0017). A test holds it against ffprobe.

>>> probe("clip.mp4", read_header("clip.mp4", Limits())).codec          # doctest: +SKIP
'h264'
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from reelmill.annotators.decode.headers import Header, opened
from reelmill.schemas.media import Probe

_DIGITS = 6
_MICROSECONDS = 1_000_000


def probe(path: str, header: Header) -> Probe:
    """Columns of a local video file, of the stream that `header` chose. Raises Unusable as `opened` does."""
    with opened(path) as container:
        stream = container.streams[header.stream_index]
        codec = stream.codec_context
        return Probe(
            container=container.format.name,
            codec=codec.codec.canonical_name,
            pixel_format=codec.pix_fmt or "unknown",
            coded_width_px=codec.width,
            coded_height_px=codec.height,
            rotation_deg=header.rotation_deg,
            sample_aspect=_number(stream.sample_aspect_ratio) or 1.0,
            declared_fps=_number(stream.average_rate),
            declared_frames=stream.frames or None,
            declared_duration_s=_duration_s(container, stream),
            start_s=_seconds(stream.start_time, stream) or 0.0,
            video_streams=sum(not s.disposition & s.disposition.attached_pic for s in container.streams.video),
            audio_streams=len(container.streams.audio),
        )


def _duration_s(container: Any, stream: Any) -> float | None:
    """The stream's own, else the container's."""
    own = _seconds(stream.duration, stream)
    if own is None and container.duration:
        return float(round(container.duration / _MICROSECONDS, _DIGITS))
    return own


def _seconds(ticks: int | None, stream: Any) -> float | None:
    """At whole microseconds, as FFmpeg's tools print them."""
    return None if ticks is None else round(float(ticks * stream.time_base), _DIGITS)


def _number(ratio: Fraction | None) -> float | None:
    return float(ratio) if ratio else None
