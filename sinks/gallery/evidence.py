"""The evidence that a page shows beside a sample: events with every proposal, tubes and lines of text, by clip key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

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
    """Plain rows by clip key: children that hold `proposals`, items of a `tubes` column and of a `texts` column."""

    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tubes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    texts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def of(cls, datasets: Iterable[Dataset], clips: Iterable[str]) -> Evidence:
        """Gather what the given datasets hold of the clips that are named."""
        wanted = pa.array(sorted(set(clips)), pa.string())
        found = cls()
        for dataset in datasets:
            children, rows = dataset.children(), dataset.rows()
            if "proposals" in children.column_names:
                for event in children.filter(pc.is_in(children["parent_key"], wanted)).to_pylist():
                    found.events.setdefault(event["parent_key"], []).append(event)
            rows = rows.filter(pc.is_in(rows["key"], wanted))
            for name, items in (("tubes", found.tubes), ("texts", found.texts)):
                if name in rows.column_names:
                    items |= {r["key"]: r[name] or [] for r in rows.select(["key", name]).to_pylist()}
        return found

    def boxes(self, clip: str, at_s: float, subjects: set[str], size_px: tuple[int, int]) -> list[tuple[str, Box]]:
        """(phrase, box) of the clip's tubes seen at a time, of `subjects` only where any are named, in pixels of a
        frame of `size_px`."""
        found = []
        for tube in self.tubes.get(clip, ()):
            if subjects and tube["tube_id"] not in subjects:
                continue
            seen_px = (tube["frame_width_px"], tube["frame_height_px"])
            boxes = (Box(**tube["boxes"][i]) for i in near(tube["at_s"], at_s))
            found += [(tube["phrase"], scaled(box, seen_px, size_px)) for box in boxes]
        return found

    def lines(self, clip: str, frame: int, read_px: tuple[int, int], size_px: tuple[int, int]) -> list[tuple[str, Box]]:
        """(text, box) of the lines that were read in a stored frame of `read_px`, in pixels of one of `size_px`."""
        found = [line for line in self.texts.get(clip, ()) if line["frame"] == frame]
        return [(line["text"], scaled(around(line["quad_px"]), read_px, size_px)) for line in found]


def around(quad_px: Sequence[float]) -> Box:
    """The smallest upright box around four corners x0, y0 .. x3, y3."""
    xs, ys = quad_px[0::2], quad_px[1::2]
    return Box(min(xs), min(ys), max(xs), max(ys))


def scaled(box: Box, from_px: tuple[int, int], to_px: tuple[int, int]) -> Box:
    """A box of one picture in pixels of the same picture at another size.

    >>> scaled(Box(1, 2, 3, 4), (10, 10), (20, 30))
    Box(x0_px=2.0, y0_px=6.0, x1_px=6.0, y1_px=12.0)
    """
    x, y = to_px[0] / from_px[0], to_px[1] / from_px[1]
    return Box(box.x0_px * x, box.y0_px * y, box.x1_px * x, box.y1_px * y)
