"""What a document says, before it is drawn: fields, tables and listings, whatever kind of document it is.

Questions are asked of this and never of pixels, so their answers are exact (code-guided synthetic data: CoSyn, Yang et
al. 2025, where a language model reads the drawing's code; here the content itself is data, and rules ask).

>>> Table("product", (Column("Price", "${}"),), (Row("Tea", ("$2.50",)),), ()).columns[0].numeric
True
"""

from __future__ import annotations

from dataclasses import dataclass

from reelmill.schemas.text import TextWord


@dataclass(frozen=True, slots=True)
class Field:
    """Something named with one value: "Total" is "$4.50". `value` is written as it is drawn."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its header. `form` has the place `{}` of a number among its unit ("${}"), and is empty for words."""

    name: str
    form: str

    @property
    def numeric(self) -> bool:
        return bool(self.form)


@dataclass(frozen=True, slots=True)
class Row:
    """A row by its header; one cell per column, as drawn (or as it would be, where a chart prints no values)."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows and columns, also those of a chart (categories and series). `rows_are` says what a row is ("product");
    `absent` are names that a row could have had and none has."""

    rows_are: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Things of one sort in their order: the buttons of a menu, the points of a slide. `name` is in the plural."""

    name: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """All that a document says. `absent` are names of fields that it does not have; `blank` are fields that are drawn
    and left empty. Names are unique within a document, so that a question names one thing. `manner` is the sort within
    the kind that decides the drawing (a chart's line or pie, a sign's footpaths)."""

    kind: str
    title: str
    fields: tuple[Field, ...]
    tables: tuple[Table, ...]
    listings: tuple[Listing, ...]
    absent: tuple[str, ...]
    blank: tuple[str, ...]
    manner: str = ""
    subtitle: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A content and where it stands in the picture: `marks[i]` says what the i-th line of text is, "" for decoration.

    Marks: `title`, `subtitle`, `field.I`, `label.I`, `row.R`, `column.C`, `cell.R.C` (of the only table), `item.L.I`.
    A value that has no line is not printed. `words` carry the order of their line, as in evidence.
    """

    content: Content
    marks: tuple[str, ...]
    words: tuple[TextWord, ...]
