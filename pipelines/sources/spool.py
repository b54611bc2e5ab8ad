"""A set's rows by key, on disk: a set is read once from its beginning, and worked on in the order of its keys.

An SQLite file in the store's cache. It is made while the set is listed and put in place whole; where it is missing, or
lacks a key (another machine, an emptied cache, a set that was edited), it is made again from the set.

>>> import tempfile
>>> spool = Spool(Path(tempfile.mkdtemp()) / "s.sqlite", lambda: [("a", "a.jpg", "{}")])
>>> spool.of(["a"])
[('a.jpg', '{}')]
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from reelmill.schemas.errors import Corrupt, StoreUnusable

SpoolRow = tuple[str, str, str]
"""Key, the name of its medium ("" for a refused row), and the row as JSON."""
_ASKED = 500
"""Keys of one query: SQLite takes 999 at least."""


@dataclass(frozen=True)
class Spool:
    """`rows` reads the set from its beginning."""

    path: Path
    rows: Callable[[], Iterable[SpoolRow]]

    def fill(self, rows: Iterable[SpoolRow]) -> None:
        """Write all rows and put the file in place. Of rows with one key, which are equal, one is kept."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        part.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(part)) as base, base:
                base.execute("pragma journal_mode = off")
                base.execute("create table rows (key text primary key, media text, row text)")
                base.executemany("insert or ignore into rows values (?, ?, ?)", rows)
            part.replace(self.path)
        except sqlite3.Error as error:
            raise StoreUnusable(
                str(self.path.parent), seen=str(error), do="free room, or give another --store"
            ) from error
        finally:
            part.unlink(missing_ok=True)

    def of(self, keys: Sequence[str]) -> list[tuple[str, str]]:
        """(medium, row) of each key, in order. Raises Corrupt where the set has no such row any more."""
        found = self._known(keys)
        if len(found) < len(set(keys)):
            self.fill(self.rows())
            found = self._known(keys)
        missing = next((k for k in keys if k not in found), None)
        if missing is not None:
            raise Corrupt(f"row {missing} of an annotated set", seen="the set holds it no more", do="run again")
        return [found[k] for k in keys]

    def _known(self, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
        if not self.path.is_file():
            return {}
        found: dict[str, tuple[str, str]] = {}
        with closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)) as base:
            for first in range(0, len(keys), _ASKED):
                some = keys[first : first + _ASKED]
                marks = ",".join("?" * len(some))
                query = f"select key, media, row from rows where key in ({marks})"  # noqa: S608 - question marks alone
                found |= {key: (media, row) for key, media, row in base.execute(query, some)}
        return found
