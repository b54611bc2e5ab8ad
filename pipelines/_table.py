"""Table recipes: whole datasets of samples in, a verdict for every one of them out (mix, dedup, split, decontaminate).

Such a recipe cannot work row by row: whether a sample is kept depends on the others. It is one SQL query over all input
samples that gives each exactly one verdict, which is checked. When the inputs change, all is decided again. Only the
columns that the query sees are held at once; the samples themselves pass a part at a time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from reelmill.pipelines._recipe import Place
from reelmill.pipelines._run import Limits, Report, Silent, Watcher, record, report_of
from reelmill.pipelines._work import Done
from reelmill.schemas import arrow
from reelmill.schemas.column import Column
from reelmill.schemas.errors import BadInput, GuardBroken
from reelmill.schemas.keys import canonical_json
from reelmill.schemas.sample import GroundedSample, PreferenceSample, Sample, kind_of
from reelmill.schemas.verdict import State
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.parts import part_files
from reelmill.sinks.publishing.blind import forms_of, pair_of
from reelmill.sinks.publishing.linked import CLIP_KEY
from reelmill.sinks.shares import note_shares
from reelmill.sinks.state import snapshot as snapshots
from reelmill.sinks.state.lease import Lease, held
from reelmill.sinks.state.objects import store_trouble
from reelmill.sinks.state.snapshot import Entry

_GROUP = 512
_SEEN = ("key", "parent_key", "family", "task", "method", "label_confidence", "media", "frames", "verdict")
_VIEW = """create table samples (place bigint, dataset varchar, key varchar, family varchar, task varchar,
  method varchar, confidence double, digest varchar, licence varchar, clip_key varchar, pair varchar, form varchar,
  mirror varchar)"""
_FILL = f"""insert into samples select $first + row_number() over () - 1, $dataset, key, family, task, method,
  label_confidence, media.digest, media.licence, {CLIP_KEY}, pair, form, mirror from part"""  # noqa: S608 - a constant
_TWICE = "select key, min(dataset), max(dataset) from samples group by key having count(*) > 1 order by key limit 1"
_JUDGED = """select (select count(*) from samples), (select count(*) from verdicts),
  (select count(distinct key) from verdicts), (select count(*) from samples semi join verdicts using (key))"""
_IN_PLACE = "select key, state, reason, detail from samples join verdicts using (key) order by place"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRecipe:
    """`query` reads the table `samples(dataset, key, family, task, method, confidence, digest, licence, clip_key)`, may
    use the named `parameters`, and returns `key, state, reason, detail` with one row per sample. Of preference pairs
    the table has `pair, form, mirror` too: the kind, what the sides say names aside, and that the other way round; else
    null. `shares` reads also the table `verdicts` that it gave, and says for each input what was asked and what came
    (`sinks.shares.SHARES`).

    A recipe that decides by more than its samples names the datasets in `reads`, and gives what it makes of them as
    further tables (`beside`).
    """

    name: str
    version: str
    inputs: tuple[str, ...]
    query: str
    parameters: tuple[tuple[str, str | int | float], ...] = ()
    shares: str = ""
    reads: tuple[str, ...] = ()

    def fingerprint(self) -> dict[str, Any]:
        return {"recipe": self.name, "inputs": list(self.inputs), "query": self.query, "with": dict(self.parameters)}

    def beside(self, store: Store, samples: pa.Table) -> dict[str, pa.Table]:
        """Further tables for the query, by name, from the table `samples` and the `reads`."""
        del store, samples
        return {}

    def used(self, query: str) -> dict[str, Any]:
        """The parameters that a query names: DuckDB refuses those that it does not."""
        return {name: value for name, value in self.parameters if f"${name}" in query}


def run_table(recipe: TableRecipe, place: Place, *, limits: Limits = Limits(), watcher: Watcher = Silent()) -> Report:
    """Decide every sample of the inputs anew if they changed, and commit. Raises as `run` does; NotFound: an input."""
    started = time.monotonic()
    dataset = Store(place.store).dataset(f"{recipe.name}-{place.slug}", recipe.version)
    given = Given([(label, Store(place.store).find(label)) for label in recipe.inputs])
    identity = {"name": dataset.name, "version": dataset.version, "recipe": recipe.name}
    made_from = [*(d for _, d in given.inputs), *(Store(place.store).find(label) for label in recipe.reads)]
    fed = {d.label: canonical_json(d.identity["fingerprint"]) for d in made_from}
    with duckdb.connect() as connection:
        keys = given.fill(connection)
        dataset.ledger.begin({**identity, "fingerprint": {**recipe.fingerprint(), "fed": fed}})
        lease = dataset.ledger.take(limits.wait_s, lambda holder: watcher.waiting(dataset.label, holder))
        with store_trouble(place.store), held(dataset.ledger.objects, lease):
            changed, pending = _listed(dataset, lease, keys)
            watcher.started(dataset.label, len(keys), len(keys) - len(pending))
            done = []
            if pending:
                _lay_beside(recipe, connection, Store(place.store))
            for one in _commit(recipe, dataset, lease, given, connection, pending) if pending else ():
                done.append(one)
                watcher.advanced(dataset.label, one)
            report = report_of(Dataset(dataset.place), changed, len(keys) - len(pending), done, started)
            if pending or changed:
                record(dataset, report, lease)
    watcher.finished(report)
    return report


def _listed(dataset: Dataset, lease: Lease, keys: Sequence[str]) -> tuple[snapshots.Change, set[str]]:
    """Lay the listing over the snapshot. Where it changed, no old verdict counts any longer: all keys are pending."""
    listed = [Entry.derived(k) for k in keys]
    known = dataset.ledger.snapshot()
    if known and snapshots.change(known, snapshots.merge(known, listed)):
        dataset.ledger.void(lease, dataset.ledger.winners().of_key)  # first: a kill after it is made good next time
    changed = dataset.ledger.list_inputs(lease, listed)
    return changed, set(dataset.ledger.pending())


def _lay_beside(recipe: TableRecipe, connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    for name, table in recipe.beside(store, connection.table("samples").to_arrow_table()).items():
        connection.register(name, table)


class Given:
    """The accepted samples of the inputs, of one kind, in the order of inputs and their parts."""

    def __init__(self, inputs: Sequence[tuple[str, Dataset]]) -> None:
        """Raises BadInput on a dataset without samples, and on kinds that do not go together."""
        self.inputs = inputs
        self.kind = together({label: _kind(label, dataset) for label, dataset in inputs})

    def fill(self, connection: duckdb.DuckDBPyConnection) -> list[str]:
        """Make and fill the table `samples`; returns the keys in place. Raises BadInput on one that is there twice."""
        connection.execute(_VIEW)
        first = 0
        pairs = self.kind is PreferenceSample
        for label, table in self._parts(None if pairs else _SEEN):
            connection.register("part", _with_forms(table, pairs=pairs))
            connection.execute(_FILL, {"first": first, "dataset": label})
            first += table.num_rows
        for key, *two in connection.execute(_TWICE).fetchall():
            raise BadInput(f"sample {key} is in two inputs", seen=" and ".join(two), do="give it once")
        return [key for (key,) in connection.execute("select key from samples order by place").fetchall()]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Samples as rows of `kind`, in place; a part is held at a time."""
        names = [f.name for f in fields(self.kind)]
        own: dict[str, Any] = {"tubes": []} if self.kind is GroundedSample else {}
        for _, table in self._parts(None):
            yield from (own | row for row in table.select([n for n in names if n in table.column_names]).to_pylist())

    def _parts(self, columns: Sequence[str] | None) -> Iterator[tuple[str, pa.Table]]:
        for label, dataset in self.inputs:
            for name in dataset.parts("children"):
                table = dataset.part(name, "children", columns)
                accepted = pc.equal(pc.struct_field(table["verdict"], "state"), str(State.ACCEPTED))
                yield label, table.filter(accepted)


def _with_forms(table: pa.Table, *, pairs: bool) -> pa.Table:
    """A part with `pair, form, mirror` beside what the query sees; null where the samples are no pairs."""
    found: list[tuple[str, str, str] | tuple[None, None, None]] = [(None, None, None)] * table.num_rows
    if pairs:
        told = (pair_of(arrow.typed(PreferenceSample, row)) for row in table.to_pylist())
        found = [(pair.kind, *forms_of(pair)) for pair in told]
    table = table.select(_SEEN)
    for name, values in zip(("pair", "form", "mirror"), zip(*found, strict=True) if found else ((),) * 3, strict=True):
        table = table.append_column(name, pa.array(values, pa.string()))
    return table


def _kind(label: str, dataset: Dataset) -> type[Sample]:
    names = dataset.parts("children")
    columns = dataset.part(names[0], "children").column_names if names else []
    if "turns" not in columns:
        raise BadInput(f"input {label!r}", seen="no samples in it", do="give datasets of samples")
    kind: type[Sample] = kind_of(columns)
    return kind


def together(kinds: dict[str, type[Sample]]) -> type[Sample]:
    """The kind that samples of several inputs have in common, by the label of each.

    Dialogues with and without tubes go together: those without have none. Any other two kinds are read by trainers in
    different ways, and are refused with BadInput.

    >>> together({"a": Sample, "b": GroundedSample}).__name__
    'GroundedSample'
    """
    found = set(kinds.values())
    if found == {Sample, GroundedSample}:
        return GroundedSample
    if len(found) > 1:
        seen = "; ".join(f"{kind.__name__}: {', '.join(_of(kinds, kind))}" for kind in sorted(found, key=str))
        raise BadInput("the inputs hold samples of several kinds", seen=seen, do="make one dataset of each kind")
    return found.pop()


def _of(kinds: dict[str, type[Sample]], kind: type[Sample]) -> list[str]:
    return sorted(label for label, own in kinds.items() if own is kind)


def judge(recipe: TableRecipe, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Verdicts (key, state, reason, detail) on the table `samples` of a connection, in place; makes `verdicts`.

    Raises GuardBroken unless each sample has exactly one.
    """
    relation = connection.sql(recipe.query, params=recipe.used(recipe.query))
    relation.create("verdicts")
    ((given, rows, keys, known),) = connection.execute(_JUDGED).fetchall()
    if not given == rows == keys == known:
        seen = f"{rows} verdicts for {keys} samples, {known} of those given"
        raise GuardBroken(f"table recipe {recipe.name} was given {given} samples", seen=seen, do="judge each once")
    return connection.sql(_IN_PLACE).to_arrow_table()


def shares(recipe: TableRecipe, connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """What was asked of each input, and what came; call it after `judge`."""
    if not recipe.shares:
        return []
    said: list[dict[str, Any]] = (
        connection.sql(recipe.shares, params=recipe.used(recipe.shares)).to_arrow_table().to_pylist()
    )
    return said


def _commit(
    recipe: TableRecipe,
    dataset: Dataset,
    lease: Lease,
    given: Given,
    connection: duckdb.DuckDBPyConnection,
    pending: set[str],
) -> Iterator[Done]:
    verdicts = judge(recipe, connection)
    note_shares(dataset, shares(recipe, connection))
    explode = Column.of("samples", tuple[given.kind, ...])  # type: ignore[name-defined]
    judged = (v for batch in verdicts.to_batches(_GROUP) for v in batch.to_pylist())
    rows = (_row(recipe, v, s) for v, s in zip(judged, given.rows(), strict=True) if v["key"] in pending)
    while group := list(islice(rows, _GROUP)):
        outcomes, files = part_files(group, (), explode)
        dataset.ledger.commit(lease, outcomes, files)
        accepted = sum(o.state == State.ACCEPTED for o in outcomes)
        yield Done(accepted, len(outcomes) - accepted, 0, accepted, accepted, {})


def _row(recipe: TableRecipe, verdict: dict[str, str], sample: dict[str, Any]) -> dict[str, Any]:
    if verdict["key"] != sample["key"]:
        seen = f"{sample['key']} where {verdict['key']} was judged"
        raise GuardBroken(f"table recipe {recipe.name}", seen=seen, do="run it again")
    judged = {"state": verdict["state"], "step": recipe.name, "reason": verdict["reason"], "detail": verdict["detail"]}
    return {"key": sample["key"], "verdict": judged, "samples": [sample | {"parent_key": sample["key"]}]}
