"""A set's rows by key, on disk: a set is read once from its beginning, and worked on in the order of its keys.

An SQLite file, put in place whole. Where it is missing, or lacks a key (another machine, an emptied cache, a set that
grew), it is made again from the set. Nothing of it is held in memory.

>>> import tempfile
>>> spool = Spool(Path(tempfile.mkdtemp()) / "s.sqlite", lambda: [SpoolRow("a", "a.jpg", "{}")])
>>> spool.of(["a"])
[('a.jpg', '{}')]
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from reelmill.schemas.errors import Corrupt, StoreUnusable


class SpoolRow(NamedTuple):
    """Key, the name of its medium ("" for a refused row), and the row as JSON."""

    key: str
    media: str
    text: str


class Listed(NamedTuple):
    """A row without its text, of which `size` is the number of characters."""

    key: str
    media: str
    size: int


Heard = Callable[[int, int], None]
"""Told how many rows were read, of how many known: a set's end is not known before it is there."""


def _unheard(done: int, total: int) -> None:
    """For whoever need not be told."""


_ASKED = 500
"""Keys of one query: SQLite takes 999 at least."""


@dataclass(frozen=True)
class Spool:
    """`rows` reads the set from its beginning. Groups may be asked for by several threads and processes."""

    path: Path
    rows: Callable[[], Iterable[SpoolRow]]

    def fill(self, heard: Heard = _unheard) -> None:
        """Write all rows and put the file in place. Two runs at once may both do it. Raises what the reader raises."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
        try:
            with closing(sqlite3.connect(part)) as base, base:
                base.execute("pragma journal_mode = off")
                base.execute("create table rows (place integer primary key, key text, media text, row text)")
                base.executemany("insert into rows (key, media, row) values (?, ?, ?)", self._heard(heard))
                base.execute("create index by_key on rows (key)")
            part.replace(self.path)
        except sqlite3.Error as error:
            raise StoreUnusable(
                str(self.path.parent), seen=str(error), do="free room, or give another --store"
            ) from error
        finally:
            part.unlink(missing_ok=True)

    def _heard(self, heard: Heard) -> Iterator[SpoolRow]:
        for number, row in enumerate(self.rows(), 1):
            heard(number, number)
            yield row

    def listed(self, heard: Heard = _unheard) -> Iterator[Listed]:
        """Every row in the set's order; the set is read where it is not spooled."""
        if not self.path.is_file():
            self.fill(heard)
        with closing(self._opened()) as base:
            yield from map(Listed._make, base.execute("select key, media, length(row) from rows order by place"))

    def of(self, keys: Sequence[str]) -> list[tuple[str, str]]:
        """(medium, row) of each key, in order. Raises Corrupt where the set has no such row any more."""
        found = self._known(keys)
        if len(found) < len(set(keys)):
            self.fill()
            found = self._known(keys)
        missing = next((k for k in keys if k not in found), None)
        if missing is not None:
            raise Corrupt(f"row {missing} of an annotated set", seen="the set holds it no more", do="run again")
        return [found[k] for k in keys]

    def _known(self, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
        if not self.path.is_file():
            return {}
        found: dict[str, tuple[str, str]] = {}
        with closing(self._opened()) as base:
            for first in range(0, len(keys), _ASKED):
                some = keys[first : first + _ASKED]
                marks = ",".join("?" * len(some))
                query = f"select key, media, row from rows where key in ({marks})"  # noqa: S608 - question marks alone
                found |= {key: (media, row) for key, media, row in base.execute(query, some)}
        return found

    def _opened(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
