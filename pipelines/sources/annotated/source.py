"""An annotated set as a source: one row per original row of its file, refused ones too, so that counts close.

The key of a row is of the file's digest, the set, the row's own id and its place; the path is where the file happens to
lie and no part of the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from reelmill.annotators.annotator import VERDICT
from reelmill.pipelines._recipe import Load, Place, Recipe
from reelmill.pipelines.sources.annotated import spool
from reelmill.pipelines.sources.annotated.spool import SetFile, Spool
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.verdict import rejected
from reelmill.sinks.state import keyed
from reelmill.sinks.state.keyed import Numbered
from reelmill.sinks.state.snapshot import Entry

ORIGINAL = Column.of("original", Annotation)
AGAIN = Column.of("again", int)
"""How many rows before this one have the same id."""

STEP = "annotated"


@dataclass(frozen=True)
class Annotated:
    """A file or folder of one set, read by the reader of that name."""

    owner: SetFile

    @property
    def gives(self) -> tuple[Column, ...]:
        return (ORIGINAL, AGAIN)

    @property
    def upstreams(self) -> tuple[Recipe, ...]:
        return ()

    def identity(self) -> dict[str, Any]:
        return {"set": self.owner.name, "reader": self.owner.revision, "digest": self.owner.digest}

    def entries(self, place: Place, progress: Callable[[int, int], None]) -> list[Entry]:
        """Every row, also the refused ones. Raises what the reader raises."""
        keys = spool.spooled(self.owner, place.cache).index["key"].to_pylist()
        progress(len(keys), len(keys))
        return [Entry.derived(key) for key in keys]

    def open(self, place: Place, recipe: Recipe) -> Load:
        """A machine that has no spooled rows (another worker's) reads the set once itself."""
        del recipe
        return _Reader(spool.spooled(self.owner, place.cache)).load


class _Reader:
    """Answers groups of keys. May be shared between threads."""

    def __init__(self, spooled: Spool) -> None:
        self.spooled = spooled
        index = spooled.index
        self.numbers = Numbered.of(keyed.column(index["key"]), np.arange(index.num_rows))
        self.offsets, self.sizes = (index[name].to_numpy() for name in ("offset", "size"))

    @cached_property
    def stream(self) -> Any:
        return Path(self.spooled.rows).open("rb")

    def load(self, keys: Sequence[str]) -> pa.Table:
        rows = [self._row(key, number) for key, number in zip(keys, self.numbers.numbers(keys), strict=True)]
        schema = pa.schema([KEY.field, ORIGINAL.stored, AGAIN.field, VERDICT.field])
        return pa.Table.from_pylist(rows, schema=schema)

    def _row(self, key: str, number: int) -> dict[str, Any]:
        found = spool.at(self.stream, int(self.offsets[number]), int(self.sizes[number]))
        refused = found.get("refused")
        verdict = arrow.plain(rejected(STEP, refused["reason"], _detail(refused))) if refused else None
        return {"key": key, "original": found.get("annotation"), "again": found["again"], "verdict": verdict}


def _detail(refused: dict[str, str]) -> str:
    """What was seen, behind the set's own id: a refused row has no column that says which it is."""
    return ": ".join(part for part in (refused["original_id"], refused["detail"]) if part)
