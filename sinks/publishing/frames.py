"""Finding and reading the stored frames that a view refers to, each checked against its reference.

A `FrameRef` names (dataset, key, frame, sha256); the bytes lie in a media part of that other dataset, beside the row or
child that shows them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import pyarrow as pa

from reelmill.schemas import arrow
from reelmill.schemas.errors import Corrupt
from reelmill.schemas.media import FrameRef, ShownFrame
from reelmill.sinks.dataset import PART, Dataset, Store

_SHOWN = arrow.type_of(tuple[ShownFrame, ...])
_KEYS_KEPT = 4_096
"""Clips whose frame lists are kept at hand: several samples rest on one clip."""


@dataclass(frozen=True, slots=True)
class Found:
    """A stored frame and the part it lies beside."""

    part: str
    shown: ShownFrame


class _Shown:
    """The shown frames of one dataset by key; holds rows without pixels."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @cached_property
    def table(self) -> pa.Table:
        children = self.dataset.children()
        table = children if "frames" in children.column_names else self.dataset.rows()
        return table.select([n for n in ("key", "frames", PART) if n in table.column_names])

    @cached_property
    def stores(self) -> bool:
        """True where frames are stored here; a view only refers to them."""
        return "frames" in self.table.column_names and self.table.schema.field("frames").type == _SHOWN

    @cached_property
    def index(self) -> dict[str, int]:
        return {k: i for i, k in enumerate(self.table["key"].to_pylist())}

    def of(self, key: str) -> Iterator[Found]:
        """Frames of one row or child, in stored order; none where it shows nothing or is not there."""
        place = self.index.get(key)
        if place is None or not self.stores:
            return
        part = self.table[PART][place].as_py()
        for frame in self.table["frames"][place].as_py() or ():
            yield Found(part, arrow.typed(ShownFrame, frame))

    def refers(self, key: str) -> list[FrameRef]:
        """References of a view's row or child; none where it has no such column."""
        place = self.index.get(key)
        if place is None or "frames" not in self.table.column_names:
            return []
        return [arrow.typed(FrameRef, f) for f in self.table["frames"][place].as_py() or ()]


class StoredFrames:
    """Looks frame references up in a store. Raises Corrupt where a reference leads nowhere or to other bytes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[str, _Shown] = {}
        self._frames = lru_cache(_KEYS_KEPT)(self._frames_of)

    def find(self, ref: FrameRef) -> ShownFrame:
        """What is stored under a reference."""
        return self._found(ref).shown

    def read(self, ref: FrameRef) -> bytes:
        """JPEG bytes of a reference, their sha256 checked against it."""
        found = self._found(ref)
        return self._checked(ref.dataset, ref.key, found)

    def of(self, dataset: str, key: str) -> list[FrameRef]:
        """References to every frame that a row or child of `dataset` (a label) shows or refers to, if any."""
        shown = self._dataset(dataset)
        if shown is None:
            return []
        if not shown.stores:
            return shown.refers(key)
        return [FrameRef(dataset, key, f.shown.frame, f.shown.at_s, f.shown.sha256) for f in shown.of(key)]

    def _found(self, ref: FrameRef) -> Found:
        frames = self._frames(ref.dataset, ref.key)
        found = frames.get(ref.frame)
        if found is None:
            seen = f"{len(frames)} frames under that key" if frames else "nothing stored under that key"
            raise Corrupt(_named(ref), seen=seen, do="run the recipe that shows the frames, then this one again")
        if found.shown.sha256 != ref.sha256:
            seen = f"the store says sha256 {found.shown.sha256[:12]}, the reference {ref.sha256[:12]}"
            raise Corrupt(_named(ref), seen=seen, do="run the view again")
        return found

    def _frames_of(self, label: str, key: str) -> dict[int, Found]:
        shown = self._dataset(label)
        return {f.shown.frame: f for f in shown.of(key)} if shown else {}

    def _dataset(self, label: str) -> _Shown | None:
        if label not in self._known:
            name, _, version = label.partition("@")
            dataset = self.store.dataset(name, version)
            if dataset.ledger.identity() is None:
                return None
            self._known[label] = _Shown(dataset)
        return self._known[label]

    def _checked(self, label: str, key: str, found: Found) -> bytes:
        shown, where = found.shown, f"{label} {key} frame {found.shown.frame}"
        try:
            data = self._known[label].dataset.frame(found.part, shown.offset, shown.size)
        except Corrupt as error:
            raise Corrupt(where, seen=f"{error.what}: {error.seen}", do="`retry` its key, then pack again") from error
        digest = hashlib.sha256(data).hexdigest()
        if digest != shown.sha256:
            seen = f"{len(data)} of {shown.size} bytes with sha256 {digest[:12]}, recorded {shown.sha256[:12]}"
            raise Corrupt(where, seen=seen, do="`retry` its key, then pack again")
        return data


def _named(ref: FrameRef) -> str:
    return f"reference to {ref.dataset} {ref.key} frame {ref.frame}"
