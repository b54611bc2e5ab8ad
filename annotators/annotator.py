"""The annotator seam: a step that adds declared columns to a batch of rows and never changes their number.

An annotator is a frozen dataclass. Its *fields* are identity (they enter the fingerprint); `revision` is raised by hand
when its code gives other answers; `resources` say what one worker needs and are not identity.

>>> @dataclass(frozen=True)
... class Shout:
...     suffix: str = "!"
...     needs = (Column.of("text", str),)
...     gives = (Column.of("loud", str),)
...     revision = "1"
...     resources = Resources()
...     def setup(self) -> None: ...
...     def __call__(self, batch: pa.Table) -> pa.Table:
...         return each_row(self, batch, lambda row: {"loud": row["text"].upper() + self.suffix})
>>> Shout()(pa.table({"key": ["a"], "text": ["hi"]})).to_pylist()
[{'key': 'a', 'loud': 'HI!', 'verdict': None, 'fault': None}]
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from reelmill.annotators.pulse import beat
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import StoreUnusable, Unusable
from reelmill.schemas.verdict import Verdict, rejected

VERDICT = Column.of("verdict", Verdict | None)
FAULT = Column.of("fault", str | None)

_FATAL = (ImportError, MemoryError, NameError, SyntaxError, StoreUnusable)


@dataclass(frozen=True, slots=True)
class Resources:
    """What one worker of a step holds while it works, and how many rows it may lose when killed. Never identity."""

    cpus: float = 1.0
    gpus: float = 0.0
    rows_per_commit: int = 16


@runtime_checkable
class Annotator(Protocol):
    """`__call__` gets live rows only and returns `key`, the `gives` columns, `verdict` and `fault`, in the same order.

    `setup` runs once per worker before the first batch; heavy libraries are imported there.
    """

    @property
    def needs(self) -> tuple[Column, ...]: ...

    @property
    def gives(self) -> tuple[Column, ...]: ...

    @property
    def revision(self) -> str: ...

    @property
    def resources(self) -> Resources: ...

    def setup(self) -> None: ...

    def __call__(self, batch: pa.Table) -> pa.Table: ...


def step_name(step: object) -> str:
    """The name of a step in verdicts, seeds and reports: its class name in snake case."""
    return _snake_case(type(step).__name__)


@cache
def _snake_case(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))


def result_schema(gives: tuple[Column, ...]) -> pa.Schema:
    """Schema of what a step returns: the key, its columns (null where a row was refused), verdict and fault."""
    return pa.schema([KEY.field, *(c.stored for c in gives), VERDICT.field, FAULT.field])


def each_row(step: Annotator, batch: pa.Table, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> pa.Table:
    """Apply `answer` to each row on its own, so that a row's answer cannot depend on its neighbours.

    `answer` takes a row as a dict and returns exactly the `gives` columns (plain data or dataclasses). `Unusable`
    rejects the row; a missing import, memory or name error, a full disk and a store that refuses end the run; anything
    else is a fault of this row.
    """
    rows = [_outcome(step, row, answer) for row in batch.to_pylist()]
    return arrow.cast_rows(rows, result_schema(step.gives))


def _outcome(
    step: Annotator, row: dict[str, Any], answer: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    out: dict[str, Any] = dict.fromkeys(c.name for c in step.gives)
    out |= {"key": row["key"], "verdict": None, "fault": None}
    try:
        out |= answer(row)
    except Unusable as judgement:
        out["verdict"] = arrow.plain(rejected(step_name(step), judgement.reason, judgement.detail))
    except _FATAL:
        raise
    except Exception as trouble:
        if isinstance(trouble, OSError) and trouble.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        out["fault"] = "".join(traceback.format_exception(trouble))[-4000:]
    beat()
    return out
