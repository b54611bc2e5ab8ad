"""Datasets as readers see them: rows, children, frames and counts of what the ledger says is done.

A store is a folder, or a place in a bucket, of `{name}/{version}/`. Nothing here writes rows; see `ledger` for that.

>>> import tempfile
>>> Store(Path(tempfile.mkdtemp())).datasets()
[]
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelmill.schemas.errors import Corrupt, NotFound, StoreUnusable
from reelmill.schemas.points import reach
from reelmill.schemas.verdict import State
from reelmill.sinks.ledger import Ledger, Winners, parquet_table
from reelmill.sinks.state import keyed
from reelmill.sinks.state import snapshot as snapshots
from reelmill.sinks.state.keyed import Keys
from reelmill.sinks.state.objects import store_trouble
from reelmill.sinks.state.place import Folder, objects_in, on_disk
from reelmill.sinks.state.snapshot import Entry

PART = "part"
"""Column added to every row and child that is read: the commit it was taken from, where its frames lie."""
_PROBE = ".writable"


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

    root: Folder

    def dataset(self, name: str, version: str) -> Dataset:
        """A dataset, also one that was never begun."""
        return Dataset(self.root / name / version)

    def datasets(self) -> list[Dataset]:
        """Every dataset that was begun, by name and version; version 10 comes after 9."""
        objects = objects_in(self.root)
        places = [f"{name}/{version}" for name in objects.folders("") for version in objects.folders(name)]
        found = [Dataset(self.root / p) for p in places if "dataset.json" in objects.list(p)]
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
        """Raise StoreUnusable where the store cannot be made, written or listed, or holds no lease."""
        objects = objects_in(self.root)
        with store_trouble(self.root):
            if isinstance(self.root, Path):
                _make(self.root)
            objects.put_if_absent(_PROBE, b"")
            objects.list("")
            objects.delete(_PROBE)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reach("folder.made")
    except FileNotFoundError as error:  # a place where nothing can be made, such as /proc
        raise StoreUnusable(str(folder), seen=str(error), do="choose another --store") from error


@dataclass(frozen=True)
class Dataset:
    """One `{name}/{version}`. Reading is a snapshot of the moment: make another to see later commits."""

    place: Folder

    @property
    def folder(self) -> Path:
        """The dataset's folder. Raises StoreUnusable on one in a bucket: packs and galleries are files of a disk."""
        return on_disk(self.place)

    @property
    def name(self) -> str:
        return self.place.parent.name

    @property
    def version(self) -> str:
        return self.place.name

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(objects_in(self.place), self.label)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Contents of dataset.json. Raises NotFound where the dataset was never begun."""
        said = self.ledger.identity()
        if said is None:
            raise NotFound(f"dataset {self.label}", seen=f"nothing in {self.place}", do="run its recipe")
        return said

    @cached_property
    def winners(self) -> Winners:
        return self.ledger.winners(self._live)

    def entries(self) -> tuple[Entry, ...]:
        """The newest snapshot: every input ever listed, with `live`."""
        return () if self.inputs is None else snapshots.entries_of(self.inputs)

    @cached_property
    def inputs(self) -> pa.Table | None:
        """The newest snapshot as it is stored; None before the first run."""
        return self.ledger.snapshot_table()

    @cached_property
    def _live(self) -> Keys:
        return keyed.encoded(()) if self.inputs is None else snapshots.live_of(self.inputs)

    def rows(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Done rows of live inputs, sorted by key, with their `verdict` and `part`: all of them at once."""
        return self._read("rows", columns)

    def children(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Children of accepted rows, accepted and rejected ones, sorted by key; empty where nothing is exploded."""
        return self._read("children", columns)

    def _read(self, suffix: str, columns: Sequence[str] | None) -> pa.Table:
        tables = [self.part(name, suffix, columns) for name in self.parts(suffix)]
        if not tables:
            return pa.table({"key": pa.array([], pa.string()), PART: pa.array([], pa.string())})
        return pa.concat_tables(tables).sort_by("key")

    def parts(self, suffix: str) -> list[str]:
        """Names of the parts in use that hold `rows`, `children` or `media`, sorted."""
        return [name for name in self.winners.used() if suffix in self.winners.commits[name].files]

    def part(self, name: str, suffix: str, columns: Sequence[str] | None = None) -> pa.Table:
        """What `rows` or `children` gives of one part, in stored order; to go through a dataset a part at a time."""
        wanted = None if columns is None else list(dict.fromkeys([*columns, "key", *_parent(suffix)]))
        table = parquet_table(self.ledger.part_bytes(self.winners.commits[name], suffix), wanted)
        if name in self.winners.lost:
            table = _where(table, (_parent(suffix) or ["key"])[0], self.winners.keys_of(name))
        return table.append_column(PART, pa.array([name] * table.num_rows, pa.string()))

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
        states, children, accepted_children = Counter[str](), 0, 0
        for name in self.winners.commits:
            for one in self.winners.won(name):
                states[one.state] += 1
                children += one.children
                accepted_children += one.accepted_children
        listed = len(keyed.ascending(keyed.column(self.inputs["key"]))) if self.inputs is not None else 0
        return Counts(
            live=len(self._live),
            vanished=listed - len(self._live),
            accepted=states[State.ACCEPTED],
            rejected=states[State.REJECTED],
            pending=len(self._live) - states.total(),
            children=children,
            accepted_children=accepted_children,
            reasons=self._reasons(),
        )

    def usage(self) -> dict[str, dict[str, float]]:
        """What models were asked for the rows that count: calls, tokens and cost by step; empty where none was."""
        total: dict[str, Counter[str]] = {}
        for commit in self.winners.commits.values():
            for step, used in commit.usage.items():
                total.setdefault(step, Counter()).update(used)
        return {step: dict(used) for step, used in sorted(total.items())}

    def cpu_s(self) -> float:
        """Processor time of the workers and their decode children for the rows that count, all steps together."""
        return sum(sum(commit.seconds.values()) for commit in self.winners.commits.values())

    def rejects(self) -> pa.Table:
        """Every rejected row and child: level, key, parent_key, step, reason, detail, sorted by (level, key)."""
        levels = [self._rejected("row", "rows"), self._rejected("child", "children")]
        return pa.concat_tables(
            [pa.concat_tables([REJECTS.empty_table(), *tables]).sort_by("key") for tables in levels]
        )

    def _rejected(self, level: str, suffix: str) -> Iterator[pa.Table]:
        for name in self.parts(suffix):
            found = _rejected(self.part(name, suffix, ["verdict"]))
            yield pa.Table.from_pylist([{"level": level, "parent_key": None, **r} for r in found], schema=REJECTS)

    def _reasons(self) -> dict[tuple[str, str, str], int]:
        table = self.rejects()
        return dict(Counter(zip(*(table[n].to_pylist() for n in ("level", "step", "reason")), strict=True)))


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
    refused = table.filter(pc.equal(pc.struct_field(table["verdict"], "state"), str(State.REJECTED)))
    return [{**r["verdict"], **{n: r[n] for n in ("key", "parent_key") if n in r}} for r in refused.to_pylist()]
