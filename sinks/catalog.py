"""The catalog: one DuckDB file with the small tables of a pack inside it, and a connection that opens any dataset.

DuckDB files are not byte-stable, so a catalog is compared table by table through `logical_hash`. It is built once and
never kept open: while a process holds such a file for writing, nobody else can even read it.

>>> connection = duckdb.connect()
>>> _ = connection.execute("create table t as select 1 as a")
>>> logical_hash(connection, "t")[:8]
'1bcc0fdc'
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from reelmill.schemas.errors import NotFound
from reelmill.schemas.keys import canonical_json
from reelmill.schemas.points import reach
from reelmill.sinks.card import figures
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.publishing.linked import CLIP_KEY, LINKED
from reelmill.sinks.shares import shares_of

NAME = "catalog.duckdb"
TABLES = {
    "samples": "key",
    "turns": "key, turn",
    "index": 'shard, "offset"',
    "sources": "digest",
    "rejects": "dataset, level, key",
    "counts": "dataset, level, state",
}
"""Tables of a pack and the order of their rows in the catalog."""
_Result = TypeVar("_Result")
_UNIQUE = {"samples": "key", "turns": "key, turn", "index": "shard, key, member"}
"""Leading columns that no two rows share: ordered by them is ordered by all, at a fraction of the memory."""
_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
_FETCH = 500
_SAID = json.JSONEncoder(default=str, ensure_ascii=False)
_MODEST: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "256MB", "threads": 2}
"""What DuckDB may take at first to build or compare a catalog; what is more it lays aside on disk."""


def build(root: Path, files: dict[str, list[str]], record: dict[str, Any]) -> dict[str, str]:
    """Write the catalog of a pack from its Parquet files (kind -> names in `root`); returns the logical hashes.

    `record` (facts of the run) becomes the table `record` and is outside what is promised equal.
    """
    aside, final = root / f"{NAME}.part", root / NAME
    aside.unlink(missing_ok=True)
    with _disk_trouble(aside):
        hashes = _built(root, aside, files, record)
    reach("catalog.written")
    aside.rename(final)
    reach("catalog.renamed")
    return hashes


def _built(root: Path, aside: Path, files: dict[str, list[str]], record: dict[str, Any]) -> dict[str, str]:
    connection = duckdb.connect(str(aside), config=_MODEST)
    try:
        reach("catalog.begun")
        for kind, order in TABLES.items():
            paths = [str(root / name) for name in files[kind]]
            relation = connection.read_parquet(paths, hive_partitioning=True)
            _with_room(connection, partial(relation.order(order).create, kind))
        connection.from_arrow(_record_table(record)).create("record")
        connection.execute(f"create view linked as {LINKED.format(samples='samples')}")
        hashes = {kind: _with_room(connection, partial(logical_hash, connection, kind)) for kind in TABLES}
        connection.execute("checkpoint")
    finally:
        connection.close()
    return hashes


@contextmanager
def _disk_trouble(path: Path) -> Iterator[None]:
    """Turn what DuckDB says of a full disk or a refusal into the system's own error; it tells them apart by words."""
    try:
        yield
    except duckdb.Error as error:
        number = next((n for n in _SYSTEM if os.strerror(n) in str(error)), None)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _with_room(connection: duckdb.DuckDBPyConnection, work: Callable[[], _Result]) -> _Result:
    """Do some work in little memory; where DuckDB cannot, once more with what it takes of its own accord."""
    try:
        return work()
    except duckdb.OutOfMemoryException:
        connection.execute("set memory_limit = '80%'")
        return work()


def _record_table(record: dict[str, Any]) -> pa.Table:
    names = sorted(record)
    values = [canonical_json(record[n]) for n in names]
    return pa.table({"name": pa.array(names, pa.string()), "value_json": pa.array(values, pa.string())})


def logical_hash(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """sha256 of a table's column names, types and rows in the order of all columns: equal tables have equal hashes.

    Raises NotFound where the table is not there.
    """
    known = [row[0] for row in connection.execute("select table_name from information_schema.tables").fetchall()]
    if table not in known:
        raise NotFound(f"table {table!r}", seen=", ".join(sorted(known)), do="choose one of these")
    relation = connection.table(table)
    digest = hashlib.sha256(json.dumps([relation.columns, [str(t) for t in relation.types]]).encode())
    order = _UNIQUE.get(table, "all")
    rows = connection.execute(f'select * from "{table}" order by {order}')  # noqa: S608 - one of the tables
    while batch := rows.fetchmany(_FETCH):
        digest.update("".join(f"{_SAID.encode(row)}\n" for row in batch).encode())
    return digest.hexdigest()


def hashes(path: Path) -> dict[str, str]:
    """Logical hash of each promised table of a catalog file. Raises duckdb.Error on a file that is none."""
    connection = duckdb.connect(str(path), read_only=True, config=_MODEST)
    try:
        return {kind: _with_room(connection, partial(logical_hash, connection, kind)) for kind in TABLES}
    finally:
        connection.close()


def connect(store: Store, dataset: Dataset) -> duckdb.DuckDBPyConnection:
    """A connection for questions about a dataset, packed or not.

    `inputs`, `rows`, `children` and `dataset_rejects` show the ledger of this moment, `label_figures` the last
    measurement against truth, `shares` what a mix was asked for and got. `linked` has a row for each clip, with all of
    its accepted samples. Where the dataset is packed, the tables of its catalog (samples, turns, index, sources,
    rejects, counts, record) are there too, read-only. Each `upstream_*` holds the children (or rows) of a dataset that
    it rests on, where `store` has it.
    """
    packed = dataset.folder / NAME
    connection = duckdb.connect(str(packed), read_only=True) if packed.exists() else duckdb.connect()
    live = {
        "inputs": pa.Table.from_pylist([_entry(e) for e in dataset.entries()], schema=_INPUTS),
        "rows": dataset.rows(),
        "children": dataset.children(),
        "dataset_rejects": dataset.rejects(),
        "label_figures": figures(dataset),
        "shares": shares_of(dataset),
    }
    for name, table in {**live, **_upstream(store, dataset)}.items():
        connection.register(name, table)
    if not packed.exists() and "turns" in live["children"].column_names:
        connection.execute(_LINKED_CHILDREN)
    return connection


_ACCEPTED = f"""(select *, media.digest as source_digest, {CLIP_KEY} as clip_key
  from children where verdict.state = 'accepted')"""  # noqa: S608 - a constant
_LINKED_CHILDREN = f"create temp view linked as {LINKED.format(samples=_ACCEPTED)}"


_INPUTS = pa.schema(
    [
        ("key", pa.string()),
        ("uri", pa.string()),
        ("digest", pa.string()),
        ("licence", pa.string()),
        ("problem", pa.string()),
        ("live", pa.bool_()),
    ]
)


def _entry(entry: Any) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in _INPUTS.names}


def _upstream(store: Store, dataset: Dataset) -> dict[str, pa.Table]:
    from reelmill.sinks.publishing.view import lineage

    children = dataset.children()
    found = lineage(store, dataset, children)
    return {f"upstream_{_word(d.identity.get('recipe', d.name))}": _content(d) for d in found}


def _content(dataset: Dataset) -> pa.Table:
    children = dataset.children()
    return children if children.num_rows else dataset.rows()


def _word(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text)
