"""A listing of media files as a source: one row per distinct content, however many names it has.

`where` to look is no part of the source: it belongs to the run, and what was found is the dataset's snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from reelmill.pipelines._recipe import Load, Place, Recipe
from reelmill.pipelines.sources.listing import Listed, list_media
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.column import schema as schema_of_columns
from reelmill.schemas.keys import child_key, media_key
from reelmill.sinks.state.snapshot import Entry

COLUMNS = (
    Column.of("uri", str),
    Column.of("digest", str | None),
    Column.of("licence", str),
    Column.of("metadata", str),
    Column.of("problem", str | None),
)


@dataclass(frozen=True)
class Files:
    """Files, folders, globs and tables of URIs, as given to the run."""

    @property
    def gives(self) -> tuple[Column, ...]:
        return COLUMNS

    @property
    def upstreams(self) -> tuple[Recipe, ...]:
        return ()

    def identity(self) -> dict[str, Any]:
        return {"media": "listing"}

    def entries(self, place: Place, progress: Callable[[int, int], None]) -> list[Entry]:
        """Every listed input, also the unreadable ones. Raises NotFound or BadInput as `list_media` does."""
        return [_entry(one) for one in list_media(place.media, place.cache / "digests", progress)]

    def open(self, place: Place, recipe: Recipe) -> Load:
        rows: dict[str, Entry] = {}
        for entry in place.dataset(recipe).entries():
            if entry.live:
                rows.setdefault(entry.key, entry)
        return lambda keys: _table([rows[k] for k in keys])


def _entry(listed: Listed) -> Entry:
    key = media_key(listed.digest) if listed.digest else child_key("", "uri", listed.uri)
    return Entry(
        key, listed.uri, listed.digest, listed.size, listed.licence, listed.metadata, listed.problem, live=True
    )


def _table(entries: Sequence[Entry]) -> pa.Table:
    rows = [{"key": e.key, **{c.name: getattr(e, c.name) for c in COLUMNS}} for e in entries]
    return pa.Table.from_pylist(rows, schema=schema_of_columns(KEY, *COLUMNS))
