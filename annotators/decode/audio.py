"""The sound of a clip's span as mono float samples at 16 kHz, placed by presentation time. Runs in the decode child.

Audio and video carry clocks of their own: a track may begin before the first picture, end early, or have holes. Each
run of frames is placed where its own PTS says, against the first presented *picture*; what no frame covers stays zero.

>>> read_audio("clip.mp4", Span(1.0, 3.0)).samples.shape          # doctest: +SKIP
(32000,)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reelmill.annotators.decode import mp4
from reelmill.annotators.decode.frames import Limits, Troubles
from reelmill.annotators.decode.headers import opened, read_header
from reelmill.annotators.decode.stream import frames_of, sought
from reelmill.schemas.errors import Unusable
from reelmill.schemas.span import Span

Samples = npt.NDArray[np.float32]

RATE_HZ = 16_000
MOST_S = 120.0
"""Seconds that are read where no span is given; units are shorter."""

_RATES_HZ = (1_000, 768_000)
_MOST_CHANNELS = 64
_JUMP_S = 0.01
_AROUND_S = 0.1
_PACKETS = "audio packets"
_EARLIER_S = (1.0, 5.0, 31.0)  # the first second warms a decoder up; some indexes point later than asked for


@dataclass(frozen=True, slots=True)
class Audio:
    """`samples` float32 [n] in [-1, 1], mean of the channels; `covered_s` seconds of them came from the track.

    `has_track` is False where the file has no audio stream: `samples` is empty then.
    """

    samples: Samples
    covered_s: float
    has_track: bool
    codec: str = ""
    sample_rate_hz: int = 0
    channels: int = 0
    note: str = ""


def read_audio(path: str, span: Span | None) -> Audio:
    """Sound of `span` (source seconds from the first presented picture; in a sound file, from its first sample).

    Raises Unusable as `headers.read_header` does, and encrypted, unknown_codec, odd_sound, no_sound_decoded.
    """
    origin_s = _origin_s(path)
    with opened(path) as container:
        streams = container.streams.audio
        if not streams:
            return Audio(np.zeros(0, np.float32), 0.0, has_track=False)
        stream = max(streams, key=lambda s: (bool(s.disposition & s.disposition.default), -s.index))
        _check(path, stream)
        index = stream.index
    return _Track(path, index, origin_s).read(span)


def _origin_s(path: str) -> float | None:
    """Time of the first presented picture on the container's clock; None in a file of sound alone."""
    try:
        return read_header(path, Limits()).origin_s
    except Unusable as refused:
        if refused.reason == "audio_only":
            return None
        raise


def _check(path: str, stream: Any) -> None:
    scheme = mp4.encryption_scheme(Path(path))
    if scheme:
        raise Unusable("encrypted", f"Common Encryption, scheme {scheme}; the key is not ours")
    if stream.codec_context is None:
        raise Unusable("unknown_codec", f"audio stream {stream.index} names a codec that this FFmpeg does not know")


@dataclass(slots=True)
class _Run:
    """Frames without a gap: `at_s` of the first sample, and mono pieces at the track's own rate."""

    at_s: float
    rate_hz: int
    pieces: list[Samples] = field(default_factory=list)
    count: int = 0

    @property
    def end_s(self) -> float:
        return self.at_s + self.count / self.rate_hz

    def add(self, piece: Samples) -> None:
        self.pieces.append(piece)
        self.count += len(piece)

    def resampled(self) -> Samples:
        """At 16 kHz, without delay: a symmetric filter (scipy.signal.resample_poly)."""
        from scipy.signal import resample_poly

        whole = np.concatenate(self.pieces)
        shared = math.gcd(RATE_HZ, self.rate_hz)
        up, down = RATE_HZ // shared, self.rate_hz // shared
        return whole if up == down else np.asarray(resample_poly(whole, up, down), np.float32)


class _Track:
    """One audio stream of a file. `origin_s` None: time 0 is the first sample."""

    def __init__(self, path: str, index: int, origin_s: float | None) -> None:
        self.path, self.index, self.origin_s = path, index, origin_s
        self.troubles, self._stack = Troubles(), ExitStack()
        self.codec, self.rate_hz, self.channels = "", 0, 0

    def read(self, span: Span | None) -> Audio:
        start_s, end_s = (span.start_s, span.end_s) if span else (0.0, MOST_S)
        with self._stack:
            runs = self._runs(start_s, end_s)
        if span is None:
            end_s = min(MOST_S, max((run.end_s for run in runs), default=0.0))
        samples, covered = _placed(runs, start_s, end_s)
        if not covered.any() and self.troubles.counts:
            raise Unusable("no_sound_decoded", f"no sample of [{start_s:.3f}, {end_s:.3f}) s; {self.troubles.note}")
        told = (self.codec, self.rate_hz, self.channels, self.troubles.note)
        return Audio(samples, float(covered.sum()) / RATE_HZ, True, *told)

    def _runs(self, start_s: float, end_s: float) -> list[_Run]:
        runs: list[_Run] = []
        for at_s, rate_hz, mono in self._pieces(start_s):
            if at_s > end_s + _AROUND_S:
                break
            if at_s + len(mono) / rate_hz < start_s - _AROUND_S:
                continue
            if not runs or runs[-1].rate_hz != rate_hz or abs(at_s - runs[-1].end_s) > _JUMP_S:
                runs.append(_Run(at_s, rate_hz))
            runs[-1].add(mono)
        return runs

    def _pieces(self, start_s: float) -> Iterator[tuple[float, int, Samples]]:
        """(source time, rate, mono samples) of each decoded frame; one without a time follows on the one before."""
        next_s = 0.0
        for frame in self._frames_for(start_s):
            mono = _mono(frame)
            if frame.pts is not None:
                clock_s = float(frame.pts * frame.time_base)
                self.origin_s = clock_s if self.origin_s is None else self.origin_s
                next_s = clock_s - self.origin_s
            self.rate_hz, self.channels = int(frame.sample_rate), len(frame.layout.channels)
            yield next_s, self.rate_hz, mono
            next_s += len(mono) / self.rate_hz

    def _frames_for(self, start_s: float) -> Iterator[Any]:
        """Decoded frames from one at or before `start_s`; from the first one where the demuxer cannot go there."""
        wanted_s = (self.origin_s or 0.0) + start_s
        for earlier_s in _EARLIER_S if start_s > _EARLIER_S[0] else ():
            frames = sought(*self._open(), wanted_s - earlier_s, self.troubles, _PACKETS)
            first = next(frames, None)
            if first is not None and first.pts is not None and first.pts * first.time_base <= wanted_s:
                yield first
                yield from frames
                return
        self.troubles.counts.clear()
        yield from frames_of(*self._open(), self.troubles, _PACKETS)

    def _open(self) -> tuple[Any, Any]:
        self._stack.close()
        container = self._stack.enter_context(opened(self.path))
        stream = container.streams[self.index]
        stream.codec_context.thread_count = 1
        self.codec = stream.codec_context.name
        return container, stream


def _mono(frame: Any) -> Samples:
    """Mean of a frame's channels, in [-1, 1]. Raises Unusable("odd_sound") for a rate or channel count past reason."""
    channels, rate_hz = len(frame.layout.channels), int(frame.sample_rate)
    if not (1 <= channels <= _MOST_CHANNELS and _RATES_HZ[0] <= rate_hz <= _RATES_HZ[1]):
        raise Unusable("odd_sound", f"{channels} channels at {rate_hz} Hz; 1 to {_MOST_CHANNELS} at {_RATES_HZ} Hz")
    raw = frame.to_ndarray()
    planes = raw if frame.format.is_planar else raw.reshape(-1, channels).T
    mono = _unit(planes).mean(axis=0, dtype=np.float64)
    return np.asarray(np.clip(np.nan_to_num(mono), -1.0, 1.0), np.float32)


def _unit(raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Samples of any format as fractions of full scale."""
    if raw.dtype.kind == "f":
        return raw
    if raw.dtype == np.uint8:
        return (raw.astype(np.float32) - 128) / 128
    return raw / np.float64(2 ** (8 * raw.dtype.itemsize - 1))


def _placed(runs: list[_Run], start_s: float, end_s: float) -> tuple[Samples, npt.NDArray[np.bool_]]:
    """Runs laid on the span's own time line, and which samples one of them covers; later runs cover earlier ones."""
    count = max(0, round((end_s - start_s) * RATE_HZ))
    samples, covered = np.zeros(count, np.float32), np.zeros(count, np.bool_)
    for run in runs:
        piece = run.resampled()
        first = round((run.at_s - start_s) * RATE_HZ)
        here = slice(max(0, first), max(0, min(count, first + len(piece))))
        if here.stop > here.start:
            samples[here] = np.clip(piece[here.start - first : here.stop - first], -1.0, 1.0)  # filters overshoot
            covered[here] = True
    return samples, covered
