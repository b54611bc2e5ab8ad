"""Unit vectors put into groups by k-means, the same groups whatever the order of the rows.

Rows are sorted by their keys before anything is drawn, and clusters are numbered by size, so that number 3 of a
dataset stays number 3. Seeding after Arthur and Vassilvitskii (2007, k-means++), then Lloyd's iterations (1982); of
several such tries the one with the least squared distances, since a single one is often caught in a poor place.

>>> clusters({"a": (1.0, 0.0), "b": (0.0, 1.0), "c": (0.9, 0.1)}, 2)
{'a': 0, 'c': 0, 'b': 1}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_ROUNDS = 100
_MOST = 100
_TRIES = 10


def usual_count(rows: int) -> int:
    """sqrt(n / 2) clusters (Mardia, Kent and Bibby 1979, p. 365), at most 100 as LLaVAR has of 50,000 pictures."""
    return max(1, min(_MOST, round(math.sqrt(rows / 2))))


def clusters(vectors: Mapping[str, Sequence[float]], count: int, seed: int = 0) -> dict[str, int]:
    """The cluster of each key: 0 has the most members; between equals the one with the first key comes first."""
    keys = sorted(vectors)
    rows = np.array([vectors[k] for k in keys], np.float64)
    rng = np.random.default_rng(seed)
    tries = [_settled(rows, _seeds(rows, min(count, len(keys)), rng)) for _ in range(_TRIES)]
    found = _nearest(rows, min(tries, key=lambda centres: float(_distances(rows, centres).min(axis=1).sum())))
    members: dict[int, list[str]] = {}
    for key, number in zip(keys, found.tolist(), strict=True):
        members.setdefault(number, []).append(key)
    order = sorted(members.values(), key=lambda group: (-len(group), group[0]))
    return {key: number for number, group in enumerate(order) for key in group}


def _distances(rows: Floats, centres: Floats) -> Floats:
    """Squared Euclidean distances [n, k], never below zero."""
    crossed = rows @ centres.T
    squares = (rows**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)[None, :]
    return np.asarray(np.maximum(0.0, squares - 2 * crossed))


def _nearest(rows: Floats, centres: Floats) -> npt.NDArray[np.int64]:
    return np.asarray(_distances(rows, centres).argmin(axis=1))


def _seeds(rows: Floats, count: int, rng: np.random.Generator) -> Floats:
    """First centres: each drawn with a chance that grows with the squared distance to those drawn before."""
    chosen = [int(rng.integers(len(rows)))]
    while len(chosen) < count:
        far = _distances(rows, rows[chosen]).min(axis=1)
        if far.sum() <= 0:
            break  # fewer different rows than clusters
        chosen.append(int(rng.choice(len(rows), p=far / far.sum())))
    return np.asarray(rows[chosen])


def _settled(rows: Floats, centres: Floats) -> Floats:
    """Centres after Lloyd's iterations; one that loses all its rows stays where it is."""
    before = None
    for _ in range(_ROUNDS):
        now = _nearest(rows, centres)
        if before is not None and (now == before).all():
            break
        before = now
        centres = np.array([rows[now == i].mean(axis=0) if (now == i).any() else c for i, c in enumerate(centres)])
    return centres
