"""A rate with Wilson's 95 % confidence interval (1927), which stays honest at 0 and 1; undefined (None) for no cases.

Here, and not in `pipelines`, because labels are scored there and audited in `sinks`. It takes its cases as independent,
so several samples of one video make it a little too narrow.

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
        if not self.count:
            return None
        if self.hits == (0 if side < 0 else self.count):
            return float(side > 0)  # exactly, where rounding would leave 0.9999999999999999
        n, p = self.count, self.hits / self.count
        middle = p + _Z**2 / (2 * n)
        spread = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        return (middle + side * spread) / (1 + _Z**2 / n)
