"""The rows of an annotated set, read once and put where any of them is found at once, however large the set.

A set's own file can only be read from its beginning; groups of keys come in the order of their hashes. So a reader runs
once, each row becomes one line of JSON in `rows.jsonl`, and `index.parquet` holds where each lies. A group then costs
its own rows. Rows of a Parquet file would have to be sorted by key first, or a group would decode nearly all of it.

Memory while it is written: one row, and 16 bytes and a slot for each id (about 150 bytes a row) to know one that comes
again. Memory after: key, offset and size of each row, about 60 bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from reelmill.pipelines.sources.annotated.reading import Refused, reader, revision
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation
from reelmill.schemas.errors import BadInput, NotFound
from reelmill.schemas.keys import canonical_json, child_key, file_digest

_INDEX = pa.schema([("key", pa.string()), ("offset", pa.int64()), ("size", pa.int64())])
_BATCH = 16_384


@dataclass(frozen=True, slots=True)
class Place:
    """Where one row lies in the spooled file. `media` names the medium that it is about, "" for a refused row."""

    key: str
    offset: int
    size: int
    media: str


@dataclass(frozen=True, slots=True)
class SetFile:
    """A set's file or folder: `name` is that of its reader, `digest` of all bytes that lie there."""

    name: str
    path: Path
    digest: str

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

    def rows(self) -> Iterator[Annotation | Refused]:
        return reader(self.name)(self.path)

    def require_unchanged(self) -> None:
        """Raises BadInput where the file is another by now than the one whose digest names the rows."""
        seen = digest_of(self.path)
        if seen != self.digest:
            said = f"sha256 {seen[:12]}, it was {self.digest[:12]}"
            raise BadInput(f"annotations {str(self.path)!r} changed while they were read", seen=said, do="run again")


def digest_of(path: Path) -> str:
    """sha256 of a file's bytes; of a folder, of the names and digests of all files below it. Hex."""
    if path.is_file():
        return file_digest(path)
    hasher = hashlib.sha256()
    for file in sorted(f for f in path.rglob("*") if f.is_file()):
        name = file.relative_to(path).as_posix().encode("utf-8", "surrogateescape")
        hasher.update(name + b"\0" + file_digest(file).encode() + b"\n")
    return hasher.hexdigest()


def write(rows: Iterable[Annotation | Refused], owner: SetFile, out: BinaryIO) -> Iterator[Place]:
    """Write every row to `out`, a line each; yields where each lies. A key is of digest, set, id and place."""
    seen: Counter[bytes] = Counter()
    for place, row in enumerate(rows):
        again = 0
        if isinstance(row, Annotation):
            name = hashlib.sha256(row.original_id.encode("utf-8", "surrogatepass")).digest()[:16]
            again = seen[name]
            seen[name] += 1
        line, row = _line(row, again)
        key = child_key(owner.digest, "annotation", owner.name, row.original_id, place)
        yield Place(key, out.tell(), len(line), row.media_uri if isinstance(row, Annotation) else "")
        out.write(line)


def _line(row: Annotation | Refused, again: int) -> tuple[bytes, Annotation | Refused]:
    """A row as one line. One that no store can hold (a lone surrogate, an infinity) is refused in its place."""
    try:
        return _json(row, again), row
    except (UnicodeEncodeError, ValueError) as error:
        reason, detail = ("unstorable", str(error)) if isinstance(row, Annotation) else (row.reason, row.detail)
        refused = Refused(_storable(row.original_id), reason, _storable(detail))
        return _json(refused, 0), refused


def _json(row: Annotation | Refused, again: int) -> bytes:
    kind = "annotation" if isinstance(row, Annotation) else "refused"
    return canonical_json({kind: arrow.plain(row), "again": again}).encode() + b"\n"


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def at(stream: BinaryIO, offset: int, size: int) -> dict[str, Any]:
    """The row that lies there. May be called by several threads: it moves no file position."""
    found: dict[str, Any] = json.loads(os.pread(stream.fileno(), size, offset))
    return found


@dataclass(frozen=True, slots=True)
class Spool:
    """A spooled set in a folder."""

    folder: Path

    @property
    def rows(self) -> Path:
        return self.folder / "rows.jsonl"

    @property
    def index(self) -> pa.Table:
        return pq.read_table(self.folder / "index.parquet", schema=_INDEX)


def spooled(owner: SetFile, cache: Path) -> Spool:
    """The set's rows in the folder `cache`, read now if they are not there. Two runs at once may both do it: the files
    are the same, and each appears whole. Raises what the reader raises."""
    shape = hashlib.sha256(str(arrow.schema_of(Annotation)).encode()).hexdigest()[:8]
    folder = cache / "annotated" / f"{owner.name}-{owner.revision}-{shape}-{owner.digest[:32]}"
    if not (folder / "index.parquet").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _fill(owner, folder)
    return Spool(folder)


def _fill(owner: SetFile, folder: Path) -> None:
    """Rows first, index last: where the index stands, the rows are whole."""
    aside = {name: folder / f".{name}.{uuid.uuid4().hex}" for name in ("rows.jsonl", "index.parquet")}
    try:
        with aside["rows.jsonl"].open("wb") as out, pq.ParquetWriter(aside["index.parquet"], _INDEX) as index:
            for batch in _batches(write(owner.rows(), owner, out)):
                index.write_batch(batch)
        owner.require_unchanged()
        for name, file in aside.items():
            file.replace(folder / name)
    finally:
        for file in aside.values():
            file.unlink(missing_ok=True)


def _batches(places: Iterable[Place]) -> Iterator[pa.RecordBatch]:
    held: list[dict[str, Any]] = []
    for place in places:
        held.append({"key": place.key, "offset": place.offset, "size": place.size})
        if len(held) == _BATCH:
            yield pa.RecordBatch.from_pylist(held, schema=_INDEX)
            held = []
    yield pa.RecordBatch.from_pylist(held, schema=_INDEX)
