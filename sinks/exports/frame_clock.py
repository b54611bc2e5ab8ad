"""When each frame of a source is presented: the only way from seconds to frame numbers and back (defects D1, D4).

>>> clock = FrameClock((0.0, 0.5, 1.0), 1.25)
>>> clock.frame(0.6), clock.last(1.0), clock.end_s_of(1)
(1, 1, 1.0)
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from itertools import pairwise

from reelmill.schemas.errors import BadInput


@dataclass(frozen=True, slots=True)
class FrameClock:
    """`at_s[i]` is the presentation time of frame i of a source, from its first one; `until_s` ends the last frame."""

    at_s: tuple[float, ...]
    until_s: float

    def __post_init__(self) -> None:
        edges = [*self.at_s, self.until_s]
        if not self.at_s or any(b <= a for a, b in pairwise(edges)):
            raise BadInput(f"clock of {len(self.at_s)} frames", seen="times that do not rise", do="scan the file again")

    def frame(self, at_s: float) -> int:
        """The frame whose start is nearest: off by at most half a frame."""
        return self._nearest(at_s, len(self.at_s) - 1)

    def last(self, end_s: float) -> int:
        """The last frame of a half-open span that ends at `end_s`: the edge nearest to that time ends it."""
        return max(0, self._nearest(end_s, len(self.at_s)) - 1)

    def end_s_of(self, frame: int) -> float:
        """When a frame ends: where the next begins."""
        return self._edge_s(frame + 1)

    def _edge_s(self, number: int) -> float:
        return self.at_s[number] if number < len(self.at_s) else self.until_s

    def _nearest(self, at_s: float, most: int) -> int:
        after = min(bisect.bisect_left(self.at_s, at_s), most)
        before = max(0, after - 1)
        return after if self._edge_s(after) - at_s <= at_s - self._edge_s(before) else before
