"""Decoded frames of one stream of an open container, pictures or sound alike; what cannot be decoded is counted.

with opened(path) as container:
    for frame in sought(container, container.streams.video[0], 12.5, troubles, "packets"): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reelmill.annotators.decode.frames import Troubles


def frames_of(container: Any, stream: Any, troubles: Troubles, what: str) -> Iterator[Any]:
    """PyAV frames from where the container stands. A packet that cannot be decoded does not end the stream: it is
    counted as one of `what`."""
    import av

    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                troubles.add(f"{what} that could not be decoded")
                continue
            yield from frames
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError as error:
        troubles.add(f"the container breaks off ({error.strerror})")


def sought(container: Any, stream: Any, at_s: float, troubles: Troubles, what: str) -> Iterator[Any]:
    """Frames from where the demuxer lands for `at_s` of the container's own time; none where it cannot seek."""
    import av

    try:
        container.seek(int(at_s / stream.time_base), stream=stream, backward=True)
    except av.error.FFmpegError:
        return
    yield from frames_of(container, stream, troubles, what)
