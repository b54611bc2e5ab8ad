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
from rich.table import Table

from reelmill.schemas.errors import BadInput, NotFound
from reelmill.sinks.dataset import Counts, Dataset, Store
from reelmill.sinks.lease import held


def opened(store: Path) -> Store:
    """An existing store. Raises NotFound where the folder is missing."""
    if not store.is_dir():
        raise NotFound(f"store {store}", seen="no such folder", do="give --store, or run a recipe first")
    return Store(store.absolute())


def status(store: Path, dataset: str) -> None:
    """A table of datasets with their counts; faults of pending rows below."""
    found = [opened(store).find(dataset)] if dataset else opened(store).datasets()
    table = Table("dataset", "inputs", "accepted", "rejected", "pending", "children", "accepted ", "vanished", "packed")
    faults: dict[str, str] = {}
    for one in found:
        counts = one.counts()
        table.add_row(one.label, *_numbers(counts), "yes" if (one.folder / "manifest.json").exists() else "")
        faults |= {f"{one.label} {k}": v.strip().splitlines()[-1] for k, v in one.ledger.faults().items()}
    console = Console()
    console.print(table)
    for key, fault in list(faults.items())[:10]:
        console.print(f"pending {key}: {fault}", highlight=False, markup=False)


def _numbers(counts: Counts) -> list[str]:
    numbers = (counts.live, counts.accepted, counts.rejected, counts.pending, counts.children, counts.accepted_children)
    return [str(n) for n in (*numbers, counts.vanished)]


def rejects(store: Path, dataset: str, where: str, number: int) -> None:
    """Rejects by reason, then one by one. Raises BadInput on a condition that DuckDB does not take."""
    found = _selected(opened(store).find(dataset), where)
    console = Console()
    by_reason = Table("level", "step", "reason", "count")
    counted = Counter((r["level"], r["step"], r["reason"]) for r in found.to_pylist())
    for reason, count in sorted(counted.items(), key=lambda item: (-item[1], item[0])):
        by_reason.add_row(*reason, str(count))
    console.print(by_reason)
    files = _files(opened(store), dataset)
    for row in found.slice(0, number).to_pylist():
        where_from = files.get(row["key"]) or files.get(row["parent_key"] or "") or row["key"]
        line = f"{where_from}  {row['step']}/{row['reason']}  {row['detail']}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)


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


def retry(store: Path, dataset: str, where: str) -> None:
    """Void the chosen rejects' rows (a child's parent), so that they are pending again."""
    one = opened(store).find(dataset)
    chosen = _selected(one, where).to_pylist()
    keys = sorted({r["parent_key"] or r["key"] for r in chosen})
    if keys:
        lease = one.ledger.take()
        with held(one.ledger.objects, lease):
            one.ledger.void(lease, keys)
    Console().print(f"{one.label}: {len(keys)} rows are pending again; run the recipe to work on them")


def look(store: Path, dataset: str, number: int) -> None:
    """Show a few samples."""
    from reelmill.sinks.look import render

    Console().print(render(opened(store).find(dataset), number))


def sql(store: Path, dataset: str, query: str, form: str) -> None:
    """Run a query over a dataset's tables. Raises BadInput with DuckDB's first line on a wrong one."""
    from reelmill.sinks import catalog

    connection = catalog.connect(opened(store), opened(store).find(dataset))
    try:
        relation = connection.sql(query or "select table_name, column_name, data_type from information_schema.columns")
    except duckdb.Error as error:
        raise BadInput(
            "the query", seen=str(error).splitlines()[0], do="run `sql` without one to see tables"
        ) from error
    if relation is None:
        return
    _show(relation, form)


def _show(relation: duckdb.DuckDBPyRelation, form: str) -> None:
    if form == "json":
        for row in relation.to_arrow_table().to_pylist():
            sys.stdout.write(json.dumps(row, default=str, ensure_ascii=False) + "\n")
    elif form == "csv":
        import csv

        writer = csv.writer(sys.stdout)
        writer.writerow(relation.columns)
        writer.writerows(relation.fetchall())
    elif form == "table":
        table = Table(*relation.columns)
        for row in relation.fetchall():
            table.add_row(*("" if v is None else str(v) for v in row))
        Console().print(table, markup=False)
    else:
        raise BadInput(f"--format {form!r}", seen="an unknown form", do="use table, csv or json")


def collect(store: Path) -> None:
    """Collect garbage in every dataset of the store."""
    for one in opened(store).datasets():
        lease = one.ledger.take()
        with held(one.ledger.objects, lease):
            freed = one.ledger.collect(lease)
        Console().print(f"{one.label}: {freed} bytes freed", highlight=False)
