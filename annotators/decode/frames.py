"""The decode seam: frames of a span in presentation order, one at a time, for several consumers of one decode.

Everything that must mean the same whatever library decodes stands here: which frames belong to a span, their times, the
pixel limit, what is refused and what is only reported. A backend (`pyav`, `decord_`, `torchcodec_`) gives raw pictures.

>>> for frame in open_frames("clip.mp4", Span(1.0, 2.0)):          # doctest: +SKIP
...     small = frame.rgb(short_side_px=224)                       # only while `frame` is the current one
>>> watch("clip.mp4", Span(1.0, 2.0), [Motion()]).results          # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from reelmill.schemas.errors import Fault, NotFound, Unusable
from reelmill.schemas.media import DecodeStatus
from reelmill.schemas.span import Span

Rgb = npt.NDArray[np.uint8]

MAX_FRAME_PX = 64_000_000
BACKENDS = {"pyav": "pyav", "decord": "decord_", "torchcodec": "torchcodec_"}

# The last digits of pts * time_base differ between libraries; a nanosecond is finer than any time base in use.
_TIME_DIGITS = 9
_NO_TIME = "frames without a time left out"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one decode may cost. Time and memory are held from outside, by `Isolated`."""

    max_frame_px: int = MAX_FRAME_PX


@dataclass(slots=True)
class Troubles:
    """What went wrong while a decode went on: reason -> how often. Ends in `DecodeStatus.note`."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    @property
    def note(self) -> str:
        return "; ".join(f"{what}: {times}" for what, times in sorted(self.counts.items()))


@dataclass(frozen=True, slots=True)
class Picture:
    """A raw decoded picture from a backend.

    `time_s` is on the container's own clock; `duration_s` > 0 is its own, used where no later frame comes; sizes are as
    shown; `pixels(width, height)` converts to RGB of exactly that shown size; `damaged` where the decoder says so.
    """

    time_s: float | None
    duration_s: float
    width_px: int
    height_px: int
    pixels: Callable[[int, int], Rgb]
    damaged: bool = False


class Medium(Protocol):
    """An opened file. `origin_s` is the time of its first presented frame on the container's clock.

    `pictures(from_s)`, asked for once, yields in presentation order from a key frame at or before `from_s`; from the
    beginning for None.
    """

    origin_s: float

    def pictures(self, from_s: float | None) -> Iterator[Picture]: ...

    def close(self) -> None: ...


class Frame:
    """One presented frame of a decoded span. Pixels may be asked for only while the frame is the current one.

    `index` counts presented frames of the span from 0; `at_s` is clip time (0 = the span's first presented frame);
    `source_s` is source time (0 = the medium's first presented frame); `duration_s` lasts until the next frame.
    """

    __slots__ = ("_cache", "_pixels", "at_s", "duration_s", "height_px", "index", "source_s", "width_px")

    def __init__(self, index: int, at_s: float, source_s: float, duration_s: float, picture: Picture) -> None:
        self.index, self.at_s, self.source_s, self.duration_s = index, at_s, source_s, duration_s
        self.width_px, self.height_px = picture.width_px, picture.height_px
        self._pixels: Callable[[int, int], Rgb] | None = picture.pixels
        self._cache: dict[tuple[int, int], Rgb] = {}

    @property
    def end_s(self) -> float:
        """Clip time at which the next frame takes over."""
        return self.at_s + self.duration_s

    def rgb(self, short_side_px: int | None = None) -> Rgb:
        """RGB uint8 (H, W, 3) in the shown orientation, read-only, cached per size.

        Converted directly to the size whose short side is `short_side_px`; never enlarged. Raises Fault once the
        decoder has moved on.
        """
        size = fitted(self.width_px, self.height_px, short_side_px)
        if size not in self._cache:
            if self._pixels is None:
                raise Fault(
                    f"frame {self.index}", seen="pixels asked for after the decoder moved on", do="copy in see()"
                )
            pixels = self._pixels(*size)
            pixels.flags.writeable = False  # several consumers see the same array
            self._cache[size] = pixels
        return self._cache[size]

    def release(self) -> None:
        """Let go of the decoded picture and its converted sizes."""
        self._pixels = None
        self._cache = {}


class Consumer(Protocol):
    """What looks at the frames of a decode. `done` returns a plain, picklable value."""

    def see(self, frame: Frame) -> None: ...

    def done(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Watched:
    """One decode and what its consumers made of it, in their order. `duration_s`: last time plus its frame."""

    status: DecodeStatus
    duration_s: float
    num_frames: int
    width_px: int
    height_px: int
    results: tuple[Any, ...]


def fitted(width_px: int, height_px: int, short_side_px: int | None) -> tuple[int, int]:
    """(width, height) with the short side brought down to `short_side_px`; the size itself where that would enlarge."""
    short = min(width_px, height_px)
    if short_side_px is None or short_side_px >= short:
        return width_px, height_px
    scale = short_side_px / short
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))


def shown_size(coded_width_px: int, coded_height_px: int, sample_aspect: float, transposed: bool) -> tuple[int, int]:
    """Size after pixel aspect (one side grows, none shrinks) and then rotation by a quarter turn."""
    width, height = coded_width_px, coded_height_px
    if sample_aspect > 1:
        width = round(width * sample_aspect)
    elif 0 < sample_aspect < 1:
        height = round(height / sample_aspect)
    return (height, width) if transposed else (width, height)


def check_size(width_px: int, height_px: int, limits: Limits) -> None:
    """Raises Unusable("too_many_pixels") over the limit."""
    if width_px * height_px > limits.max_frame_px:
        seen = f"{width_px} x {height_px} = {width_px * height_px / 1e6:.1f} Mpx"
        raise Unusable("too_many_pixels", f"{seen}; the limit is {limits.max_frame_px / 1e6:.1f} Mpx")


def open_medium(path: str, backend: str, limits: Limits, troubles: Troubles) -> Medium:
    """Open a file with one backend. Raises Unusable for bad media, NotFound for an unknown or missing backend."""
    if backend not in BACKENDS:
        raise NotFound(f"decode backend {backend!r}", seen=", ".join(sorted(BACKENDS)), do="choose one of these")
    module = importlib.import_module(f"reelmill.annotators.decode.{BACKENDS[backend]}")
    medium: Medium = module.open_medium(path, limits, troubles)
    return medium


def open_frames(
    path: str,
    span: Span | None = None,
    *,
    backend: str = "pyav",
    limits: Limits | None = None,
    troubles: Troubles | None = None,
) -> Iterator[Frame]:
    """Frames of `span` (source seconds, half-open by PTS; None: all) in presentation order, times rising strictly.

    Raises Unusable where the file cannot be read as video: see `headers.read_header`; `resolution_changed` where the
    shown size changes inside the span; `no_timestamps` where there are none. What is only odd goes to `troubles`.
    """
    limits, troubles = limits or Limits(), troubles if troubles is not None else Troubles()
    with closing(open_medium(path, backend, limits, troubles)) as medium:
        yield from _frames(medium, span, limits, troubles)


def _frames(medium: Medium, span: Span | None, limits: Limits, troubles: Troubles) -> Iterator[Frame]:
    whole = span or Span(0.0, float("inf"))
    from_s = medium.origin_s + whole.start_s if whole.start_s > 0 else None
    timed = _rising(medium.pictures(from_s), medium.origin_s, troubles)
    first_s, size = 0.0, (0, 0)
    for index, (source_s, duration_s, picture) in enumerate(_lasting(_inside(timed, whole), whole.end_s)):
        if index == 0:
            first_s, size = source_s, (picture.width_px, picture.height_px)
            check_size(*size, limits)
        _same_size(size, picture, source_s)
        if picture.damaged:
            troubles.add("damaged frames")
        frame = Frame(index, round(source_s - first_s, _TIME_DIGITS), source_s, duration_s, picture)
        yield frame
        frame.release()


def _rising(pictures: Iterator[Picture], origin_s: float, troubles: Troubles) -> Iterator[tuple[float, Picture]]:
    """Pictures with their source time. Those without one, or not later than the last, are counted and left out."""
    last_s, size = -1.0, (0, 0)
    for picture in pictures:
        if picture.time_s is None:
            troubles.add(_NO_TIME)
            continue
        source_s = round(picture.time_s - origin_s, _TIME_DIGITS)
        if source_s <= last_s:
            _same_size(size, picture, last_s)  # another stream was appended: the size is the truer reason
            troubles.add("frames whose time did not rise left out")
            continue
        last_s, size = source_s, (picture.width_px, picture.height_px)
        yield source_s, picture


def _same_size(size: tuple[int, int], picture: Picture, at_s: float) -> None:
    """Raises Unusable("resolution_changed"): boxes and tubes of one clip need one frame size."""
    if (picture.width_px, picture.height_px) != size:
        now = f"{picture.width_px}x{picture.height_px} at {at_s:.3f} s"
        raise Unusable("resolution_changed", f"{size[0]}x{size[1]} became {now}")


def _inside(timed: Iterator[tuple[float, Picture]], span: Span) -> Iterator[tuple[float, Picture]]:
    """From the span's first frame to the first one past its end, which still tells how long the last one lasted."""
    for source_s, picture in timed:
        if source_s >= span.start_s:
            yield source_s, picture
        if source_s >= span.end_s:
            return


def _lasting(timed: Iterator[tuple[float, Picture]], end_s: float) -> Iterator[tuple[float, float, Picture]]:
    """(source time, seconds until the next frame, picture) of every frame before `end_s`."""
    held: tuple[float, Picture] | None = None
    for source_s, picture in timed:
        if held is not None:
            yield held[0], round(source_s - held[0], _TIME_DIGITS), held[1]
        held = (source_s, picture)
    if held is not None and held[0] < end_s:
        yield held[0], held[1].duration_s, held[1]


def watch(
    path: str,
    span: Span | None,
    consumers: Sequence[Consumer],
    *,
    backend: str = "pyav",
    limits: Limits | None = None,
    expected: int | None = None,
) -> Watched:
    """Decode `span` once and let every consumer see every frame; frames are not kept.

    `expected` frames (a unit's packet count; None: the packets of the span are counted here) against those that came
    decide `status.complete`. Raises Unusable as `open_frames` does, and "no_frames" where nothing could be decoded.
    """
    troubles = Troubles()
    if expected is None:
        expected = importlib.import_module("reelmill.annotators.decode.packets").scan(path).expected(span)
    count, end_s, size = 0, 0.0, (0, 0)
    for frame in open_frames(path, span, backend=backend, limits=limits, troubles=troubles):
        for consumer in consumers:
            consumer.see(frame)
        count, end_s, size = frame.index + 1, frame.end_s, (frame.width_px, frame.height_px)
    if count == 0:
        raise Unusable(
            _why_nothing(troubles), f"0 of {expected} frames decoded; {troubles.note or 'no error reported'}"
        )
    complete = expected is None or count >= expected
    status = DecodeStatus(complete, count, expected, troubles.note)
    return Watched(status, round(end_s, _TIME_DIGITS), count, *size, tuple(consumer.done() for consumer in consumers))


def _why_nothing(troubles: Troubles) -> str:
    return "no_timestamps" if _NO_TIME in troubles.counts else "no_frames"
