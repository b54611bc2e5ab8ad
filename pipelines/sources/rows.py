"""The rows of finished datasets as a source: one base dataset, and evidence joined to it by key.

A base row whose evidence is still pending stays pending here too. One whose evidence was rejected arrives rejected,
with the step and reason of the evidence.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reelmill.annotators.annotator import VERDICT, step_name
from reelmill.pipelines._recipe import Load, Place, Recipe, in_order
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Corrupt
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.verdict import State, rejected
from reelmill.sinks.dataset import PART, Dataset
from reelmill.sinks.parts import child_columns, stored
from reelmill.sinks.state.snapshot import Entry

JPEGS = Column.of("jpegs", tuple[bytes, ...])
BASE = Column.of("clips_dataset", str)
PROVENANCE = Column.of("provenance", tuple[Provenance, ...])


@dataclass(frozen=True)
class Rows:
    """`only` keeps base rows of one media kind; `with_frames` adds the JPEG bytes of each row's shown frames."""

    base: Recipe
    joined: tuple[Recipe, ...] = ()
    only: str = ""
    with_frames: bool = False

    @property
    def gives(self) -> tuple[Column, ...]:
        own = [c for c in _base_columns(self.base) if c.name not in (KEY.name, "verdict")]
        beside = [c for recipe in self.joined for c in _joined_columns(recipe)]
        return (*own, *beside, BASE, PROVENANCE, *((JPEGS,) if self.with_frames else ()))

    @property
    def upstreams(self) -> tuple[Recipe, ...]:
        return (self.base, *self.joined)

    def identity(self) -> dict[str, Any]:
        """Fingerprints of what is read, so that a change upstream is drift here."""
        fed = {r.name: r.fingerprint_hash() for r in self.upstreams}
        return {"rows_of": fed, "only": self.only, "with_frames": self.with_frames}

    def entries(self, place: Place, progress: Callable[[int, int], None]) -> list[Entry]:
        """Accepted base rows of the wanted kind; `ready` tells which of them have their evidence already."""
        keys = set(_accepted(place.dataset(self.base), self.only)["key"].to_pylist())
        progress(len(keys), len(keys))
        return [Entry.derived(k) for k in sorted(keys)]

    def open(self, place: Place, recipe: Recipe) -> Load:
        return _Reader(self, place, place.dataset(recipe).label).load


def _base_columns(recipe: Recipe) -> tuple[Column, ...]:
    if recipe.explode is not None:
        return child_columns(recipe.explode)
    return tuple(stored(c) for c in recipe.keeps)


def _joined_columns(recipe: Recipe) -> tuple[Column, ...]:
    explode = (recipe.explode,) if recipe.explode is not None else ()
    return tuple(stored(c) for c in (*recipe.keeps, *explode))


def _accepted(dataset: Dataset, only: str) -> pa.Table:
    table = dataset.children() if "children" in _suffixes(dataset) else dataset.rows()
    if not table.num_rows or "verdict" not in table.column_names:
        return table
    table = table.filter(pc.equal(pc.struct_field(table["verdict"], "state"), str(State.ACCEPTED)))
    return table.filter(pc.equal(pc.struct_field(table["media"], "kind"), only)) if only else table


def _suffixes(dataset: Dataset) -> set[str]:
    return {s for c in dataset.winners.commits.values() for s in c.files}


def ready(rows: Rows, place: Place, keys: Sequence[str]) -> list[str]:
    """Those of `keys` whose evidence is committed (accepted or rejected) in every joined dataset."""
    done = [place.dataset(r).winners.of_key.keys() for r in rows.joined]
    return [k for k in keys if all(k in d for d in done)]


class _Reader:
    """Holds the base and joined tables of one run in memory (no pixels), and answers groups of keys."""

    def __init__(self, source: Rows, place: Place, label: str) -> None:
        self.source, self.place, self.label = source, place, label
        self.base = place.dataset(source.base)

    @cached_property
    def table(self) -> pa.Table:
        table = _accepted(self.base, self.source.only)
        return _moved(table, self._uris()) if "media" in table.column_names else table

    @cached_property
    def index(self) -> dict[str, int]:
        return {k: i for i, k in enumerate(self.table["key"].to_pylist())}

    def _uris(self) -> dict[str, str]:
        """Where each digest is to be found today: a file may have been renamed since it was first seen."""
        first = in_order(self.source.base)[0]
        live = [e for e in self.place.dataset(first).entries() if e.live and e.digest]
        return {str(e.digest): e.uri for e in reversed(live)}

    def load(self, keys: Sequence[str]) -> pa.Table:
        table = self.table.take(pa.array([self.index[k] for k in keys], pa.int64()))
        parts = table[PART].to_pylist()
        table = table.drop_columns([PART, "verdict"])
        verdicts: list[Any] = [None] * len(keys)
        for evidence in self.evidence:
            table = evidence.beside(table, keys, verdicts)
        table = table.append_column(BASE.field, pa.array([self.base.label] * len(keys), pa.string()))
        table = table.append_column(PROVENANCE.field, self._provenance(table))
        if self.source.with_frames:
            table = table.append_column(JPEGS.field, self._jpegs(table, parts))
        return table.append_column(VERDICT.field, pa.array(verdicts, VERDICT.field.type))

    @cached_property
    def evidence(self) -> list[_Evidence]:
        return [_Evidence(recipe, self.place.dataset(recipe)) for recipe in self.source.joined]

    def _jpegs(self, table: pa.Table, parts: list[str]) -> pa.Array:
        read = [
            [self._jpeg(part, frame) for frame in frames]
            for part, frames in zip(parts, table["frames"].to_pylist(), strict=True)
        ]
        return pa.array(read, JPEGS.field.type)

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

    def _provenance(self, table: pa.Table) -> pa.Array:
        digests = pc.struct_field(table["media"], "digest").to_pylist()
        rows = [[link | {"source_digest": digest} for link in self._chain] for digest in digests]
        return pa.array(rows, PROVENANCE.field.type)


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


def _moved(table: pa.Table, uris: dict[str, str]) -> pa.Table:
    """Media references with today's URIs."""
    media = table["media"].to_pylist()
    now = [m | {"uri": uris.get(m["digest"], m["uri"])} for m in media]
    if now == media:
        return table
    place = table.column_names.index("media")
    return table.set_column(place, table.schema.field("media"), pa.array(now, table.schema.field("media").type))


class _Evidence:
    """One joined dataset: its kept columns, and its children nested again under their parent."""

    def __init__(self, recipe: Recipe, dataset: Dataset) -> None:
        self.recipe = recipe
        self.rows = dataset.rows()
        self.index = {k: i for i, k in enumerate(self.rows["key"].to_pylist())}
        self.nested: dict[str, list[dict[str, Any]]] = defaultdict(list)
        if recipe.explode is not None:
            for child in dataset.children().to_pylist():
                self.nested[child["parent_key"]].append(child)

    def beside(self, table: pa.Table, keys: Sequence[str], verdicts: list[Any]) -> pa.Table:
        """Add the columns; note in `verdicts` which rows the evidence refused."""
        found = self.rows.take(pa.array([self.index[k] for k in keys], pa.int64()))
        for column in self.recipe.keeps:
            table = table.append_column(stored(column).stored, found[column.name])
        explode = self.recipe.explode
        if explode is not None:
            lists = pa.array([self.nested[k] for k in keys], explode.field.type)
            table = table.append_column(explode.stored, lists)
        for i, verdict in enumerate(found["verdict"].to_pylist()):
            if verdict["state"] == State.REJECTED and verdicts[i] is None:
                verdicts[i] = arrow.plain(rejected(verdict["step"], verdict["reason"], verdict["detail"]))
        return table
