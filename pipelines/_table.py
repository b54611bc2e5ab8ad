"""Table recipes: whole datasets of samples in, a verdict for every one of them out (mix, dedup, split, decontaminate).

Such a recipe cannot work row by row: whether a sample is kept depends on the others. It is one SQL query over all input
samples that gives each exactly one verdict, which is checked. When the inputs change, all is decided again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from reelmill.pipelines._recipe import Place
from reelmill.pipelines._run import Limits, Report, Silent, Watcher, grouped, record, report_of
from reelmill.pipelines._work import Done
from reelmill.schemas.column import Column
from reelmill.schemas.errors import BadInput, GuardBroken
from reelmill.schemas.keys import canonical_json
from reelmill.schemas.sample import Sample
from reelmill.schemas.verdict import State
from reelmill.sinks.dataset import PART, Dataset, Store
from reelmill.sinks.parts import part_files
from reelmill.sinks.state import snapshot as snapshots
from reelmill.sinks.state.lease import Lease, held
from reelmill.sinks.state.objects import store_trouble
from reelmill.sinks.state.snapshot import Entry

SAMPLES = Column.of("samples", tuple[Sample, ...])
_GROUP = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRecipe:
    """`query` reads the view `samples(dataset, key, family, task, method, confidence, digest, licence)`, may use the
    named `parameters`, and returns `key, state, reason, detail` with one row per sample.

    A recipe that decides by more than its samples names the datasets in `reads`, and gives what it makes of them as
    further views (`beside`).
    """

    name: str
    version: str
    inputs: tuple[str, ...]
    query: str
    parameters: tuple[tuple[str, str | int | float], ...] = ()
    reads: tuple[str, ...] = ()

    def fingerprint(self) -> dict[str, Any]:
        return {"recipe": self.name, "inputs": list(self.inputs), "query": self.query, "with": dict(self.parameters)}

    def beside(self, store: Store, samples: dict[str, dict[str, Any]]) -> dict[str, pa.Table]:
        """Further views for the query, by name, from the samples by key (`dataset`, `sample`) and the `reads`."""
        del store, samples
        return {}


def run_table(recipe: TableRecipe, place: Place, *, limits: Limits = Limits(), watcher: Watcher = Silent()) -> Report:
    """Decide every sample of the inputs anew if they changed, and commit. Raises as `run` does; NotFound: an input."""
    started = time.monotonic()
    dataset = Store(place.store).dataset(f"{recipe.name}-{place.slug}", recipe.version)
    samples = _input_samples(recipe, Store(place.store))
    identity = {"name": dataset.name, "version": dataset.version, "recipe": recipe.name}
    made_from = [Store(place.store).find(label) for label in (*recipe.inputs, *recipe.reads)]
    fed = {d.label: canonical_json(d.identity["fingerprint"]) for d in made_from}
    dataset.ledger.begin({**identity, "fingerprint": {**recipe.fingerprint(), "fed": fed}})
    lease = dataset.ledger.take(limits.wait_s, lambda holder: watcher.waiting(dataset.label, holder))
    with store_trouble(place.store), held(dataset.ledger.objects, lease):
        listed = [Entry.derived(k) for k in samples]
        known = dataset.ledger.snapshot()
        if known and snapshots.change(known, snapshots.merge(known, listed)):
            dataset.ledger.void(lease, dataset.ledger.winners().of_key)  # first: a kill after it is made good next time
        changed = dataset.ledger.list_inputs(lease, listed)
        keys = dataset.ledger.pending()
        watcher.started(dataset.label, len(samples), len(samples) - len(keys))
        done = []
        for one in _commit(recipe, dataset, lease, samples, keys, place) if keys else ():
            done.append(one)
            watcher.advanced(dataset.label, one)
        report = report_of(Dataset(dataset.place), changed, len(samples) - len(keys), done, started)
        if keys or changed:
            record(dataset, report, lease)
    watcher.finished(report)
    return report


def _input_samples(recipe: TableRecipe, store: Store) -> dict[str, dict[str, Any]]:
    """Accepted samples of all inputs by key. Raises BadInput where one sample is in two of them."""
    found: dict[str, dict[str, Any]] = {}
    for label in recipe.inputs:
        table = store.find(label).children()
        if "turns" not in table.column_names:
            raise BadInput(f"input {label!r} of {recipe.name}", seen="no samples in it", do="give datasets of samples")
        for row in table.drop_columns([PART]).to_pylist():
            if row["verdict"]["state"] != State.ACCEPTED:
                continue
            if row["key"] in found:
                other = found[row["key"]]["dataset"]
                raise BadInput(f"sample {row['key']} is in two inputs", seen=f"{other} and {label}", do="give it once")
            found[row["key"]] = {"dataset": label, "sample": row}
    return found


def _verdicts(
    recipe: TableRecipe, samples: dict[str, dict[str, Any]], views: dict[str, pa.Table] | None = None
) -> dict[str, dict[str, str]]:
    view = pa.Table.from_pylist([_flat(s["dataset"], s["sample"]) for s in samples.values()], schema=VIEW)
    with duckdb.connect() as connection:
        for name, table in {"samples": view, **(views or {})}.items():
            connection.register(name, table)
        relation = connection.sql(recipe.query, params={n: v for n, v in recipe.parameters if f"${n}" in recipe.query})
        rows = relation.to_arrow_table().to_pylist() if relation is not None else []
    verdicts = {r["key"]: r for r in rows}
    if len(rows) != len(samples) or verdicts.keys() != samples.keys():
        seen = f"{len(rows)} verdicts for {len(verdicts)} samples"
        raise GuardBroken(
            f"table recipe {recipe.name} was given {len(samples)} samples", seen=seen, do="judge each once"
        )
    return verdicts


VIEW = pa.schema(
    [(n, pa.string()) for n in ("dataset", "key", "family", "task", "method")]
    + [("confidence", pa.float64()), ("digest", pa.string()), ("licence", pa.string())]
)


def _flat(dataset: str, sample: dict[str, Any]) -> dict[str, Any]:
    flat = {n: sample[n] for n in ("key", "family", "task", "method")}
    media = sample["media"]
    confidence = sample["label_confidence"]
    return flat | {"dataset": dataset, "confidence": confidence, "digest": media["digest"], "licence": media["licence"]}


def _commit(
    recipe: TableRecipe,
    dataset: Dataset,
    lease: Lease,
    samples: dict[str, dict[str, Any]],
    keys: Sequence[str],
    place: Place,
) -> Iterator[Done]:
    verdicts = _verdicts(recipe, samples, recipe.beside(Store(place.store), samples))
    for group in grouped(list(keys), _GROUP):
        rows = [_row(recipe, k, verdicts[k], samples[k]["sample"]) for k in group]
        outcomes, files = part_files(rows, (), SAMPLES)
        dataset.ledger.commit(lease, outcomes, files)
        accepted = sum(o.state == State.ACCEPTED for o in outcomes)
        yield Done(accepted, len(outcomes) - accepted, 0, accepted, accepted, {})


def _row(recipe: TableRecipe, key: str, verdict: dict[str, str], sample: dict[str, Any]) -> dict[str, Any]:
    judged = {"state": verdict["state"], "step": recipe.name, "reason": verdict["reason"], "detail": verdict["detail"]}
    return {"key": key, "verdict": judged, "samples": [sample | {"parent_key": key}]}
