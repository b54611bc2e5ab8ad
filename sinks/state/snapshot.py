"""The snapshot: which inputs a dataset is made from. New inputs append, vanished ones are tombstoned and stay listed.

One entry per listed input (for media: per URI, so that two equal files, which share a key, are both accounted for).

>>> before = merge((), [Entry.derived("a"), Entry.derived("b")])
>>> [(e.key, e.live) for e in merge(before, [Entry.derived("b"), Entry.derived("c")])]
[('a', False), ('b', True), ('c', True)]
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from reelmill.schemas import arrow
from reelmill.schemas.errors import SchemaBroken


@dataclass(frozen=True, slots=True)
class Entry:
    """`uri` is empty for an input that is a row of another dataset; `problem` tells why one cannot be read at all."""

    key: str
    uri: str
    digest: str | None
    size: int
    licence: str
    metadata: str
    problem: str | None
    live: bool

    @classmethod
    def derived(cls, key: str) -> Entry:
        """An input that is a row of another dataset."""
        return cls(key, "", None, 0, "", "", None, True)


@dataclass(frozen=True, slots=True)
class Change:
    """What a new listing changed: for the one line that a run prints.

    `added`, `vanished` and `returned` count keys. `renamed`, `copied` and `uncopied` count places of keys that were and
    stay live: one place given up for another, one more place, one place less.
    """

    added: int
    vanished: int
    returned: int
    renamed: int
    copied: int = 0
    uncopied: int = 0

    def __bool__(self) -> bool:
        return any((self.added, self.vanished, self.returned, self.renamed, self.copied, self.uncopied))


def entries_of(table: pa.Table) -> tuple[Entry, ...]:
    """The entries of a stored snapshot, column by column: there may be millions. Raises SchemaBroken as `typed` does."""
    schema = arrow.schema_of(Entry)
    missing = [name for name in schema.names if name not in table.column_names]
    holes = [f.name for f in schema if f.name not in missing and not f.nullable and table[f.name].null_count]
    if missing or holes:
        seen = f"no field {missing}" if missing else f"null in {holes}"
        raise SchemaBroken("snapshot", seen=seen, do="rebuild the dataset or migrate it")
    return tuple(map(Entry, *(table[name].to_pylist() for name in schema.names)))


def merge(old: Sequence[Entry], listed: Iterable[Entry]) -> tuple[Entry, ...]:
    """The old snapshot with a new listing laid over it, sorted by (key, uri)."""
    now = {(e.key, e.uri): e for e in listed}
    gone = {(e.key, e.uri): dataclasses.replace(e, live=False) for e in old if (e.key, e.uri) not in now}
    return tuple(sorted((now | gone).values(), key=lambda e: (e.key, e.uri)))


def change(old: Sequence[Entry], new: Sequence[Entry]) -> Change:
    """Compare two snapshots: a key that stays live under another URI was renamed, not removed and added."""
    before, after = live_keys(old), live_keys(new)
    known, stays = {e.key for e in old}, before & after
    places_before = {(e.key, e.uri) for e in old if e.live and e.key in stays}
    places_after = {(e.key, e.uri) for e in new if e.live and e.key in stays}
    more = Counter(key for key, _ in places_after - places_before)
    less = Counter(key for key, _ in places_before - places_after)
    return Change(
        added=len(after - known),
        vanished=len(before - after),
        returned=len((after - before) & known),
        renamed=(more & less).total(),
        copied=(more - less).total(),
        uncopied=(less - more).total(),
    )


def live_keys(entries: Iterable[Entry]) -> set[str]:
    """Keys with at least one live input."""
    return {e.key for e in entries if e.live}
