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
    """Samples of a clip hold its medium and provenance each: what several items hold is made plain once, for all."""
    known: dict[int, Any] = {}  # by id: the items keep alive what they hold
    return [v if type(v) in _PLAIN else _item(v, known) for v in values]


def _item(value: Any, known: dict[int, Any]) -> Any:
    kind: Any = type(value)
    names = _names(kind)
    if not names:
        return plain(value)
    row = {name: getattr(value, name) for name in names}
    for name, own in row.items():
        if type(own) not in _PLAIN:
            if id(own) not in known:
                known[id(own)] = plain(own)
            row[name] = known[id(own)]
    return row


@cache
def _names(kind: Any) -> tuple[str, ...]:
    """Fields of a dataclass; none of anything else."""
    return tuple(f.name for f in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


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
        item = _reader(typing.get_args(hint)[0])
        return lambda value: tuple(item(v) for v in value)
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
    return cast_rows([plain(r) for r in rows], schema_of(cls))


def cast_rows(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Dict rows as a table of `schema`. Raises SchemaBroken on a wrong type or a forbidden null, at any depth."""
    for field in schema:
        if _counts(field.type) and (place := _fraction_in(field, [row.get(field.name) for row in rows])):
            raise SchemaBroken(f"column {place}", seen="a fraction in a column of whole numbers", do="round it")
    try:
        table = pa.Table.from_pylist(list(rows), schema=schema)
        table.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise SchemaBroken("rows", seen=str(error).splitlines()[0], do=f"give {schema.names}") from error
    for field in schema:
        for chunk in table[field.name].chunks:
            if hole := _hole(field.name, field, chunk):
                raise SchemaBroken(f"column {hole}", seen="null where it is declared not null", do="fill it")
    return table


@cache
def _counts(kind: pa.DataType) -> bool:
    """True where whole numbers stand somewhere in a type."""
    if pa.types.is_struct(kind):
        return any(_counts(child.type) for child in kind)
    return _counts(kind.value_type) if pa.types.is_list(kind) else pa.types.is_integer(kind)


def _fraction_in(field: pa.Field, values: Sequence[Any]) -> str | None:
    """Where a fraction stands for a whole number, or None. Looked for only where not all are seen to be whole."""
    return None if all(map(_whole(field.type), values)) else _first(field.name, _fraction(field.type), values)


@cache
def _whole(kind: pa.DataType) -> Callable[[Any], bool]:
    """Tells of plain values that each whole number in them is an int or missing. Every row passes here, often."""
    if pa.types.is_integer(kind):
        return lambda value: type(value) in _WHOLE
    if pa.types.is_list(kind):
        item = _whole(kind.value_type)
        return lambda value: value is None or (type(value) in (list, tuple) and all(map(item, value)))
    numbers = tuple(child.name for child in kind if pa.types.is_integer(child.type))
    inner = [(c.name, _whole(c.type)) for c in kind if _counts(c.type) and c.name not in numbers]

    def struct(value: Any) -> bool:
        if type(value) is not dict:
            return value is None
        whole = all(type(value.get(name)) in _WHOLE for name in numbers)
        return whole and all(check(value.get(name)) for name, check in inner)

    return struct


@cache
def _fraction(kind: pa.DataType) -> Callable[[Any], str | None]:
    """Finds where a fraction stands for a whole number. pyarrow would cut 1.5 down to 1 without a word.

    Worked out once per type, and blind to what holds no whole number.
    """
    if pa.types.is_integer(kind):
        return lambda value: "" if isinstance(value, (float, np.floating)) and value % 1 != 0 else None
    if pa.types.is_list(kind):
        item = _fraction(kind.value_type)
        return lambda value: _first("[]", item, value) if isinstance(value, (list, tuple)) else None
    inner = [(child.name, _fraction(child.type)) for child in kind if _counts(child.type)]
    return lambda value: _first_of(inner, value) if isinstance(value, dict) else None


def _first(path: str, find: Callable[[Any], str | None], values: Iterable[Any]) -> str | None:
    return next((path + found for v in values if v is not None and (found := find(v)) is not None), None)


def _first_of(inner: Sequence[tuple[str, Callable[[Any], str | None]]], row: dict[str, Any]) -> str | None:
    return next((found for name, find in inner if (found := _first(f".{name}", find, (row.get(name),)))), None)


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
