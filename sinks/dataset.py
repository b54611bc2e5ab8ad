"""Datasets as readers see them: rows, children, frames and counts of what the ledger says is done.

A store is a folder of `{name}/{version}/`. Nothing here writes rows; see `ledger` for that.

>>> import tempfile
>>> Store(Path(tempfile.mkdtemp())).datasets()
[]
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelmill.schemas.errors import Corrupt, NotFound, StoreUnusable
from reelmill.schemas.verdict import State
from reelmill.sinks.ledger import Ledger, Winners, parquet_table
from reelmill.sinks.state import snapshot as snapshots
from reelmill.sinks.state.objects import LocalObjects, store_trouble
from reelmill.sinks.state.snapshot import Entry

PART = "part"
"""Column added to every row and child that is read: the commit it was taken from, where its frames lie."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts at both levels. `rows` are the recipe's own inputs, `children` what they were exploded into."""

    live: int
    vanished: int
    accepted: int
    rejected: int
    pending: int
    children: int
    accepted_children: int
    reasons: dict[tuple[str, str, str], int]

    @property
    def closes(self) -> bool:
        """True where every live input is in exactly one of accepted, rejected and pending."""
        return self.live == self.accepted + self.rejected + self.pending


@dataclass(frozen=True)
class Store:
    """A folder of datasets."""

    root: Path

    def dataset(self, name: str, version: str) -> Dataset:
        """A dataset, also one that was never begun."""
        return Dataset(self.root / name / version)

    def datasets(self) -> list[Dataset]:
        """Every dataset that was begun, by name and version; version 10 comes after 9."""
        found = [Dataset(f.parent) for f in self.root.glob("*/*/dataset.json")]
        return sorted(found, key=lambda d: (d.name, _by_number(d.version)))

    def find(self, wanted: str) -> Dataset:
        """The dataset `name` (its newest version) or `name@version`. Raises NotFound with the nearest names."""
        name, _, version = wanted.partition("@")
        known = self.datasets()
        found = [d for d in known if d.name == name and version in ("", d.version)]
        if not found:
            labels = [d.label for d in known]
            near = difflib.get_close_matches(wanted, labels, n=3) or labels[:8]
            seen = ", ".join(near) or f"no dataset in {self.root}"
            raise NotFound(f"dataset {wanted!r}", seen=seen, do="run `reelmill status`")
        return found[-1]

    def require_writable(self) -> None:
        """Raise StoreUnusable where the store cannot be made or written."""
        with store_trouble(self.root):
            try:
                self.root.mkdir(parents=True, exist_ok=True)
            except FileNotFoundError as error:  # a place where nothing can be made, such as /proc
                raise StoreUnusable(str(self.root), seen=str(error), do="choose another --store") from error
            probe = LocalObjects(self.root)
            probe.put(".writable", b"")
            probe.delete(".writable")


@dataclass(frozen=True)
class Dataset:
    """One `{name}/{version}`. Reading is a snapshot of the moment: make another to see later commits."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.parent.name

    @property
    def version(self) -> str:
        return self.folder.name

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(LocalObjects(self.folder), self.label)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Contents of dataset.json. Raises NotFound where the dataset was never begun."""
        said = self.ledger.identity()
        if said is None:
            raise NotFound(f"dataset {self.label}", seen=f"nothing in {self.folder}", do="run its recipe")
        return said

    @cached_property
    def winners(self) -> Winners:
        return self.ledger.winners(self._keys[0])

    def entries(self) -> tuple[Entry, ...]:
        """The newest snapshot: every input ever listed, with `live`."""
        return self._entries

    @cached_property
    def _entries(self) -> tuple[Entry, ...]:
        return self.ledger.snapshot()

    @cached_property
    def _keys(self) -> tuple[set[str], set[str]]:
        """Live keys and vanished ones."""
        live = snapshots.live_keys(self._entries)
        return live, {e.key for e in self._entries} - live

    def rows(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Done rows of live inputs, sorted by key, with their `verdict` and `part`."""
        return self._read("rows", "key", columns, lambda table, keys: _where(table, "key", keys))

    def children(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Children of accepted rows, accepted and rejected ones, sorted by key; empty where nothing is exploded."""
        return self._read("children", "key", columns, lambda table, keys: _where(table, "parent_key", keys))

    def _read(
        self,
        suffix: str,
        order: str,
        columns: Sequence[str] | None,
        keep: Callable[[pa.Table, set[str]], pa.Table],
    ) -> pa.Table:
        wanted = None if columns is None else list(dict.fromkeys([*columns, "key", *_parent(suffix)]))
        tables = []
        for name in self.winners.used():
            commit = self.winners.commits[name]
            if suffix in commit.files:
                table = parquet_table(self.ledger.part_bytes(commit, suffix), wanted)
                table = keep(table, self.winners.keys_of(name))
                tables.append(table.append_column(PART, pa.array([name] * table.num_rows, pa.string())))
        if not tables:
            return pa.table({"key": pa.array([], pa.string()), PART: pa.array([], pa.string())})
        return pa.concat_tables(tables).sort_by(order)

    def frame(self, part: str, offset: int, size: int) -> bytes:
        """Bytes of one stored frame of a row or child that was read from `part`.

        Raises Corrupt where the media part is gone or ends too early; compare the frame's own sha256 for the rest.
        """
        name = self.winners.commits[part].part("media")
        try:
            data = self.ledger.objects.read(name, offset, size)
        except FileNotFoundError as error:
            raise Corrupt(f"{self.label}: {name}", seen="no such object", do="`retry` its keys") from error
        if len(data) != size:
            seen = f"{len(data)} of {size} bytes at {offset}"
            raise Corrupt(f"{self.label}: {name}", seen=seen, do="`retry` its keys")
        return data

    def counts(self) -> Counts:
        """Recount from the commits and the snapshot; the reasons from the rows themselves."""
        live, vanished = self._keys
        winners = self.winners
        done = [o for name, made in winners.commits.items() for o in made.keys if winners.of_key.get(o.key) == name]
        states = Counter(o.state for o in done)
        return Counts(
            live=len(live),
            vanished=len(vanished),
            accepted=states[State.ACCEPTED],
            rejected=states[State.REJECTED],
            pending=len(live) - len(done),
            children=sum(o.children for o in done),
            accepted_children=sum(o.accepted_children for o in done),
            reasons=self._reasons(),
        )

    def rejects(self) -> pa.Table:
        """Every rejected row and child: level, key, parent_key, step, reason, detail, sorted by (level, key)."""
        rows = [{"level": "row", "parent_key": None, **r} for r in _rejected(self.rows(["verdict"]))]
        rows += [{"level": "child", **r} for r in _rejected(self.children(["verdict", "parent_key"]))]
        return pa.Table.from_pylist(rows, schema=REJECTS)

    def _reasons(self) -> dict[tuple[str, str, str], int]:
        return dict(Counter((r["level"], r["step"], r["reason"]) for r in self.rejects().to_pylist()))


REJECTS = pa.schema([(n, pa.string()) for n in ("level", "key", "parent_key", "step", "reason", "detail")])


def _by_number(version: str) -> list[tuple[int, str]]:
    """A version in the order that people mean: runs of digits by their value."""
    return [(int(t), "") if t.isdecimal() else (-1, t) for t in re.split(r"(\d+)", version)]


def _parent(suffix: str) -> list[str]:
    return ["parent_key"] if suffix == "children" else []


def _where(table: pa.Table, column: str, keys: set[str]) -> pa.Table:
    return table.filter(pc.is_in(table[column], pa.array(sorted(keys), pa.string())))


def _rejected(table: pa.Table) -> list[dict[str, Any]]:
    if "verdict" not in table.column_names:
        return []
    refused = [r for r in table.to_pylist() if r["verdict"]["state"] == State.REJECTED]
    return [{**r["verdict"], **{n: r[n] for n in ("key", "parent_key") if n in r}} for r in refused]
