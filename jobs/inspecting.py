"""`status`, `rejects`, `retry`, `look`, `sql` and `gc`: reading a store, and sending rows back to work."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reelmill.jobs.progress import wide_console
from reelmill.pipelines._recipe import Place
from reelmill.schemas.errors import BadInput, NotFound
from reelmill.sinks.card import LabelErrors, label_errors
from reelmill.sinks.dataset import Counts, Dataset, Store
from reelmill.sinks.state.lease import held
from reelmill.sinks.state.objects import store_trouble
from reelmill.sinks.state.place import Folder, objects_in

_FAULTS = 10


def opened(store: Folder) -> Store:
    """An existing store. Raises NotFound where the folder is missing."""
    if not isinstance(store, Path):
        return Store(store)
    if not store.is_dir():
        raise NotFound(f"store {store}", seen="no such folder", do="give --store, or run a recipe first")
    return Store(store.absolute())


def status(store: Folder, dataset: str) -> None:
    """A table of datasets with their counts; below it inputs that vanished, and faults of pending rows."""
    place, console = opened(store), wide_console()
    found = [place.find(dataset)] if dataset else place.datasets()
    if not found:
        console.print(f"no dataset in {place.root} yet; run a recipe", highlight=False, markup=False, soft_wrap=True)
        return
    table = lined("dataset", "inputs", "accepted", "rejected", "pending", "children", "packed")
    below: list[str] = []
    for one in found:
        counts = one.counts()
        table.add_row(one.label, *_numbers(counts), "yes" if "manifest.json" in one.ledger.objects.list("") else "")
        below += [f"{one.label}: {counts.vanished} inputs that vanished are not counted"] if counts.vanished else []
        below += [*_faults(one), *_stuck(one, counts), *_used(one, counts), *_known(one)]
    console.print(table)
    for line in below:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def lined(*columns: str) -> Table:
    """A table that folds a long word where the terminal ends, and never cuts one off."""
    table = Table(box=None, padding=(0, 1), collapse_padding=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _numbers(counts: Counts) -> list[str]:
    numbers = (counts.live, counts.accepted, counts.rejected, counts.pending)
    return [*(str(n) for n in numbers), f"{counts.accepted_children} of {counts.children}" if counts.children else ""]


def _faults(dataset: Dataset) -> list[str]:
    """How many rows are pending for which fault, the most common first."""
    faults = Counter(v.strip().splitlines()[-1] for v in dataset.ledger.faults().values())
    lines = [f"{dataset.label}: {n} pending for {why}" for why, n in faults.most_common(_FAULTS)]
    more = [f"{dataset.label}: {len(faults) - _FAULTS} more kinds of fault"] if len(faults) > _FAULTS else []
    return lines + more


def _used(dataset: Dataset, counts: Counts) -> list[str]:
    """What models were asked, in all and for each accepted row or child."""
    made = counts.accepted_children if counts.children else counts.accepted
    return [
        f"{dataset.label}: {step} made {used['calls']:.0f} calls{_by_batch(used)}, {used['tokens_in']:.0f} tokens in, "
        f"{used['tokens_out']:.0f} out{_cost(used, made)}"
        for step, used in dataset.usage().items()
    ]


def _by_batch(used: dict[str, float]) -> str:
    return f", {used['batched']:.0f} by batch" if used.get("batched") else ""


def _known(dataset: Dataset) -> list[str]:
    """The errors of the labels, where anybody measured or marked any."""
    errors = label_errors(dataset)
    return [f"{dataset.label}: {line}" for line in errors.lines] if errors != LabelErrors() else []


def _cost(used: dict[str, float], made: int) -> str:
    if not used["cost"]:
        return " (no price known)"
    each = f", {used['cost'] / made:.6f} for each that was accepted" if made else ""
    return f", cost {used['cost']:.4f}{each}"


def _stuck(dataset: Dataset, counts: Counts) -> list[str]:
    """That runs were ended as stuck, and where the last one stood; of no interest once nothing is pending."""
    ended = dataset.ledger.objects.list("stuck") if counts.pending else []
    where = dataset.place / "stuck" / ended[-1] if ended else ""
    return [f"{dataset.label}: {len(ended)} runs ended as stuck, the last one here: {where}"] if ended else []


def rejects(store: Folder, dataset: str, where: str, number: int) -> None:
    """Rejects by reason, then one by one. Raises BadInput on a condition that DuckDB does not take."""
    found = _selected(opened(store).find(dataset), where)
    console = wide_console()
    by_reason = lined("level", "step", "reason", "count")
    counted = Counter((r["level"], r["step"], r["reason"]) for r in found.to_pylist())
    for reason, count in sorted(counted.items(), key=lambda item: (-item[1], item[0])):
        by_reason.add_row(*reason, str(count))
    console.print(by_reason)
    files = _files(opened(store), dataset)
    for row in found.slice(0, number).to_pylist():
        where_from = files.get(row["key"]) or files.get(row["parent_key"] or "") or row["key"]
        line = f"{where_from}  {row['step']}/{row['reason']}  {row['detail']}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if found.num_rows > number:
        console.print(f"... and {found.num_rows - number} more; -n shows more of them", highlight=False)


def _files(store: Store, dataset: str) -> dict[str, str]:
    """Where each key of a set of datasets comes from: media by their entries, what is made of them by its children."""
    slug = store.find(dataset).name.partition("-")[2]
    files: dict[str, str] = {}
    for one in store.datasets():
        if one.name.partition("-")[2] == slug:
            files |= {e.key: e.uri for e in one.entries() if e.uri}
            files |= {c["key"]: c["media"]["uri"] for c in _children_with_media(one)}
    return files


def _children_with_media(dataset: Dataset) -> list[dict[str, Any]]:
    children = dataset.children()
    return children.select(["key", "media"]).to_pylist() if "media" in children.column_names else []


def _selected(dataset: Dataset, where: str) -> pa.Table:
    relation = duckdb.from_arrow(dataset.rejects())
    try:
        return relation.filter(where).order("level, step, reason, key").to_arrow_table()
    except duckdb.Error as error:
        names = ", ".join(dataset.rejects().column_names)
        raise BadInput(f"--where {where!r}", seen=str(error).splitlines()[0], do=f"use the columns {names}") from error


def retry(store: Folder, dataset: str, where: str, *, damaged: bool, ask_again: bool) -> None:
    """Void the chosen rejects' rows (a child's parent), or the rows whose bytes are damaged: they are pending again.

    With `ask_again` what this dataset's models said of those rows is forgotten, so that it is bought anew. It is
    forgotten first: a kill in between leaves answers that are asked for again, and never rows with the old ones.
    """
    one = opened(store).find(dataset)
    keys = sorted(one.ledger.broken()) if damaged else _rows_of(_selected(one, where))
    forgotten = _forget(store, one, set(keys)) if ask_again and keys else 0
    if keys:
        with store_trouble(store):
            lease = one.ledger.take()
            with held(one.ledger.objects, lease):
                one.ledger.void(lease, keys)
    said = f"; {forgotten} replies about them are forgotten" if ask_again else ""
    line = f"{one.label}: {len(keys)} rows are pending again{said}; run the recipe to work on them"
    Console().print(line, highlight=False, soft_wrap=True)


def _forget(store: Folder, dataset: Dataset, rows: set[str]) -> int:
    """Forget what the models of a dataset's steps said of these rows."""
    from reelmill.annotators.engines.batch_notes import forget_answered
    from reelmill.annotators.engines.replies import Replies

    folder = Place(store, (), "").cache / "replies"
    steps = (dataset.identity or {})["fingerprint"].get("steps", ())
    models = {model for step in steps if (model := step["fields"].get("model"))}
    kept = [k for k in Replies(folder).all() if k.row in rows and k.engine in models]
    for model in models if kept else ():
        forget_answered(folder, model)
    for one in kept:
        one.path.unlink(missing_ok=True)
    return len(kept)


def _rows_of(rejects: pa.Table) -> list[str]:
    return sorted({r["parent_key"] or r["key"] for r in rejects.to_pylist()})


def look(store: Folder, dataset: str, number: int) -> None:
    """Show a few samples."""
    from reelmill.sinks.look import render

    Console().print(render(opened(store).find(dataset), number))


def sql(store: Folder, dataset: str, query: str, form: str) -> None:
    """Run a query over a dataset's tables. Raises BadInput with DuckDB's first line on a wrong one."""
    from reelmill.sinks import catalog

    if form not in ("table", "csv", "json"):
        raise BadInput(f"--format {form!r}", seen="an unknown form", do="use table, csv or json")
    connection = catalog.connect(opened(store), opened(store).find(dataset))
    try:
        relation = connection.sql(query or "select table_name, column_name, data_type from information_schema.columns")
        if relation is not None:
            _show(relation.columns, relation.fetchall(), form)
    except duckdb.Error as error:
        seen, do = str(error).splitlines()[0], "run `sql` without one to see tables"
        raise BadInput("the query", seen=seen, do=do) from error


def _show(columns: list[str], rows: list[tuple[Any, ...]], form: str) -> None:
    if form == "json":
        for row in rows:
            named = dict(zip(columns, row, strict=True))
            sys.stdout.write(json.dumps(named, default=str, ensure_ascii=False) + "\n")
    elif form == "csv":
        import csv

        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows(rows)
    else:
        table = lined(*map(escape, columns))
        for row in rows:
            table.add_row(*("" if v is None else escape(str(v)) for v in row))
        wide_console().print(table, highlight=False)


def _swept(dataset: Dataset) -> int:
    """Bytes of what killed packs and galleries left in a dataset's folder, which are gone now."""
    from reelmill.sinks import gallery
    from reelmill.sinks.publishing import publish

    if not isinstance(dataset.place, Path):
        return 0
    return publish.sweep(dataset) + gallery.sweep(dataset.place / "gallery")


def collect(store: Folder) -> None:
    """Collect garbage in every dataset of the store, then what killed writers left half-written elsewhere in it."""
    with store_trouble(store):
        for one in opened(store).datasets():
            lease = one.ledger.take()
            with held(one.ledger.objects, lease):
                freed = one.ledger.collect(lease) + _swept(one)
            Console().print(f"{one.label}: {freed} bytes freed", highlight=False, soft_wrap=True)
        objects = objects_in(store)
        left = objects.leftovers()
        freed = sum(objects.delete(name) for name in left)
        if left:
            Console().print(f"{store}: {freed} bytes in {len(left)} leftovers freed", highlight=False, soft_wrap=True)
