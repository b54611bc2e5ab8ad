"""The evidence that a page shows beside a sample: events with every proposal, and tubes, by clip key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reelmill.schemas.tube import Box
from reelmill.sinks.dataset import Dataset

_NEAR_S = 0.06
"""A tube's box is drawn on a frame at most this far from its own time: less than two frames at 30 per second."""


def near(times_s: Sequence[float], at_s: float) -> list[int]:
    """The place of the time that a frame at `at_s` shows, in a list of its own; empty where all are too far.

    >>> near([0.0, 0.5, 1.0], 0.52), near([0.0, 0.5], 0.9)
    ([1], [])
    """
    away_s, place = min(((abs(t - at_s), i) for i, t in enumerate(times_s)), default=(_NEAR_S + 1, -1))
    return [place] if away_s <= _NEAR_S else []


@dataclass(frozen=True, slots=True)
class Evidence:
    """Plain rows by clip key: children that hold `proposals`, and items of a `tubes` column."""

    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tubes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def of(cls, datasets: Iterable[Dataset]) -> Evidence:
        """Gather what the given datasets hold."""
        events: dict[str, list[dict[str, Any]]] = defaultdict(list)
        tubes: dict[str, list[dict[str, Any]]] = {}
        for dataset in datasets:
            children, rows = dataset.children(), dataset.rows()
            if "proposals" in children.column_names:
                for event in children.to_pylist():
                    events[event["parent_key"]].append(event)
            if "tubes" in rows.column_names:
                tubes |= {r["key"]: r["tubes"] or [] for r in rows.select(["key", "tubes"]).to_pylist()}
        return cls(dict(events), tubes)

    def boxes(self, clip: str, at_s: float, subjects: set[str]) -> list[tuple[str, Box]]:
        """(phrase, box) of the clip's tubes seen at a time; of `subjects` only, where any are named."""
        found = []
        for tube in self.tubes.get(clip, ()):
            if subjects and tube["tube_id"] not in subjects:
                continue
            found += [(tube["phrase"], Box(**tube["boxes"][i])) for i in near(tube["at_s"], at_s)]
        return found
