"""From a finished batch of rows to the files of one commit: rows, exploded children, and the media part.

A column of `NewFrame`s leaves its JPEG bytes in the media part and becomes a column of `ShownFrame`s.
"""

from __future__ import annotations

import hashlib
import typing
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.media import NewFrame, ShownFrame
from reelmill.schemas.verdict import ACCEPTED, State, Verdict
from reelmill.sinks.ledger import KeyOutcome, parquet_bytes

NEW_FRAMES, SHOWN_FRAMES = tuple[NewFrame, ...], tuple[ShownFrame, ...]


def stored(column: Column) -> Column:
    """The column as it is stored: frames without their bytes."""
    return Column(column.name, SHOWN_FRAMES) if column.hint == NEW_FRAMES else column


def child_columns(explode: Column) -> tuple[Column, ...]:
    """Stored columns of the children of an exploded list column, one per field of its dataclass."""
    item = typing.get_args(explode.hint)[0]
    if not is_dataclass(item):
        raise TypeError(f"column {explode.name}: its items must be dataclasses to be exploded, seen {item}")
    hints = typing.get_type_hints(item)
    return tuple(stored(Column(f.name, hints[f.name])) for f in fields(item))


def part_files(
    rows: Sequence[dict[str, Any]],
    keeps: Sequence[Column],
    explode: Column | None,
) -> tuple[list[KeyOutcome], dict[str, bytes]]:
    """Outcomes and files of a group of finished rows (dicts with `key`, `verdict`, the kept columns), in key order."""
    ordered = sorted(rows, key=lambda row: str(row["key"]))
    media = _Media()
    children = [c for row in ordered for c in _children(row, explode)]
    files = {"rows": parquet_bytes(_row_table(ordered, keeps, media))}
    if explode is not None:
        files["children"] = parquet_bytes(_child_table(children, explode, media))
    if media.data:
        files["media"] = bytes(media.data)
    return [_outcome(row, _children(row, explode)) for row in ordered], files


def table_files(
    table: pa.Table, keeps: Sequence[Column], explode: Column | None
) -> tuple[list[KeyOutcome], dict[str, bytes]]:
    """What `part_files` gives for the same rows, from a table that steps gave; children do not pass through Python.

    For columns without new frames; children were checked when the table was made. Rows are few beside them, and a
    struct that a refused row lacks is null in all its fields here, which Parquet refuses.
    """
    table = table.sort_by("key").combine_chunks()
    verdict = pc.coalesce(table["verdict"], pa.scalar(arrow.plain(ACCEPTED), table["verdict"].type))
    states = pc.struct_field(verdict, "state")
    rows = table.select(["key", *(c.name for c in keeps), "verdict"]).to_pylist()
    files = {"rows": parquet_bytes(_row_table(rows, keeps, _Media()))}
    made = accepted = np.zeros(table.num_rows, np.int64)
    if explode is not None:
        children, parents = _flattened(table[explode.name], pc.equal(states, str(State.REJECTED)))
        files["children"] = parquet_bytes(pa.Table.from_arrays(children.flatten(), schema=_child_schema(explode)))
        sure = pc.equal(pc.struct_field(children, ["verdict", "state"]), str(State.ACCEPTED))
        made, accepted = (
            np.bincount(p, minlength=table.num_rows) for p in (parents, parents[sure.to_numpy(zero_copy_only=False)])
        )
    told = zip(table["key"].to_pylist(), states.to_pylist(), made.tolist(), accepted.tolist(), strict=True)
    return [KeyOutcome(*one) for one in told], files


def _flattened(lists: pa.ChunkedArray, refused: pa.ChunkedArray) -> tuple[pa.StructArray, Any]:
    """The items of all lists in order, and the number of the row that each is of; refused rows have none."""
    whole = lists.combine_chunks()
    items, parents = pc.list_flatten(whole), pc.list_parent_indices(whole).to_numpy()
    kept = ~refused.to_numpy()[parents]
    return (items, parents) if kept.all() else (items.filter(pa.array(kept)), parents[kept])


class _Media:
    """The media part while it is filled."""

    def __init__(self) -> None:
        self.data = bytearray()

    def keep(self, frames: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [self._keep(frame) for frame in frames]

    def _keep(self, frame: dict[str, Any]) -> dict[str, Any]:
        jpeg: bytes = frame["jpeg"]
        kept = {n: frame[n] for n in ("frame", "at_s", "width_px", "height_px")}
        kept |= {"sha256": hashlib.sha256(jpeg).hexdigest(), "offset": len(self.data), "size": len(jpeg)}
        self.data += jpeg
        return kept


def _children(row: dict[str, Any], explode: Column | None) -> list[dict[str, Any]]:
    """Children of a row; a rejected row has none, whatever an earlier step made."""
    if explode is None or _rejected(row):
        return []
    return row[explode.name] or []


def _rejected(row: dict[str, Any]) -> bool:
    return row["verdict"] is not None and row["verdict"]["state"] == State.REJECTED


def _outcome(row: dict[str, Any], children: Sequence[dict[str, Any]]) -> KeyOutcome:
    accepted = sum(c["verdict"]["state"] == State.ACCEPTED for c in children)
    state = State.REJECTED if _rejected(row) else State.ACCEPTED
    return KeyOutcome(row["key"], str(state), len(children), accepted)


def _row_table(rows: Sequence[dict[str, Any]], keeps: Sequence[Column], media: _Media) -> pa.Table:
    shaped = [_shape(row, keeps, media) | {"key": row["key"], "verdict": _verdict(row)} for row in rows]
    return arrow.cast_rows(shaped, _row_schema(keeps))


def _row_schema(keeps: Sequence[Column]) -> pa.Schema:
    return pa.schema([KEY.field, *(stored(c).stored for c in keeps), Column("verdict", Verdict).field])


def _child_schema(explode: Column) -> pa.Schema:
    return pa.schema([c.field for c in child_columns(explode)])


def _verdict(row: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = row["verdict"] or arrow.plain(ACCEPTED)
    return plain


def _child_table(children: Sequence[dict[str, Any]], explode: Column, media: _Media) -> pa.Table:
    item = typing.get_args(explode.hint)[0]
    hints = typing.get_type_hints(item)
    columns = [Column(f.name, hints[f.name]) for f in fields(item)]
    shaped = [_shape(child, columns, media) for child in children]
    return arrow.cast_rows(shaped, _child_schema(explode))


def has_new_frames(keeps: Sequence[Column], explode: Column | None) -> bool:
    """True where frames come with their bytes, which go to the media part."""
    fields_of = typing.get_type_hints(typing.get_args(explode.hint)[0]).values() if explode is not None else ()
    return NEW_FRAMES in (*(c.hint for c in keeps), *fields_of)


def _shape(row: dict[str, Any], columns: Sequence[Column], media: _Media) -> dict[str, Any]:
    def value(column: Column) -> Any:
        found = row[column.name]
        return media.keep(found) if column.hint == NEW_FRAMES and found is not None else found

    return {c.name: value(c) for c in columns}
