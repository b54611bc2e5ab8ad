"""Keys by the million: a sorted array of them, about 30 bytes each, and a number for every one.

A Python string costs 75 bytes and a slot in a dict 60 more; a run over a million inputs holds several such sets.

>>> where = Numbered.of(encoded(["b", "a", "c"]), np.array([7, 3, 9]))
>>> where["a"], where.get("d"), list(where), where.numbers(["c", "x"]).tolist()
(3, None, ['a', 'b', 'c'], [9, -1])
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Keys = npt.NDArray[np.bytes_]
"""UTF-8 keys, all as wide as the widest. Their order is that of the strings."""
Numbers = npt.NDArray[np.int64]


def encoded(keys: Iterable[str]) -> Keys:
    return np.array([k.encode() for k in keys], dtype=np.bytes_)


def column(values: pa.ChunkedArray) -> Keys:
    """A column of strings without nulls. Keys of one width, as all of ours are, are taken as they lie in memory."""
    chunks = [_chunk(chunk) for chunk in values.chunks if len(chunk)]
    return np.concatenate(chunks) if chunks else encoded(())


def _chunk(chunk: pa.Array) -> Keys:
    sizes = pc.min_max(pc.binary_length(chunk)).as_py()
    if sizes["min"] != sizes["max"] or not sizes["max"] or chunk.type != pa.string():
        return encoded(chunk.to_pylist())
    start = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset]
    return np.frombuffer(chunk.buffers()[2], f"S{sizes['max']}", count=len(chunk), offset=int(start))


def ascending(keys: Keys) -> Keys:
    """Each key once, sorted; at no cost where they are already."""
    return keys if (keys[:-1] < keys[1:]).all() else np.unique(keys)


def places(keys: Keys, wanted: Keys) -> Numbers:
    """Where each of `wanted` stands in the ascending `keys`, -1 where it does not."""
    if not len(keys) or not len(wanted):
        return np.full(len(wanted), -1)
    found = np.searchsorted(keys, wanted)
    there = keys[np.minimum(found, len(keys) - 1)] == wanted
    return np.where(there, found, -1)


def strings(keys: Keys) -> list[str]:
    return [k.decode() for k in keys.tolist()]


@dataclass(frozen=True, eq=False, slots=True)
class Numbered(Mapping[str, int]):
    """A read-only dict of whole numbers by key; ask for many keys at once where you can."""

    keys_: Keys
    values_: Numbers

    @classmethod
    def of(cls, keys: Keys, numbers: npt.NDArray[Any]) -> Numbered:
        """Of a key that is given twice, the first number counts."""
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        first = np.ones(len(keys), bool)
        first[1:] = ordered[1:] != ordered[:-1]
        return cls(ordered[first], numbers[order[first]].astype(np.int64))

    def numbers(self, keys: Sequence[str]) -> Numbers:
        """The number of each key, -1 of one that is not there."""
        at = places(self.keys_, encoded(keys))
        return np.where(at < 0, -1, self.values_[at]) if len(self.keys_) else at

    def __getitem__(self, key: str) -> int:
        number = int(self.numbers([key])[0])
        if number < 0:
            raise KeyError(key)
        return number

    def __iter__(self) -> Iterator[str]:
        return (k.decode() for k in self.keys_)

    def __len__(self) -> int:
        return len(self.keys_)
