"""How sure a mean is, and whether two runs differ: everything is resampled by source file.

Clips of one file show one place, light and set of things, and questions about one clip share its pixels, so rows are
not independent. The bootstrap draws whole files (cluster bootstrap; Field and Welsh, JRSS B 69, 2007, section 3) and
takes percentiles; the paired test flips the sign of a file's summed difference (Fisher's randomisation test). Seeds
are fixed. With few files an interval is too narrow (Cameron, Gelbach and Miller 2008), so their number is always told.

>>> mean_of([1.0, 0.0, 1.0, 1.0], ["a", "a", "b", "c"]).mean
0.75
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from reelmill.schemas.errors import BadInput

RESAMPLES = 2_000
"""Draws. An end of a normal mean's 95 % interval then has an error of 1.5 % of the interval's width."""
LEVEL = 0.95
FEW = 10
"""Below so many sources an interval is marked as too narrow to lean on. The number is ours."""
_EXACT = 12
"""Up to so many sources all 2^n signs are tried."""
_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its 95 % interval. `low` and `high` are None with one source: nothing can be said of others."""

    mean: float
    low: float | None
    high: float | None
    rows: int
    sources: int


@dataclass(frozen=True, slots=True)
class Paired:
    """The mean of one run less that of the other on the same rows, and how often chance alone would show as much."""

    difference: Mean
    p: float


def mean_of(
    values: Sequence[float], sources: Sequence[str], weights: Sequence[float] | None = None, seed: int = 0
) -> Mean:
    """The (weighted) mean of `values` and its interval over `sources`, one for each value.

    Raises BadInput without a value, or where lengths differ.
    """
    sums, mass = _by_source(values, sources, weights)
    mean = float(sums.sum() / mass.sum())
    if len(sums) < 2:
        return Mean(mean, None, None, len(values), len(sums))
    low, high = np.quantile(_resampled(sums, mass, seed), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Mean(mean, min(mean, float(low)), max(mean, float(high)), len(values), len(sums))


def paired(
    one: Sequence[float],
    other: Sequence[float],
    sources: Sequence[str],
    weights: Sequence[float] | None = None,
    seed: int = 0,
) -> Paired:
    """Mean of `one` less mean of `other`, row by row. Raises BadInput as `mean_of`."""
    if len(one) != len(other):
        raise BadInput("paired values", seen=f"{len(one)} and {len(other)}", do="give the same rows of both")
    difference = [a - b for a, b in zip(one, other, strict=True)]
    found = mean_of(difference, sources, weights, seed)
    sums, _ = _by_source(difference, sources, weights)
    return Paired(found, _chance(sums, seed))


def _by_source(
    values: Sequence[float], sources: Sequence[str], weights: Sequence[float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums and weights [sources], in the order of their names."""
    if not values or len(values) != len(sources) or (weights is not None and len(weights) != len(values)):
        raise BadInput("values to average", seen=f"{len(values)} of {len(sources)} sources", do="give one source each")
    own = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    place = np.unique(list(sources), return_inverse=True)[1]
    return np.bincount(place, own * np.asarray(values, np.float64)), np.bincount(place, own)


def _resampled(sums: np.ndarray, mass: np.ndarray, seed: int) -> np.ndarray:
    """Means of RESAMPLES draws of as many sources, with replacement."""
    rng, count = np.random.default_rng(seed), len(sums)
    step = max(1, _CHUNK // count)
    means = []
    for start in range(0, RESAMPLES, step):
        drawn = rng.integers(0, count, (min(step, RESAMPLES - start), count))
        means.append(sums[drawn].sum(1) / mass[drawn].sum(1))
    return np.concatenate(means)


def _chance(sums: np.ndarray, seed: int) -> float:
    """Two-sided p: the share of sign flips whose sum is as far from 0 as that which was seen."""
    moved = sums[sums != 0]
    if not len(moved):
        return 1.0
    seen = abs(moved.sum()) * (1 - 1e-12)
    if len(moved) <= _EXACT:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(moved))))
        return float((np.abs(signs @ moved) >= seen).mean())
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(moved))
    found = 0
    for start in range(0, RESAMPLES, step):
        signs = rng.choice((-1.0, 1.0), (min(step, RESAMPLES - start), len(moved)))
        found += int((np.abs(signs @ moved) >= seen).sum())
    return (found + 1) / (RESAMPLES + 1)
