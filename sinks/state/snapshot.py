"""The snapshot: which inputs a dataset is made from. New inputs append, vanished ones are tombstoned and stay listed.

One entry per listed input (for media: per URI, so that two equal files, which share a key, are both accounted for).

>>> before = merge((), [Entry.derived("a"), Entry.derived("b")])
>>> [(e.key, e.live) for e in merge(before, [Entry.derived("b"), Entry.derived("c")])]
[('a', False), ('b', True), ('c', True)]
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

import pyarrow as pa
import pyarrow.compute as pc

from reelmill.schemas import arrow
from reelmill.schemas.errors import SchemaBroken
from reelmill.sinks.state import keyed
from reelmill.sinks.state.keyed import Keys


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


NO_CHANGE = Change(0, 0, 0, 0)


def entries_of(table: pa.Table) -> tuple[Entry, ...]:
    """The entries of a stored snapshot, column by column: they may be millions. Raises SchemaBroken as `typed` does."""
    _require_whole(table)
    return tuple(map(Entry, *(table[name].to_pylist() for name in arrow.schema_of(Entry).names)))


def table_of(entries: Sequence[Entry]) -> pa.Table:
    """Entries as they are stored, column by column. Raises SchemaBroken on a null where none may be."""
    schema = arrow.schema_of(Entry)
    columns = [pa.array(map(attrgetter(field.name), entries), field.type, size=len(entries)) for field in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    _require_whole(table)
    return table


def _require_whole(table: pa.Table) -> None:
    schema = arrow.schema_of(Entry)
    missing = [name for name in schema.names if name not in table.column_names]
    holes = [f.name for f in schema if f.name not in missing and not f.nullable and table[f.name].null_count]
    if missing or holes:
        seen = f"no field {missing}" if missing else f"null in {holes}"
        raise SchemaBroken("snapshot", seen=seen, do="rebuild the dataset or migrate it")


def laid_over(old: pa.Table | None, listed: Iterable[Entry]) -> tuple[pa.Table, Change]:
    """`merge` and `change` for stored snapshots of millions: the table to store, and what the listing changed.

    The table is `old` itself where nothing did. Only rows that differ become entries, so a million inputs listed again
    cost their table and no more.
    """
    now = table_of([*_last_of_each(sorted(listed, key=attrgetter("key", "uri")))])
    if old is None:
        return now, change((), entries_of(now))
    stored = old.select(now.column_names).replace_schema_metadata(None)
    if stored.equals(now):
        return old, NO_CHANGE
    gone = stored.filter(pc.invert(pc.is_in(_ids(stored, ["key", "uri"]), _ids(now, ["key", "uri"]))))
    live = now.schema.names.index("live")
    gone = gone.set_column(live, now.schema.field(live), pa.array([False] * gone.num_rows, pa.bool_()))
    new = pa.concat_tables([now, gone]).sort_by([("key", "ascending"), ("uri", "ascending")]).combine_chunks()
    return (old, NO_CHANGE) if stored.equals(new) else (new, _change_between(stored, new))


def _last_of_each(ordered: Sequence[Entry]) -> Iterator[Entry]:
    """Of entries for the same place, side by side, the one that was listed last."""
    for i, entry in enumerate(ordered):
        if i + 1 == len(ordered) or (entry.key, entry.uri) != (ordered[i + 1].key, ordered[i + 1].uri):
            yield entry


def _ids(table: pa.Table, names: Sequence[str]) -> pa.Array:
    columns = [pc.cast(table[name], pa.string()) for name in names]
    ids = pc.binary_join_element_wise(*columns, "\0")
    return ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids


def _change_between(old: pa.Table, new: pa.Table) -> Change:
    """`change`, of the keys whose places or liveness differ; the others count nowhere in it."""
    was, now = (_ids(table, ["key", "uri", "live"]) for table in (old, new))
    parted = [old.filter(pc.invert(pc.is_in(was, now)))["key"], new.filter(pc.invert(pc.is_in(now, was)))["key"]]
    touched = pa.chunked_array([chunk for keys in parted for chunk in keys.chunks], pa.string()).combine_chunks()
    return change(*(entries_of(table.filter(pc.is_in(table["key"], touched))) for table in (old, new)))


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


def live_of(table: pa.Table) -> Keys:
    """`live_keys` of a stored snapshot, as an ascending array."""
    return keyed.ascending(keyed.column(table.filter(table["live"])["key"]))


def live_keys(entries: Iterable[Entry]) -> set[str]:
    """Keys with at least one live input."""
    return {e.key for e in entries if e.live}
