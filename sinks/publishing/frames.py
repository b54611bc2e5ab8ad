"""Finding and reading the stored frames that a view refers to, each checked against its reference.

A `FrameRef` names (dataset, key, frame, sha256); the bytes lie in a media part of that other dataset, beside the row or
child that shows them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from reelmill.schemas import arrow
from reelmill.schemas.errors import Corrupt
from reelmill.schemas.media import FrameRef, ShownFrame
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.state import keyed
from reelmill.sinks.state.keyed import Numbered

_SHOWN = arrow.type_of(tuple[ShownFrame, ...])
_KEYS_KEPT, _PARTS_KEPT = 1_024, 16
"""Clips and parts whose frame lists are kept at hand: several samples rest on one clip, and neighbours lie together."""


@dataclass(frozen=True, slots=True)
class Found:
    """A stored frame and the part it lies beside."""

    part: str
    shown: ShownFrame


class _Shown:
    """The shown frames of one dataset by key. Holds which part each key lies in, and a few parts without pixels."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._part = lru_cache(_PARTS_KEPT)(self._read)

    @cached_property
    def suffix(self) -> str:
        """Which parts hold frames: children, or rows where no child has any."""
        names = self.dataset.parts("children")
        return "children" if names and "frames" in self._read_part(names[0], "children").column_names else "rows"

    @cached_property
    def names(self) -> list[str]:
        return self.dataset.parts(self.suffix)

    @cached_property
    def where(self) -> Numbered:
        """The place in `names` of the part of each key."""
        keys = [keyed.column(self.dataset.part(name, self.suffix, ["key"])["key"]) for name in self.names]
        owners = np.repeat(np.arange(len(keys)), [len(k) for k in keys])
        return Numbered.of(np.concatenate([keyed.encoded(()), *keys]), owners)

    @cached_property
    def kind(self) -> pa.DataType | None:
        """Type of the column `frames`, None where there is none."""
        schema = self._read_part(self.names[0], self.suffix).schema if self.names else pa.schema([])
        return schema.field("frames").type if "frames" in schema.names else None

    @property
    def stores(self) -> bool:
        """True where frames are stored here; a view only refers to them."""
        return bool(self.kind == _SHOWN)

    def _read_part(self, name: str, suffix: str) -> pa.Table:
        return self.dataset.part(name, suffix, ["key", "frames"])

    def _read(self, name: str) -> tuple[dict[str, int], pa.ChunkedArray]:
        table = self._read_part(name, self.suffix)
        return {k: i for i, k in enumerate(table["key"].to_pylist())}, table["frames"]

    def _of(self, key: str) -> tuple[str, list[dict[str, Any]]]:
        """The part that a key lies in, and its frames; none where it is not there or shows nothing."""
        number = self.where.get(key, -1) if self.kind is not None else -1
        if number < 0:
            return "", []
        index, frames = self._part(self.names[number])
        return self.names[number], frames[index[key]].as_py() or []

    def of(self, key: str) -> Iterator[Found]:
        """Frames of one row or child, in stored order; none where it shows nothing or is not there."""
        part, frames = self._of(key) if self.stores else ("", [])
        for frame in frames:
            yield Found(part, arrow.typed(ShownFrame, frame))

    def refers(self, key: str) -> list[FrameRef]:
        """References of a view's row or child; none where it has no such column."""
        return [arrow.typed(FrameRef, f) for f in self._of(key)[1]]


class StoredFrames:
    """Looks frame references up in a store. Raises Corrupt where a reference leads nowhere or to other bytes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[str, _Shown] = {}
        self._frames = lru_cache(_KEYS_KEPT)(self._frames_of)

    def find(self, ref: FrameRef) -> ShownFrame:
        """What is stored under a reference."""
        return self.found(ref).shown

    def read(self, ref: FrameRef, found: Found | None = None) -> bytes:
        """JPEG bytes of a reference, their sha256 checked against it; `found` spares the look-up."""
        return self._checked(ref.dataset, ref.key, found or self.found(ref))

    def of(self, dataset: str, key: str) -> list[FrameRef]:
        """References to every frame that a row or child of `dataset` (a label) shows or refers to, if any."""
        shown = self._dataset(dataset)
        if shown is None:
            return []
        if not shown.stores:
            return shown.refers(key)
        return [FrameRef(dataset, key, f.shown.frame, f.shown.at_s, f.shown.sha256) for f in shown.of(key)]

    def found(self, ref: FrameRef) -> Found:
        """What is stored under a reference, and in which part."""
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
            shown_by = self._dataset(label)
            assert shown_by is not None, "it was found there"
            data = shown_by.dataset.frame(found.part, shown.offset, shown.size)
        except Corrupt as error:
            raise Corrupt(where, seen=f"{error.what}: {error.seen}", do="`retry` its key, then pack again") from error
        digest = hashlib.sha256(data).hexdigest()
        if digest != shown.sha256:
            seen = f"{len(data)} of {shown.size} bytes with sha256 {digest[:12]}, recorded {shown.sha256[:12]}"
            raise Corrupt(where, seen=seen, do="`retry` its key, then pack again")
        return data


def _named(ref: FrameRef) -> str:
    return f"reference to {ref.dataset} {ref.key} frame {ref.frame}"
