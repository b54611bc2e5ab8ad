"""Rates and means with 95 % confidence intervals, undefined (None) where nothing was counted.

A rate has Wilson's interval (1927), which stays honest at 0 and 1; it takes its cases as independent, so events of one
video make it a little too narrow. Ratios of sums have a bootstrap over videos (Efron 1979), seeded, so that equal input
gives equal bounds.

>>> Rate(9, 10).value, round(Rate(9, 10).low, 3), Rate(0, 0).value
(0.9, 0.596, None)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reelmill.sinks.rate import Rate

__all__ = ["Rate", "Ratio", "ratio"]
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Ratio:
    """A sum over a sum of videos, such as a mean over tubes or an F1, with a bootstrap interval over videos."""

    value: float | None
    low: float | None
    high: float | None
    count: int


def ratio(parts: Sequence[float], wholes: Sequence[float], count: int | None = None) -> Ratio:
    """Sum of `parts` / sum of `wholes`, one of each per video. `count` (default: sum of wholes) is shown beside it."""
    top, below = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    told = round(float(below.sum())) if count is None else count
    if below.sum() == 0:
        return Ratio(None, None, None, told)
    picks = np.random.default_rng(0).integers(0, len(top), (_RESAMPLES, len(top)))
    sums, totals = top[picks].sum(axis=1), below[picks].sum(axis=1)
    values = sums[totals > 0] / totals[totals > 0]
    low, high = np.quantile(values, (0.025, 0.975))
    return Ratio(float(top.sum() / below.sum()), float(low), float(high), told)
