"""The guard around every step: rows neither vanish, nor double, nor change places, and columns are what was declared.

Ray Data notices none of this by itself: a function that drops one row per batch runs to the end without a word.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from reelmill.annotators.annotator import FAULT, VERDICT, Annotator, result_schema, step_name
from reelmill.schemas.errors import GuardBroken

_OWN = ("key", VERDICT.name, FAULT.name)


def with_outcome(table: pa.Table) -> pa.Table:
    """A source's table with the `verdict` and `fault` columns that the guard carries along."""
    for column in (VERDICT, FAULT):
        if column.name not in table.column_names:
            table = table.append_column(column.field, pa.nulls(table.num_rows, column.field.type))
    return table


def run_step(step: Annotator, table: pa.Table) -> pa.Table:
    """Apply a step to the rows that are still live and lay its columns beside the others.

    Raises GuardBroken where the step returned other rows, columns or types than it declared.
    """
    live = pc.and_(pc.is_null(table[VERDICT.name]), pc.is_null(table[FAULT.name]))
    batch = table.select(list(dict.fromkeys(["key", *(c.name for c in step.needs)]))).filter(live)
    answer = step(batch) if batch.num_rows else result_schema(step.gives).empty_table()
    _check(step, batch, answer)
    if answer.num_rows < table.num_rows:
        answer = answer.take(_places(live))
    for column in step.gives:
        table = table.append_column(column.stored, answer[column.name])
    for column in (VERDICT, FAULT):
        merged = pc.coalesce(table[column.name], answer[column.name])
        table = table.set_column(table.column_names.index(column.name), column.field, merged)
    return table


def _places(live: pa.ChunkedArray) -> pa.Array:
    """For every row, where its answer is among the answers of live rows; null for a row that was not asked."""
    flags = live.to_pylist()
    numbers = iter(range(sum(flags)))
    return pa.array([next(numbers) if flag else None for flag in flags], pa.int64())


def _check(step: Annotator, asked: pa.Table, answer: pa.Table) -> None:
    name = f"step {step_name(step)}"
    want = result_schema(step.gives)
    undeclared = sorted(set(answer.column_names) - set(want.names))
    missing = sorted(set(want.names) - set(answer.column_names))
    if undeclared or missing:
        seen = f"undeclared {undeclared}, missing {missing}"
        raise GuardBroken(f"{name} gives {[c.name for c in step.gives]}", seen=seen, do="declare what it gives")
    for field in want:
        if answer.schema.field(field.name).type != field.type:
            seen = f"{answer.schema.field(field.name).type}"
            raise GuardBroken(f"{name} gives {field.name} as {field.type}", seen=seen, do="cast to the declared type")
    if answer["key"].to_pylist() != asked["key"].to_pylist():
        raise GuardBroken(
            f"{name} was given {asked.num_rows} rows", seen=_difference(asked, answer), do="return each once"
        )


def _difference(asked: pa.Table, answer: pa.Table) -> str:
    before, after = asked["key"].to_pylist(), answer["key"].to_pylist()
    dropped, doubled = sorted(set(before) - set(after)), sorted({k for k in after if after.count(k) > 1})
    if dropped or doubled:
        return f"{len(after)} rows, dropped {dropped[:3]}, doubled {doubled[:3]}"
    return f"{len(after)} rows in another order, or with keys of its own"
