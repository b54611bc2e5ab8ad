"""Every row type, found by looking, goes to Arrow, to Parquet and back unchanged; what does not fit is refused.

A strategy is derived from each dataclass's annotations, so a new row type or field is enrolled by existing.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import json
import math
import pkgutil
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reelmill.schemas
from reelmill.schemas import arrow
from reelmill.schemas.column import Column, schema
from reelmill.schemas.errors import SchemaBroken
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextLine, TextSighting, TextWord
from reelmill.schemas.tube import Box, Tube


def row_types() -> list[Any]:
    """Every dataclass that a module of `schemas` defines, but not the machinery that describes columns."""
    names = [m.name for m in pkgutil.iter_modules(reelmill.schemas.__path__)]
    modules = [importlib.import_module(f"reelmill.schemas.{name}") for name in names]
    found = {c for m in modules for c in vars(m).values() if isinstance(c, type) and dataclasses.is_dataclass(c)}
    return sorted(found - {Column}, key=lambda c: (c.__module__, c.__name__))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=True)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: INT64,
    float: FLOATS,
    arrow.Float32: st.floats(width=32, allow_nan=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=16),
}
SECONDS = st.floats(0, 1e6, allow_nan=False)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    start, end = sorted(draw(st.lists(SECONDS, min_size=2, max_size=2, unique=True)))
    return Span(start, end)


@st.composite
def tubes(draw: st.DrawFn) -> Tube:
    times = sorted(draw(st.lists(SECONDS, min_size=2, max_size=5, unique=True)))
    boxes = draw(st.lists(strategy_of(Box), min_size=len(times) - 1, max_size=len(times) - 1))
    rest = [draw(TEXTS), draw(TEXTS)]
    return Tube(rest[0], rest[1], tuple(times[:-1]), tuple(boxes), 64, 48, times[-1], draw(FLOATS), draw(TEXTS))


@st.composite
def text_lines(draw: st.DrawFn) -> TextLine:
    quad = draw(st.lists(FLOATS, min_size=8, max_size=8))
    return TextLine(draw(TEXTS), tuple(quad), draw(FLOATS), draw(INT64), draw(INT64), draw(FLOATS), draw(TEXTS))


# Types with laws of their own cannot be filled field by field.
@st.composite
def text_words(draw: st.DrawFn) -> TextWord:
    line = draw(text_lines())
    return TextWord(line.text, line.quad_px, line.confidence, line.order, draw(INT64), line.frame, draw(TEXTS))


@st.composite
def text_sightings(draw: st.DrawFn) -> TextSighting:
    line = draw(text_lines())
    return TextSighting(line.frame, line.at_s, line.quad_px, line.text, line.confidence)


LAWFUL: dict[Any, st.SearchStrategy[Any]] = {
    Span: spans(),
    Tube: tubes(),
    TextLine: text_lines(),
    TextWord: text_words(),
    TextSighting: text_sightings(),
}


def strategy_of(hint: Any) -> st.SearchStrategy[Any]:
    """A strategy for one annotation, by the rules in schemas/arrow.py."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = next(a for a in typing.get_args(hint) if a is not type(None))
        return st.none() | strategy_of(inner)
    if typing.get_origin(hint) is tuple:
        return st.lists(strategy_of(typing.get_args(hint)[0]), max_size=3).map(tuple)
    if hint in LAWFUL:
        return LAWFUL[hint]
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return st.builds(
            typing.cast(Any, hint), **{f.name: strategy_of(hints[f.name]) for f in dataclasses.fields(hint)}
        )
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return st.sampled_from(list(hint))
    return SCALARS[hint]


ROW_TYPES = row_types()


def test_the_row_types_are_found() -> None:
    names = {c.__name__ for c in ROW_TYPES}
    assert {
        "MediaRef",
        "Span",
        "Tube",
        "TextLine",
        "Event",
        "Sample",
        "Turn",
        "Verdict",
        "Provenance",
        "NewClip",
    } <= names


@pytest.mark.parametrize("cls", ROW_TYPES, ids=lambda c: c.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_rows_come_back_from_arrow_and_parquet(cls: Any, data: st.DataObject) -> None:
    rows = data.draw(st.lists(strategy_of(cls), max_size=3))
    table = arrow.to_table(cls, rows)
    assert table.schema.equals(arrow.schema_of(cls), check_metadata=True)
    assert arrow.from_table(cls, table) == rows
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    stored = pq.read_table(pa.BufferReader(sink.getvalue()))
    assert stored.schema.equals(table.schema), "Parquet changed a type or its nullability"
    assert arrow.from_table(cls, stored) == rows


@pytest.mark.parametrize("cls", ROW_TYPES, ids=lambda c: c.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_plain_form_is_json_and_comes_back(cls: Any, data: st.DataObject) -> None:
    row = data.draw(strategy_of(cls))
    plain = arrow.plain(row)
    assert arrow.typed(cls, plain) == row
    if not _holds_bytes(cls):
        assert arrow.typed(cls, json.loads(json.dumps(plain))) == row


@pytest.mark.parametrize("cls", ROW_TYPES, ids=lambda c: c.__name__)
@settings(max_examples=5)
@given(data=st.data())
def test_rows_are_stored_as_pyarrow_stores_their_plain_form_also_where_they_share_what_they_hold(
    cls: Any, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(strategy_of(cls), max_size=3))
    twice = [*rows, *rows]
    table = arrow.to_table(cls, twice)
    table.validate(full=True)
    assert table.to_pylist() == pa.Table.from_pylist([arrow.plain(r) for r in twice], arrow.schema_of(cls)).to_pylist()
    assert arrow.cast_rows([arrow.plain(r) for r in twice], arrow.schema_of(cls)).equals(table)


def _holds_bytes(hint: Any) -> bool:
    if dataclasses.is_dataclass(hint):
        return any(_holds_bytes(h) for h in typing.get_type_hints(hint).values())
    return hint is bytes or any(_holds_bytes(a) for a in typing.get_args(hint))


@pytest.mark.parametrize("cls", ROW_TYPES, ids=lambda c: c.__name__)
def test_no_rows_still_have_the_whole_schema(cls: Any) -> None:
    """An empty batch is where type inference goes wrong (Ray writes list<null>); the derived schema does not infer."""
    empty = arrow.to_table(cls, [])
    assert empty.num_rows == 0
    assert empty.schema == arrow.schema_of(cls)
    assert "null" not in {str(f.type) for f in empty.schema}


@pytest.mark.parametrize("cls", ROW_TYPES, ids=lambda c: c.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_null_is_refused_where_it_is_not_declared(cls: Any, data: st.DataObject) -> None:
    row = arrow.plain(data.draw(strategy_of(cls)))
    for field in arrow.schema_of(cls):
        holed = row | {field.name: None}
        if field.nullable:
            assert arrow.cast_rows([holed], arrow.schema_of(cls))[field.name].null_count == 1
            assert getattr(arrow.typed(cls, holed), field.name) is None
        else:
            with pytest.raises(SchemaBroken, match=field.name):
                arrow.cast_rows([holed], arrow.schema_of(cls))
            with pytest.raises(SchemaBroken):
                arrow.typed(cls, holed)


@pytest.mark.parametrize("cls", ROW_TYPES, ids=lambda c: c.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_a_missing_field_is_named(cls: Any, data: st.DataObject) -> None:
    row = arrow.plain(data.draw(strategy_of(cls)))
    name = data.draw(st.sampled_from(sorted(row)))
    with pytest.raises(SchemaBroken, match=name):
        arrow.typed(cls, {k: v for k, v in row.items() if k != name})


WRONG: dict[Any, list[Any]] = {
    pa.string(): [3, b"\xff\xfe", ["x"]],
    pa.int64(): ["3", 2**63, 1.5, True, math.nan, np.float32(0.5)],
    pa.float64(): ["0.5", [1.0]],
    pa.bool_(): ["yes", 3],
    pa.binary(): [3, 1.5],
}


@dataclass(frozen=True, slots=True)
class Inner:
    number: int
    maybe: float | None


@dataclass(frozen=True, slots=True)
class Outer:
    text: str
    number: int
    real: float
    flag: bool
    raw: bytes
    inner: Inner
    inners: tuple[Inner, ...]
    maybe: Inner | None


OUTER = Outer("a", 1, 0.5, True, b"x", Inner(1, None), (Inner(2, 0.5),), None)


@pytest.mark.parametrize("field", ["text", "number", "real", "flag", "raw"])
def test_a_wrong_type_is_refused_and_the_message_says_what_to_give(field: str) -> None:
    for value in WRONG[arrow.schema_of(Outer).field(field).type]:
        with pytest.raises(SchemaBroken) as trouble:
            arrow.cast_rows([arrow.plain(OUTER) | {field: value}], arrow.schema_of(Outer))
        assert trouble.value.seen
        assert trouble.value.do


def test_whole_floats_are_whole_numbers_and_fractions_are_not() -> None:
    """pyarrow cuts 1.5 down to 1 without a word; a frame number of 12.5 is a bug that must be seen."""
    assert arrow.from_table(Outer, arrow.to_table(Outer, [dataclasses.replace(OUTER, number=2.0)]))[0].number == 2  # type: ignore[arg-type]
    deep = arrow.plain(OUTER) | {"inners": [{"number": 1, "maybe": None}, {"number": 12.5, "maybe": None}]}
    with pytest.raises(SchemaBroken, match=r"inners\[\]\.number"):
        arrow.cast_rows([arrow.plain(OUTER), deep], arrow.schema_of(Outer))


def test_a_wrong_type_deep_inside_is_refused() -> None:
    wrong: list[dict[str, object]] = [
        {"inner": {"number": "one", "maybe": None}},
        {"inners": [{"number": 1, "maybe": "x"}]},
        {"inners": 3},
        {"inner": 3},
    ]
    for deep in wrong:
        with pytest.raises(SchemaBroken):
            arrow.cast_rows([arrow.plain(OUTER) | deep], arrow.schema_of(Outer))


@pytest.mark.parametrize(
    ("deep", "place"),
    [
        ({"inner": {"number": None, "maybe": None}}, "inner.number"),
        ({"inners": [{"number": 1, "maybe": None}, {"number": None, "maybe": 1.0}]}, "inners[].number"),
        ({"inners": [None]}, "inners[]"),
        ({"maybe": {"number": None, "maybe": None}}, "maybe.number"),
    ],
)
def test_a_null_deep_inside_is_refused_and_its_place_named(deep: dict[str, Any], place: str) -> None:
    """pyarrow takes such a table without a word, and so does Parquet."""
    whole, holed = arrow.plain(OUTER), arrow.plain(OUTER) | deep
    pa.Table.from_pylist([holed], schema=arrow.schema_of(Outer)).validate(full=True)
    with pytest.raises(SchemaBroken) as trouble:
        arrow.cast_rows([whole, holed], arrow.schema_of(Outer))
    assert place in trouble.value.what.split()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308])
def test_odd_floats_survive_and_nan_is_not_null(number: float) -> None:
    table = arrow.to_table(Outer, [dataclasses.replace(OUTER, real=number, inner=Inner(1, number))])
    assert table["real"].null_count == 0
    back = arrow.from_table(Outer, table)[0]
    for seen in (back.real, back.inner.maybe):
        assert seen is not None
        assert math.copysign(1, seen) == math.copysign(1, number)
        assert seen == number or (math.isnan(seen) and math.isnan(number))


@dataclass(frozen=True, slots=True)
class Lists:
    some: tuple[int, ...]
    maybe: tuple[int, ...] | None
    holes: tuple[int | None, ...]
    nested: tuple[Outer, ...]


def test_null_empty_and_absent_lists_are_three_things() -> None:
    rows = [Lists((), None, (), ()), Lists((1,), (), (None, 2), (OUTER,)), Lists((), (3,), (None,), (OUTER, OUTER))]
    assert arrow.from_table(Lists, arrow.to_table(Lists, rows)) == rows


@dataclass(frozen=True, slots=True)
class Holder:
    hollow: Inner | None


def test_null_under_a_null_struct_is_no_hole_and_the_struct_stays_null() -> None:
    rows = [Holder(Inner(1, None)), Holder(None)]
    assert arrow.from_table(Holder, arrow.to_table(Holder, rows)) == rows


@pytest.mark.parametrize(
    "hint", [dict, dict[str, int], list[int], tuple[int, str], int | str, object, set[int], complex, Path]
)
def test_an_annotation_without_an_arrow_form_is_refused_where_it_is_declared(hint: Any) -> None:
    with pytest.raises(SchemaBroken) as trouble:
        Column.of("x", hint)
    assert trouble.value.seen
    assert trouble.value.do


def test_a_column_knows_its_name_its_type_and_whether_null_may_stand_in_it() -> None:
    span, maybe = Column.of("span", Span), Column.of("maybe", Span | None)
    assert (span.field.nullable, maybe.field.nullable, span.stored.nullable) == (False, True, True)
    assert schema(span, maybe).names == ["span", "maybe"]
    assert Column.of("boxes", tuple[Box, ...]).field.type.value_type == arrow.type_of(Box)


def test_an_unknown_enum_value_is_not_taken() -> None:
    from reelmill.schemas.verdict import ACCEPTED, Verdict

    with pytest.raises((SchemaBroken, ValueError), match="perhaps"):
        arrow.typed(Verdict, arrow.plain(ACCEPTED) | {"state": "perhaps"})


GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "schemas.json"


def stored_schemas() -> dict[str, dict[str, str]]:
    """Every row type as {field: Arrow type}, the nullability written out."""
    return {c.__name__: {f.name: _spelled(f) for f in arrow.schema_of(c)} for c in ROW_TYPES}


def _spelled(field: pa.Field) -> str:
    return f"{field.type}{'' if field.nullable else ' not null'}"


def differences(golden: dict[str, dict[str, str]], today: dict[str, dict[str, str]]) -> list[str]:
    """One readable line for each type or field that came, went, moved or changed."""
    lines = [f"- {name}: the whole type is gone" for name in golden.keys() - today.keys()]
    lines += [f"+ {name}: a new type" for name in today.keys() - golden.keys()]
    for name in sorted(golden.keys() & today.keys()):
        was, now = golden[name], today[name]
        lines += [f"- {name}.{f}: {was[f]}" for f in was.keys() - now.keys()]
        lines += [f"+ {name}.{f}: {now[f]}" for f in now.keys() - was.keys()]
        lines += [f"~ {name}.{f}: was {was[f]}, is {now[f]}" for f in was.keys() & now.keys() if was[f] != now[f]]
        if was.keys() == now.keys() and list(was) != list(now):
            lines.append(f"~ {name}: order was {list(was)}, is {list(now)}")
    return sorted(lines)


def test_a_change_of_a_stored_schema_is_a_decision(request: pytest.FixtureRequest) -> None:
    today = stored_schemas()
    if request.config.getoption("--write-golden"):
        GOLDEN.write_text(json.dumps(today, indent=2) + "\n")
    changed = differences(json.loads(GOLDEN.read_text()), today)
    assert not changed, (
        "a stored schema has changed; datasets on people's disks have the old one.\n"
        + "\n".join(changed)
        + "\nIf that is meant: raise the format version, say how old datasets are read, note it in CHANGELOG.md,\n"
        + "and run: python -m pytest tests/schemas --write-golden"
    )


def test_the_difference_is_readable() -> None:
    was = {"A": {"x": "int64", "y": "string"}, "B": {"z": "bool"}, "C": {"p": "a", "q": "b"}}
    now = {"A": {"x": "double", "w": "string"}, "C": {"q": "b", "p": "a"}, "D": {}}
    assert differences(was, now) == [
        "+ A.w: string",
        "+ D: a new type",
        "- A.y: string",
        "- B: the whole type is gone",
        "~ A.x: was int64, is double",
        "~ C: order was ['p', 'q'], is ['q', 'p']",
    ]
    assert differences(was, was) == []
