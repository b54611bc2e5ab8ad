"""A set's file: which reader takes it, where it lies, what is in it, and its rows as the store can hold them.

Whatever reads a set goes through here, so that one row has one text everywhere, and one that no store can hold is
refused in its place.

    file = SetFile.at("vidstg", "annotations/")
    for one in file.told(): ...         Told(place=0, row=Annotation(...), body="{...}", again=0)
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reelmill.pipelines.sources.annotated.reading import Refused, reader, revision
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation
from reelmill.schemas.errors import BadInput, NotFound
from reelmill.schemas.keys import canonical_json, file_digest


@dataclass(frozen=True, slots=True)
class Told:
    """One row: its place from 0, its JSON, and how many rows before it have the same id (of refused ones 0)."""

    place: int
    row: Annotation | Refused
    body: str
    again: int

    @property
    def media(self) -> str:
        """The name of the medium that the row is about, "" for a refused one."""
        return self.row.media_uri if isinstance(self.row, Annotation) else ""

    @property
    def text(self) -> str:
        """JSON of {"again", "annotation" or "refused"}."""
        kind = "annotation" if isinstance(self.row, Annotation) else "refused"
        return f'{{"again":{self.again},"{kind}":{self.body}}}'


@dataclass(frozen=True, slots=True)
class SetFile:
    """A set's file or folder: `name` is that of its reader, `digest` of all bytes that lie there.

    Without a digest the file is one that may grow: its rows are then known by what they say.
    """

    name: str
    path: Path
    digest: str = ""

    @classmethod
    def at(cls, name: str, path: str) -> SetFile:
        """Raises NotFound on a set that no reader knows, or where nothing lies."""
        reader(name)
        where = Path(path).expanduser().absolute()
        if not where.exists():
            raise NotFound(f"annotations {path!r}", seen="no such file or folder", do="check the path")
        return cls(name, where, digest_of(where))

    @property
    def revision(self) -> str:
        return revision(self.name)

    def told(self) -> Iterator[Told]:
        """Every row in the set's order. Raises what the reader raises, at the end BadInput where the file is another by
        now than the one of `digest`. Memory: 16 bytes and a slot for each id, about 150 bytes a row."""
        yield from told(reader(self.name)(self.path))
        if self.digest:
            self._require_unchanged()

    def _require_unchanged(self) -> None:
        seen = digest_of(self.path)
        if seen != self.digest:
            said = f"sha256 {seen[:12]}, it was {self.digest[:12]}"
            raise BadInput(f"annotations {str(self.path)!r} changed while they were read", seen=said, do="run again")


def told(rows: Iterable[Annotation | Refused]) -> Iterator[Told]:
    """Rows with their texts. One that no store can hold (a lone surrogate, an infinity) is refused in its place."""
    seen: Counter[bytes] = Counter()
    for place, row in enumerate(rows):
        again = 0
        if isinstance(row, Annotation):
            name = hashlib.sha256(row.original_id.encode("utf-8", "surrogatepass")).digest()[:16]
            again = seen[name]
            seen[name] += 1
        try:
            yield Told(place, row, _json(row), again)
        except (UnicodeEncodeError, ValueError) as error:
            reason, detail = ("unstorable", str(error)) if isinstance(row, Annotation) else (row.reason, row.detail)
            refused = Refused(_storable(row.original_id), reason, _storable(detail))
            yield Told(place, refused, _json(refused), 0)


def _json(row: Annotation | Refused) -> str:
    text = canonical_json(arrow.plain(row))
    text.encode()  # a lone surrogate ends here
    return text


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def digest_of(path: Path) -> str:
    """sha256 of a file's bytes; of a folder, of the names and digests of all files below it. Hex."""
    if path.is_file():
        return file_digest(path)
    hasher = hashlib.sha256()
    for file in sorted(f for f in path.rglob("*") if f.is_file()):
        name = file.relative_to(path).as_posix().encode("utf-8", "surrogateescape")
        hasher.update(name + b"\0" + file_digest(file).encode() + b"\n")
    return hasher.hexdigest()
