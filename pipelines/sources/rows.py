"""The rows of finished datasets as a source: one base dataset, and evidence joined to it by key.

A base row whose evidence is still pending stays pending here too. One whose evidence was rejected arrives rejected,
with the step and reason of the evidence. A group of keys loads only the parts that its rows lie in; what is held of
the rest is which part each key lies in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelmill.annotators.annotator import VERDICT, step_name
from reelmill.annotators.shown import BEFORE, JPEGS
from reelmill.pipelines._recipe import Load, Place, Recipe, in_order
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Corrupt
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.verdict import State, rejected
from reelmill.sinks.dataset import PART, Dataset
from reelmill.sinks.parts import child_columns, stored
from reelmill.sinks.state import keyed
from reelmill.sinks.state.keyed import Numbered
from reelmill.sinks.state.snapshot import Entry

BASE = Column.of("clips_dataset", str)
PROVENANCE = Column.of("provenance", tuple[Provenance, ...])
_PARTS_KEPT = 8
"""Parts of each dataset at hand: those that the groups in work lie in, and the next ones."""


@dataclass(frozen=True)
class Rows:
    """`only` keeps base rows of one media kind; `with_frames` adds the JPEG bytes of each row's shown frames, and
    `with_before` the frames of the accepted row before it under the same parent: those are committed together, so what
    came before a row never changes."""

    base: Recipe
    joined: tuple[Recipe, ...] = ()
    only: str = ""
    with_frames: bool = False
    with_before: bool = False

    @property
    def gives(self) -> tuple[Column, ...]:
        own = [c for c in _base_columns(self.base) if c.name not in (KEY.name, "verdict", PROVENANCE.name)]
        beside = [c for recipe in self.joined for c in _joined_columns(recipe)]
        frames = (*((JPEGS,) if self.with_frames else ()), *((BEFORE,) if self.with_before else ()))
        return (*own, *beside, BASE, PROVENANCE, *frames)

    @property
    def upstreams(self) -> tuple[Recipe, ...]:
        return (self.base, *self.joined)

    def identity(self) -> dict[str, Any]:
        """Fingerprints of what is read, so that a change upstream is drift here."""
        fed = {r.name: r.fingerprint_hash() for r in self.upstreams}
        before = {"with_before": True} if self.with_before else {}
        return {"rows_of": fed, "only": self.only, "with_frames": self.with_frames} | before

    def entries(self, place: Place, progress: Callable[[int, int], None]) -> list[Entry]:
        """Accepted base rows of the wanted kind; `ready` tells which of them have their evidence already."""
        keys, _ = accepted_keys(place.dataset(self.base), self.only)
        progress(len(keys), len(keys))
        return [Entry.derived(k) for k in keyed.strings(keyed.ascending(keys))]

    def reads(self, recipe: Recipe) -> tuple[str, ...] | None:
        """Names of the columns that rows are read with: those that the recipe needs or stores. None: all of them, for a
        source that reads these rows to make others of them."""
        if recipe.source != self:
            return None
        needed = [c for step in recipe.steps for c in step.needs]
        own = (*recipe.keeps, *((recipe.explode,) if recipe.explode is not None else ()))
        return tuple(dict.fromkeys(c.name for c in (*needed, *own)))

    def open(self, place: Place, recipe: Recipe) -> Load:
        return _Reader(self, place, self.reads(recipe)).load


def _base_columns(recipe: Recipe) -> tuple[Column, ...]:
    if recipe.explode is not None:
        return child_columns(recipe.explode)
    return tuple(stored(c) for c in recipe.keeps)


def _joined_columns(recipe: Recipe) -> tuple[Column, ...]:
    explode = (recipe.explode,) if recipe.explode is not None else ()
    return tuple(stored(c) for c in (*recipe.keeps, *explode))


def suffix_of(dataset: Dataset) -> str:
    """Which of its parts a dataset is read for: children where there are any."""
    return "children" if any("children" in c.files for c in dataset.winners.commits.values()) else "rows"


def accepted_keys(dataset: Dataset, only: str) -> tuple[keyed.Keys, keyed.Numbers]:
    """Keys of the accepted rows (or children) of the wanted kind, and for each the place of its part."""
    suffix = suffix_of(dataset)
    names = dataset.parts(suffix)
    wanted = ["verdict", *(["media"] if only else [])]
    found = [keyed.column(_accepted(dataset.part(name, suffix, wanted), only)["key"]) for name in names]
    sizes = [len(keys) for keys in found]
    return np.concatenate([keyed.encoded(()), *found]), np.repeat(np.arange(len(names)), sizes)


def _accepted(table: pa.Table, only: str) -> pa.Table:
    table = table.filter(pc.equal(pc.struct_field(table["verdict"], "state"), str(State.ACCEPTED)))
    return table.filter(pc.equal(pc.struct_field(table["media"], "kind"), only)) if only else table


def ready(rows: Rows, place: Place, keys: Sequence[str]) -> list[str]:
    """Those of `keys` whose evidence is committed (accepted or rejected) in every joined dataset.

    They come in the order of the base's parts, so that the keys of one group lie in few of them; evidence that was made
    in that order lies in few parts for the same group too.
    """
    for recipe in rows.joined:
        known = place.dataset(recipe).winners.numbered.numbers(keys)
        keys = [k for k, there in zip(keys, known.tolist(), strict=True) if there >= 0]
    at = Numbered.of(*accepted_keys(place.dataset(rows.base), rows.only)).numbers(keys)
    return [keys[i] for i in np.argsort(at, kind="stable").tolist()]


class Parts:
    """Rows or children of a dataset by key, a few parts of it in memory. May be shared between threads."""

    def __init__(
        self,
        dataset: Dataset,
        suffix: str,
        numbered: Numbered,
        names: Sequence[str],
        columns: Sequence[str] | None = None,
    ) -> None:
        self.dataset, self.suffix, self.numbered, self.names, self.columns = dataset, suffix, numbered, names, columns
        self._part = lru_cache(_PARTS_KEPT)(self._read)

    def _read(self, name: str) -> pa.Table | None:
        there = self.suffix in self.dataset.winners.commits[name].files
        return self.dataset.part(name, self.suffix, self.columns) if there else None

    def around(self, keys: Sequence[str], column: str = "key") -> Iterator[pa.Table]:
        """Of every part that some of the keys lie in, its rows whose `column` is one of those keys."""
        numbers = self.numbered.numbers(keys)
        for number in np.unique(numbers).tolist():
            if number < 0:
                missing = keys[int(np.flatnonzero(numbers < 0)[0])]
                raise Corrupt(f"{self.dataset.label}: {missing}", seen="no row of that key", do="run the recipe again")
            table = self._part(self.names[number])
            if table is not None:
                own = [keys[i] for i in np.flatnonzero(numbers == number).tolist()]
                yield table.filter(pc.is_in(table[column], pa.array(own, pa.string())))

    def siblings(self, keys: Sequence[str], parents: Sequence[str]) -> Iterator[pa.Table]:
        """Of every part that some of the keys lie in, all rows under one of these parents."""
        for number in np.unique(self.numbered.numbers(keys)).tolist():
            table = self._part(self.names[number])
            if table is not None:
                yield table.filter(pc.is_in(table["parent_key"], pa.array(sorted(set(parents)), pa.string())))

    def of(self, keys: Sequence[str]) -> pa.Table:
        """One row per key, in the order of the keys."""
        table = pa.concat_tables(self.around(keys))
        index = {k: i for i, k in enumerate(table["key"].to_pylist())}
        return table.take(pa.array([index[k] for k in keys], pa.int64()))


class _Reader:
    """Answers groups of keys of one run. Holds where each key lies, and a few parts of each dataset: of small parts a
    column costs as much as many of its values."""

    def __init__(self, source: Rows, place: Place, columns: Sequence[str] | None) -> None:
        self.source, self.place, self.columns = source, place, columns
        self.base = place.dataset(source.base)

    @cached_property
    def rows(self) -> Parts:
        suffix = suffix_of(self.base)
        numbered = Numbered.of(*accepted_keys(self.base, self.source.only))
        columns = None if self.columns is None else (*self.columns, *self._own)
        return Parts(self.base, suffix, numbered, self.base.parts(suffix), columns)

    @property
    def _own(self) -> tuple[str, ...]:
        """What is read of a base row whoever asks: where its medium is, what it rests on, and which frames it has."""
        framed = ("frames", "verdict") if self.source.with_frames or self.source.with_before else ()
        return ("media", PROVENANCE.name, *framed)

    @cached_property
    def _places(self) -> tuple[Numbered, pa.ChunkedArray]:
        """Where each digest is to be found today: a file may have been renamed since it was first seen."""
        first = in_order(self.source.base)[0]
        inputs = self.place.dataset(first).inputs
        if inputs is None:
            return Numbered.of(keyed.encoded(()), np.arange(0)), pa.chunked_array([], pa.string())
        live = inputs.filter(pc.and_(inputs["live"], pc.is_valid(inputs["digest"])))
        return Numbered.of(keyed.column(live["digest"]), np.arange(live.num_rows)), live["uri"]

    def _moved(self, table: pa.Table) -> pa.Table:
        """Media references with today's URIs."""
        numbered, uris = self._places
        media = table["media"].to_pylist()
        at = numbered.numbers([m["digest"] for m in media]).tolist()
        now = [m if i < 0 else m | {"uri": uris[i].as_py()} for m, i in zip(media, at, strict=True)]
        if now == media:
            return table
        place = table.column_names.index("media")
        return table.set_column(place, table.schema.field("media"), pa.array(now, table.schema.field("media").type))

    def load(self, keys: Sequence[str]) -> pa.Table:
        table = self.rows.of(keys)
        table = self._moved(table) if "media" in table.column_names else table
        parts = table[PART].to_pylist()
        table = table.drop_columns([c for c in (PART, "verdict") if c in table.column_names])
        verdicts: list[Any] = [None] * len(keys)
        for evidence in self.evidence:
            table = evidence.beside(table, keys, verdicts)
        table = table.append_column(BASE.field, pa.array([self.base.label] * len(keys), pa.string()))
        links = self._links(table)
        table = table.drop_columns([c for c in (PROVENANCE.name,) if c in table.column_names])
        table = table.append_column(PROVENANCE.field, links)
        if self.source.with_frames:
            table = table.append_column(JPEGS.field, self._jpegs(table, parts))
        if self.source.with_before:
            table = table.append_column(BEFORE.field, self._before(table))
        return table.append_column(VERDICT.field, pa.array(verdicts, VERDICT.field.type))

    @cached_property
    def evidence(self) -> list[_Evidence]:
        return [_Evidence(recipe, self.place.dataset(recipe), self.columns) for recipe in self.source.joined]

    def _jpegs(self, table: pa.Table, parts: list[str]) -> pa.Array:
        read = [
            [self._jpeg(part, frame) for frame in frames]
            for part, frames in zip(parts, table["frames"].to_pylist(), strict=True)
        ]
        return pa.array(read, JPEGS.field.type)

    def _before(self, table: pa.Table) -> pa.Array:
        """What stands before each row among the accepted children of its parent, by where they start in the source."""
        starts = dict(zip(table["key"].to_pylist(), map(_start_s, table["media"].to_pylist()), strict=True))
        siblings: dict[str, list[dict[str, Any]]] = {}
        for found in self.rows.siblings(table["key"].to_pylist(), table["parent_key"].to_pylist()):
            for row in found.to_pylist():
                if row["verdict"]["state"] == State.ACCEPTED and row["media"]["span"] is not None:
                    siblings.setdefault(row["parent_key"], []).append(row)
        before = []
        for key, parent in zip(table["key"].to_pylist(), table["parent_key"].to_pylist(), strict=True):
            earlier = [s for s in siblings.get(parent, ()) if _start_s(s["media"]) < starts[key]]
            last = max(earlier, key=lambda s: _start_s(s["media"]), default=None)
            before.append(None if last is None else self._clip_before(last, starts[key]))
        return pa.array(before, BEFORE.field.type)

    def _clip_before(self, row: dict[str, Any], start_s: float) -> dict[str, Any]:
        jpegs = [self._jpeg(row[PART], frame) for frame in row["frames"]]
        starts_s = _start_s(row["media"]) - start_s
        return {"key": row["key"], "starts_s": starts_s, "frames": row["frames"], "jpegs": jpegs}

    def _jpeg(self, part: str, frame: dict[str, Any]) -> bytes:
        data = self.base.frame(part, frame["offset"], frame["size"])
        seen = hashlib.sha256(data).hexdigest()
        if seen != frame["sha256"]:
            what = f"{self.base.label}: frame {frame['frame']} in part {part}"
            raise Corrupt(what, seen=f"sha256 {seen[:12]}, want {frame['sha256'][:12]}", do="`retry` its row")
        return data

    @cached_property
    def _chain(self) -> list[dict[str, Any]]:
        links = []
        for upstream in dict.fromkeys(r for u in self.source.upstreams for r in in_order(u)):
            label = self.place.dataset(upstream).label
            links += [arrow.plain(_link(step, label)) for step in upstream.steps]
        return links

    def _links(self, table: pa.Table) -> pa.Array:
        """What each row rests on. Samples know more than their recipe does, but for the dataset that they lie in."""
        if PROVENANCE.name not in table.column_names:
            return self._provenance(table)
        known = table[PROVENANCE.name].to_pylist()
        rows = [[link | {"dataset": link["dataset"] or self.base.label} for link in links] for links in known]
        return pa.array(rows, PROVENANCE.field.type)

    def _provenance(self, table: pa.Table) -> pa.Array:
        digests = pc.struct_field(table["media"], "digest").to_pylist()
        rows = [[link | {"source_digest": digest} for link in self._chain] for digest in digests]
        return pa.array(rows, PROVENANCE.field.type)


def _start_s(media: dict[str, Any]) -> float:
    return float(media["span"]["start_s"]) if media["span"] else 0.0


def _link(step: Any, dataset: str) -> Provenance:
    return Provenance(
        step=step_name(step),
        method=getattr(step, "method", "rules"),
        revision=step.revision,
        model=getattr(step, "model", ""),
        prompt_hash=getattr(step, "prompt_hash", ""),
        seed=getattr(step, "seed", None),
        source_digest="",
        observed=getattr(step, "observed", ""),
        dataset=dataset,
    )


class _Evidence:
    """One joined dataset: its kept columns, and its children nested again under their parent; of `columns` those."""

    def __init__(self, recipe: Recipe, dataset: Dataset, columns: Sequence[str] | None) -> None:
        self.keeps = [c for c in recipe.keeps if columns is None or c.name in columns]
        self.nests = [c for c in (recipe.explode,) if c is not None and (columns is None or c.name in columns)]
        at = dataset.winners.numbered, dataset.winners.names
        self.rows = Parts(dataset, "rows", *at, [*(c.name for c in self.keeps), "verdict"])
        self.children = Parts(dataset, "children", *at)

    def _nested(self, keys: Sequence[str], explode: Column) -> pa.Array:
        """Children of each key, sorted by their own."""
        fields = list(explode.field.type.value_type)
        found = [pa.schema(fields).empty_table(), *self.children.around(keys, "parent_key")]
        table = pa.concat_tables(found, promote_options="default")
        table = table.append_column("row", pc.index_in(table["parent_key"], pa.array(keys, pa.string())))
        table = table.sort_by([("row", "ascending"), ("key", "ascending")])
        ends = np.cumsum(np.bincount(table["row"].to_numpy(), minlength=len(keys)))
        items = pa.StructArray.from_arrays([table[f.name].combine_chunks() for f in fields], fields=fields)
        return pa.ListArray.from_arrays(np.append(0, ends).astype(np.int32), items, type=explode.field.type)

    def beside(self, table: pa.Table, keys: Sequence[str], verdicts: list[Any]) -> pa.Table:
        """Add the columns; note in `verdicts` which rows the evidence refused."""
        found = self.rows.of(keys)
        for column in self.keeps:
            table = table.append_column(stored(column).stored, found[column.name])
        for column in self.nests:
            table = table.append_column(column.stored, self._nested(keys, column))
        for i, verdict in enumerate(found["verdict"].to_pylist()):
            if verdict["state"] == State.REJECTED and verdicts[i] is None:
                verdicts[i] = arrow.plain(rejected(verdict["step"], verdict["reason"], verdict["detail"]))
        return table
