"""Levels, active spans and onsets of mono samples. Pure: samples in, numbers out.

Onsets are peaks of the spectral flux above an adaptive threshold (Bello et al. 2005, "A tutorial on onset detection in
music signals", sections III-C and III-D), set to the steepest rise of the level near them.

>>> levels(np.full(1600, 0.5, np.float32), 16_000, 0.05).round(1)
array([-6., -6.])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reelmill.schemas.span import Span

Floats = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float32]

LOWEST_DBFS = -120.0

_WINDOW_S, _HOP_S, _FINE_S = 0.032, 0.010, 0.001
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class ActiveRules:
    """A step is active at `over_db` above the clip's noise floor (the level at `floor_share` of its steps), but never
    under `quiet_dbfs`, and always from `loud_dbfs`: sound without a pause has no floor. Gaps up to `bridge_s` are
    bridged, spans under `least_s` dropped. A track with no step above `silence_dbfs` is silent."""

    step_s: float = 0.05
    silence_dbfs: float = -60.0
    floor_share: float = 0.1
    over_db: float = 12.0
    quiet_dbfs: float = -55.0
    loud_dbfs: float = -35.0
    bridge_s: float = 0.2
    least_s: float = 0.1


@dataclass(frozen=True, slots=True)
class OnsetRules:
    """The flux must pass `above` plus `times` its median within `around_s` and be the largest within `apart_s`; there
    the level must rise by `rise_db`, to over `least_dbfs`: an abrupt end has flux too. `compress` is the gain before
    the logarithm."""

    above: float = 0.015
    times: float = 2.0
    around_s: float = 0.2
    apart_s: float = 0.06
    rise_db: float = 3.0
    least_dbfs: float = -50.0
    compress: float = 100.0


def levels(samples: Samples, rate_hz: int, step_s: float) -> Floats:
    """RMS level in dBFS of each step; the last one may be short. `LOWEST_DBFS` for digital silence."""
    step = max(1, round(step_s * rate_hz))
    if not len(samples):
        return np.zeros(0)
    starts = np.arange(0, len(samples), step)
    power = np.add.reduceat(np.square(samples, dtype=np.float64), starts) / np.diff([*starts, len(samples)])
    return np.asarray(np.maximum(10 * np.log10(np.maximum(power, 1e-30)), LOWEST_DBFS))


def noise_floor(level_dbfs: Floats, rules: ActiveRules) -> float:
    """The level that all but `floor_share` of the steps reach; `LOWEST_DBFS` without steps."""
    return float(np.quantile(level_dbfs, rules.floor_share)) if len(level_dbfs) else LOWEST_DBFS


def active_spans(level_dbfs: Floats, end_s: float, rules: ActiveRules) -> tuple[Span, ...]:
    """Spans in which the level stands above the noise floor: energy, and no claim of what sounds."""
    least = min(max(noise_floor(level_dbfs, rules) + rules.over_db, rules.quiet_dbfs), rules.loud_dbfs)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], level_dbfs >= least, [0]])))
    found: list[tuple[float, float]] = []
    for first, stop in edges.reshape(-1, 2).tolist():
        start_s, stop_s = first * rules.step_s, min(stop * rules.step_s, end_s)
        if found and start_s - found[-1][1] <= rules.bridge_s + 1e-9:
            start_s = found.pop()[0]
        found.append((start_s, stop_s))
    spans = [Span(round(a, _DIGITS), round(b, _DIGITS)) for a, b in found if b - a >= rules.least_s - 1e-9]
    return tuple(spans)


def flux(samples: Samples, rate_hz: int, compress: float) -> Floats:
    """Spectral flux per hop: rise of log-compressed magnitudes, mean over bins; value i belongs to time i * hop."""
    width, hop = round(_WINDOW_S * rate_hz), round(_HOP_S * rate_hz)
    if not len(samples):
        return np.zeros(0)
    padded = np.pad(samples.astype(np.float64), (width // 2 + hop, width))
    frames = np.lib.stride_tricks.sliding_window_view(padded, width)[: len(samples) + hop : hop]
    window = np.hanning(width + 2)[1:-1]
    spectra = np.log1p(compress * np.abs(np.fft.rfft(frames * window)) * (2 / window.sum()))
    return np.asarray(np.maximum(np.diff(spectra, axis=0), 0.0).mean(axis=1))


def onsets(samples: Samples, rate_hz: int, rules: OnsetRules) -> tuple[float, ...]:
    """Times in seconds at which something sets in, rising."""
    from scipy.ndimage import maximum_filter1d, median_filter

    rise = flux(samples, rate_hz, rules.compress)
    if not len(rise):
        return ()
    least = rules.above + rules.times * median_filter(rise, _odd(2 * rules.around_s / _HOP_S), mode="nearest")
    highest = maximum_filter1d(rise, _odd(2 * rules.apart_s / _HOP_S), mode="nearest")
    fine = Rises(levels(samples, rate_hz, _FINE_S))
    times: list[float] = []
    for at in np.flatnonzero((rise >= highest) & (rise > least)).tolist():
        place = fine.steepest(round(at * _HOP_S / _FINE_S))
        before_dbfs, after_dbfs = fine.around(place)
        risen = after_dbfs > rules.least_dbfs and after_dbfs - before_dbfs >= rules.rise_db
        if risen and (not times or place * _FINE_S - times[-1] >= rules.apart_s):
            times.append(round(place * _FINE_S, 3))
    return tuple(times)


def _odd(count: float) -> int:
    return 2 * (round(count) // 2) + 1


class Rises:
    """Power on a grid of 1 ms, and how it changes from just before to just after a place."""

    def __init__(self, fine_dbfs: Floats) -> None:
        self.total = np.concatenate([[0.0], np.cumsum(10 ** (fine_dbfs / 10))])
        self.last = len(fine_dbfs)

    def _mean(self, start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64], over: int) -> Floats:
        """Mean power from start to stop; what lies outside of the sound counts as silence."""
        inside = self.total[np.clip(stop, 0, self.last)] - self.total[np.clip(start, 0, self.last)]
        return np.asarray(np.maximum(inside / over, 1e-12))

    def steepest(self, centre: int) -> int:
        """The place within a window of the flux around `centre` at which the power of 5 ms rises most."""
        reach, over = round(_WINDOW_S / _FINE_S), 5
        places = np.arange(max(0, centre - reach), min(self.last, centre + reach) + 1)
        rise = self._mean(places, places + over, over) - self._mean(places - over, places, over)
        return int(places[int(np.argmax(rise))])

    def around(self, place: int) -> tuple[float, float]:
        """Level in dBFS of the 20 ms before and after a place."""
        at, over = np.array([place]), 20
        before, after = self._mean(at - over, at, over), self._mean(at, at + over, over)
        return float(10 * np.log10(before[0])), float(10 * np.log10(after[0]))
