"""A stretch of time in seconds, half-open `[start_s, end_s)`, from the first presented frame of the row's own media.

>>> Span(0.0, 2.0).tiou(Span(1.0, 3.0))
0.3333333333333333
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """`0 <= start_s < end_s`, float seconds on the decoded PTS axis."""

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.start_s < self.end_s:
            raise ValueError(f"Span: want 0 <= start_s < end_s, seen [{self.start_s}, {self.end_s})")

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    def overlap_s(self, other: Span) -> float:
        """Seconds that both cover; 0 where they only touch."""
        return max(0.0, min(self.end_s, other.end_s) - max(self.start_s, other.start_s))

    def tiou(self, other: Span) -> float:
        """Temporal intersection over union in [0, 1] (ActivityNet, Heilbron et al. 2015)."""
        shared = self.overlap_s(other)
        return shared / (self.duration_s + other.duration_s - shared)

    def within(self, duration_s: float, slack_s: float = 1e-6) -> bool:
        """True where the span lies inside a medium of `duration_s` (defect D3 of the recipes' register)."""
        return self.end_s <= duration_s + slack_s

    def shifted(self, by_s: float) -> Span:
        return Span(self.start_s + by_s, self.end_s + by_s)
