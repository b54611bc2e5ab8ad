"""A column: a named, typed constant, so that a needed column is a go-to-definition and not a string.

>>> from reelmill.schemas.span import Span
>>> Column.of("span", Span).field
pyarrow.Field<span: struct<start_s: double not null, end_s: double not null> not null>
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from reelmill.schemas import arrow


@dataclass(frozen=True, slots=True)
class Column:
    """Name and Arrow type of one column of a row. `hint` is the Python annotation it was derived from."""

    name: str
    hint: Any

    @classmethod
    def of(cls, name: str, hint: Any) -> Column:
        arrow.type_of(hint)  # refuse a type with no Arrow form where it is declared, not where it is used
        return cls(name, hint)

    @property
    def field(self) -> pa.Field:
        """The Arrow field; null is allowed only where the annotation says `| None`."""
        return arrow._field(self.name, self.hint)

    @property
    def stored(self) -> pa.Field:
        """The field as stored in a part: always nullable, since a rejected row has no value from later steps."""
        return self.field.with_nullable(True)


def schema(*columns: Column) -> pa.Schema:
    """Arrow schema of several columns in order."""
    return pa.schema([c.field for c in columns])


KEY = Column.of("key", str)
