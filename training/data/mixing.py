"""Several datasets by weight: whose turn it is follows from how often each had its turn, and from no chance at all.

The next turn goes to the least (turns + 1/2) / weight, Webster's method of apportionment (1832), so that shares hold
over any stretch and not only in the long run. A weight counts units, not tokens: samples, or
clips where their samples share a video.

>>> mix = Mix([3.0, 1.0])
>>> [mix.turn() for _ in range(8)]
[0, 0, 1, 0, 0, 0, 1, 0]
"""

from __future__ import annotations

from collections.abc import Sequence

from reelmill.schemas.errors import BadInput


class Mix:
    """`turns[i]` is how often source i had its turn; `ended` are sources that have nothing more to give."""

    def __init__(self, weights: Sequence[float]) -> None:
        if not weights or min(weights) <= 0:
            raise BadInput(f"weights {list(weights)}", seen="none, or one of 0 or less", do="give each source a weight")
        self.weights = tuple(weights)
        self.turns = [0] * len(self.weights)
        self.ended: set[int] = set()

    def turn(self) -> int | None:
        """The source whose turn it is, None where all have ended."""
        left = [i for i in range(len(self.weights)) if i not in self.ended]
        if not left:
            return None
        chosen = min(left, key=lambda i: ((self.turns[i] + 0.5) / self.weights[i], i))
        self.turns[chosen] += 1
        return chosen
