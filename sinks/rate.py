"""A rate with Wilson's 95 % confidence interval (1927), which stays honest at 0 and 1; undefined (None) for no cases.

Here, and not in `pipelines`, because labels are scored there and audited here; it is no row, so not in `schemas`. It
takes its cases as independent, so several samples of one video make it a little too narrow.

>>> Rate(9, 10).value, round(Rate(9, 10).low, 3), Rate(0, 0).value
(0.9, 0.596, None)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` of `count` cases."""

    hits: int
    count: int

    @property
    def value(self) -> float | None:
        return self.hits / self.count if self.count else None

    @property
    def low(self) -> float | None:
        return self._wilson(-1)

    @property
    def high(self) -> float | None:
        return self._wilson(1)

    def _wilson(self, side: int) -> float | None:
        return wilson(self.hits / self.count, self.count)[side > 0] if self.count else None


def wilson(share: float, count: float) -> tuple[float, float]:
    """Bounds of a share of `count` cases, which need not be whole: the effective size of a weighted sample is not.

    >>> wilson(1.0, 10)[1]
    1.0
    """
    middle = share + _Z**2 / (2 * count)
    spread = _Z * math.sqrt(max(share * (1 - share), 0.0) / count + _Z**2 / (4 * count**2))
    low, high = ((middle + side * spread) / (1 + _Z**2 / count) for side in (-1, 1))
    # exactly, where rounding would leave 0.9999999999999999
    return (0.0 if share == 0 else low), (1.0 if share == 1 else high)
