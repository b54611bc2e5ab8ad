"""An annotated set as a source: one row per original row of its file, refused ones too, so that counts close.

The key of a row is of the file's digest, the set, the row's own id and its place; the path is where the file happens to
lie and no part of the identity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from reelmill.annotators.annotator import VERDICT
from reelmill.pipelines._recipe import Load, Place, Recipe
from reelmill.pipelines.sources.annotated.set_file import SetFile
from reelmill.pipelines.sources.annotated.spool import Spool, SpoolRow
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.keys import child_key
from reelmill.schemas.verdict import rejected
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
        return [Entry.derived(row.key) for row in spooled(self.owner, place.cache).listed(progress)]

    def open(self, place: Place, recipe: Recipe) -> Load:
        """A machine that has no spooled rows (another worker's) reads the set once itself."""
        del recipe
        spool = spooled(self.owner, place.cache)

        def load(keys: Sequence[str]) -> pa.Table:
            rows = [_row(key, json.loads(text)) for key, (_, text) in zip(keys, spool.of(keys), strict=True)]
            return pa.Table.from_pylist(rows, schema=_SCHEMA)

        return load


def spooled(owner: SetFile, cache: Path) -> Spool:
    """The rows of a set's file in the folder `cache`: another file, reader or row type has another spool."""
    shape = hashlib.sha256(str(arrow.schema_of(Annotation)).encode()).hexdigest()[:8]
    name = f"{owner.name}-{owner.revision}-{shape}-{owner.digest[:32]}.sqlite"
    return Spool(cache / "annotated" / name, lambda: placed(owner))


def placed(owner: SetFile) -> Iterator[SpoolRow]:
    """Rows with keys of digest, set, id and place."""
    for one in owner.told():
        key = child_key(owner.digest, "annotation", owner.name, one.row.original_id, one.place)
        yield SpoolRow(key, one.media, one.text)


_SCHEMA = pa.schema([KEY.field, ORIGINAL.stored, AGAIN.field, VERDICT.field])


def _row(key: str, found: dict[str, Any]) -> dict[str, Any]:
    refused = found.get("refused")
    verdict = arrow.plain(rejected(STEP, refused["reason"], detailed(refused))) if refused else None
    return {"key": key, "original": found.get("annotation"), "again": found["again"], "verdict": verdict}


def detailed(refused: dict[str, str]) -> str:
    """What was seen, behind the set's own id: a refused row has no column that says which it is."""
    return ": ".join(part for part in (refused["original_id"], refused["detail"]) if part)
