"""Arrow schemas derived from frozen dataclasses, so that a row has one definition.

    str int float bool bytes   string int64 float64 bool binary
    Float32                    float32 (the numbers of long vectors)
    StrEnum                    string
    X | None                   nullable X; anything else is declared not null
    tuple[X, ...]              list<X>
    dataclass                  struct

>>> @dataclasses.dataclass(frozen=True)
... class Point:
...     x_px: float
...     name: str | None
>>> schema_of(Point)
x_px: double not null
name: string
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from reelmill.schemas.errors import SchemaBroken

Row = TypeVar("Row")

Float32 = typing.NewType("Float32", float)
"""A float of which only 32 bits are stored."""

_SCALARS: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    Float32: pa.float32(),
}


def _optional(hint: Any) -> tuple[Any, bool]:
    """Split `X | None` into (X, True); anything else is (hint, False)."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        if len(inner) != 1 or len(typing.get_args(hint)) != 2:
            raise SchemaBroken(f"type {hint}", seen="a union of several types", do="use X | None")
        return inner[0], True
    return hint, False


@cache
def type_of(hint: Any) -> pa.DataType:
    """Arrow type of one Python annotation (nullability belongs to the field that holds it)."""
    hint, _ = _optional(hint)
    if dataclasses.is_dataclass(hint):
        return pa.struct(_fields(hint))
    if typing.get_origin(hint) is tuple:
        item, ellipsis = typing.get_args(hint)
        if ellipsis is not Ellipsis:
            raise SchemaBroken(f"type {hint}", seen="a tuple of fixed length", do="use tuple[X, ...] or a dataclass")
        inner, nullable = _optional(item)
        return pa.list_(pa.field("item", type_of(inner), nullable=nullable))
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return pa.string()
    if hint in _SCALARS:
        return _SCALARS[hint]
    raise SchemaBroken(f"type {hint}", seen="no Arrow form", do="use a type named in schemas/arrow.py")


def _fields(cls: Any) -> list[pa.Field]:
    hints = typing.get_type_hints(cls)
    return [_field(f.name, hints[f.name]) for f in dataclasses.fields(cls)]


def _field(name: str, hint: Any) -> pa.Field:
    inner, nullable = _optional(hint)
    return pa.field(name, type_of(inner), nullable=nullable)


@cache
def schema_of(cls: Any) -> pa.Schema:
    """Arrow schema of a dataclass: one field per dataclass field, in order."""
    return pa.schema(_fields(cls))


_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
"""Exact types that stand as they are. Most values are of these, and a call for each costs more than all the rest."""
_WHOLE = frozenset({int, bool, type(None)})


def plain(value: Any) -> Any:
    """A dataclass (at any depth) as dicts and lists, the form that Arrow and JSON take."""
    kind: Any = type(value)
    return _form(kind)(value)


@cache
def _form(kind: Any) -> Callable[[Any], Any]:
    """How values of one class are made plain, worked out once: rows are many and classes few."""
    if dataclasses.is_dataclass(kind):
        names = [f.name for f in dataclasses.fields(kind)]
        return lambda value: {n: v if type(v := getattr(value, n)) in _PLAIN else plain(v) for n in names}
    if issubclass(kind, (tuple, list)):
        return _items
    return str if issubclass(kind, enum.StrEnum) else _as_it_is


def _items(values: Sequence[Any]) -> list[Any]:
    return [v if type(v) in _PLAIN else plain(v) for v in values]


def _as_it_is(value: Any) -> Any:
    return value


def typed(hint: Any, value: Any) -> Any:
    """The inverse of `plain`: rebuild `hint` from dicts and lists.

    Raises SchemaBroken on a missing field or a null where none is declared.
    """
    return _reader(hint)(value)


@cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    """How values of one annotation are rebuilt, worked out once: rows are many and annotations few."""
    inner, nullable = _optional(hint)
    read = _present(inner)

    def reader(value: Any) -> Any:
        if value is not None:
            return read(value)
        if not nullable:
            raise SchemaBroken(f"a value of type {hint}", seen="null", do="declare it `| None` or fill it")
        return None

    return reader


def _present(hint: Any) -> Callable[[Any], Any]:
    if dataclasses.is_dataclass(hint):
        return _row_reader(hint)
    if typing.get_origin(hint) is tuple:
        (inner, _) = typing.get_args(hint)
        item = _reader(inner)
        if _stands(inner):
            return lambda value: tuple(map(item, value)) if None in value else tuple(value)
        return lambda value: tuple(map(item, value))
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return hint
    return lambda value: value


def _row_reader(cls: Any) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(cls)
    readers = {name: _reader(hint) for name, hint in hints.items()}
    deep = [(name, None if _stands(hint) else readers[name]) for name, hint in hints.items()]

    def read(value: dict[str, Any]) -> Any:
        try:
            found = {n: value[n] if reader is None else reader(value[n]) for n, reader in deep}
        except KeyError:
            missing = [n for n in readers if n not in value]
            raise SchemaBroken(
                f"{cls.__name__} row", seen=f"no field {missing}", do="rebuild the dataset or migrate it"
            ) from None
        if None in found.values():
            found = {n: reader(value[n]) for n, reader in readers.items()}  # raises where one may not be null
        return cls(**found)

    return read


def _stands(hint: Any) -> bool:
    """True where a value is rebuilt as it is; a call for each of them costs more than all the rest."""
    return _optional(hint)[0] in _SCALARS


def to_table(cls: Any, rows: Iterable[Any]) -> pa.Table:
    """Rows of one dataclass as an Arrow table of exactly its derived schema.

    Raises SchemaBroken where a value does not fit; pyarrow would otherwise infer another type.
    """
    return cast_rows(list(rows), schema_of(cls))


def cast_rows(rows: Sequence[Any], schema: pa.Schema) -> pa.Table:
    """Rows, dicts or dataclasses at any depth, as a table of `schema`. Raises SchemaBroken on a wrong type or a
    forbidden null, at any depth."""
    try:
        table = pa.Table.from_arrays(_columns("", list(schema), rows), schema=schema)
    except _TooLong:
        middle = len(rows) // 2
        return pa.concat_tables([cast_rows(half, schema) for half in (rows[:middle], rows[middle:])])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError, AttributeError) as error:
        raise SchemaBroken("rows", seen=str(error).splitlines()[0], do=f"give {schema.names}") from error
    for field in schema:
        for chunk in table[field.name].chunks:
            if hole := _hole(field.name, field, chunk):
                raise SchemaBroken(f"column {hole}", seen="null where it is declared not null", do="fill it")
    return table


class _TooLong(Exception):
    """What several rows hold is longer than one Arrow array can be (2 GB)."""


def _columns(path: str, fields: Sequence[pa.Field], rows: Sequence[Any]) -> list[pa.Array]:
    """The fields of dicts or dataclasses, a column at a time: a call for each row costs more than its values."""
    names = tuple(f.name for f in fields)
    kind: Callable[[Any], Any] = type
    values = list(zip(*(_values(kind(row), names)(row) for row in rows), strict=True)) or [()] * len(fields)
    return [_column(f"{path}{f.name}", f.type, own) for f, own in zip(fields, values, strict=True)]


@cache
def _values(kind: Any, names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Reads some fields of a row of one class, a missing key of a dict as None."""
    if kind is dict:
        return lambda row: tuple(map(row.get, names))
    return attrgetter(*names) if len(names) > 1 else lambda row: (getattr(row, names[0]),)


def _column(path: str, kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
    if pa.types.is_struct(kind):
        return _structs(path, kind, values)
    if pa.types.is_list(kind) and (pa.types.is_nested(kind.value_type) or pa.types.is_integer(kind.value_type)):
        return _lists(path, kind, values)
    if pa.types.is_integer(kind) and not _WHOLE.issuperset(map(type, values)):
        _require_whole(path, values)
    column = pa.array(values, kind)
    if isinstance(column, pa.ChunkedArray):
        raise _TooLong
    return column


def _structs(path: str, kind: pa.StructType, values: Sequence[Any]) -> pa.Array:
    held, places = _distinct(values)
    if not held:
        return pa.array(values, kind)
    items = pa.StructArray.from_arrays(_columns(f"{path}.", list(kind), held), fields=list(kind))
    if places is None:
        return items
    items = items.take(places.fill_null(0))  # Parquet refuses nulls in a field of no nulls, also under a null struct
    return pa.StructArray.from_arrays(items.flatten(), fields=list(kind), mask=places.is_null())


def _lists(path: str, kind: pa.ListType, values: Sequence[Any]) -> pa.Array:
    held, places = _distinct(values)
    items = _column(f"{path}[]", kind.value_type, list(chain.from_iterable(held)))
    ends = list(accumulate(map(len, held), initial=0))
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), items, type=kind)
    return lists if places is None else lists.take(places)


def _distinct(values: Sequence[Any]) -> tuple[list[Any], pa.Array | None]:
    """What the values are, each thing once, and the place of every value there, null for None; None where all differ.

    Samples of a clip hold its medium, frames and provenance each: what several rows hold is converted once.
    """
    held = {id(v): v for v in values if v is not None}  # by id: the values keep alive what they hold
    if len(held) == len(values):
        return list(held.values()), None
    place = {known: n for n, known in enumerate(held)}
    return list(held.values()), pa.array([place.get(id(v)) for v in values], pa.int32())


def _require_whole(path: str, values: Sequence[Any]) -> None:
    """pyarrow would cut 1.5 down to 1 without a word."""
    if any(isinstance(v, (float, np.floating)) and v % 1 != 0 for v in values):
        raise SchemaBroken(f"column {path}", seen="a fraction in a column of whole numbers", do="round it")


def _hole(path: str, field: pa.Field, values: pa.Array) -> str | None:
    """Where a null stands that `field` does not allow, or None. pyarrow's own validation does not look for it."""
    if not field.nullable and values.null_count:
        return path
    inner: list[tuple[str, pa.Field, pa.Array]] = []
    if pa.types.is_struct(field.type):
        whole = values.drop_null()  # under a null struct nothing is missing
        inner = [(f"{path}.{child.name}", child, whole.field(i)) for i, child in enumerate(field.type)]
    elif pa.types.is_list(field.type):
        inner = [(f"{path}[]", field.type.value_field, values.flatten())]
    return next((hole for child in inner if (hole := _hole(*child))), None)


def from_table(cls: type[Row], table: pa.Table) -> list[Row]:
    """Rows of a table as dataclass instances. Raises SchemaBroken on a missing field."""
    return [typed(cls, row) for row in table.to_pylist()]
