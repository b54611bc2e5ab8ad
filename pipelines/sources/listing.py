"""What media there are: folders, globs, tables of URIs, single files and remote places, as one sorted list.

Every file found is listed, also one that cannot be read (it says why): what becomes of it is decided later. A digest is
the sha256 of the bytes; it is cached by what cannot stay the same when a file changes.

>>> [one.uri for one in list_media("holiday/", None)]          # doctest: +SKIP
['/media/holiday/a.mp4', '/media/holiday/b.jpg']
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reelmill.annotators.decode.local import is_remote, local_path
from reelmill.pipelines.sources.digests import Digests
from reelmill.schemas.errors import BadInput, NotFound, UserError
from reelmill.schemas.keys import canonical_json

__all__ = ["Listed", "list_media", "local_path"]

UNKNOWN_LICENCE = "unknown"
TABLES = {".csv", ".tsv", ".parquet", ".jsonl", ".ndjson"}
URI_COLUMNS = ("uri", "path", "url", "file_name")
LICENCE_COLUMNS = ("licence", "license")

_BLOCK = 1 << 20
_SPDX = "SPDX-License-Identifier:"
_SIDECAR = ".license"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Listed:
    """One listed input. `uri` is an absolute path, or a URI where it is remote; `metadata` is a table's other columns as
    one JSON object, empty without a table; `digest` is None where `problem` says why the bytes could not be read."""

    uri: str
    digest: str | None
    size: int
    modified_ns: int
    licence: str
    metadata: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class _Named:
    """A file named by somebody; not looked at yet."""

    uri: str
    licence: str = ""
    metadata: str = ""


def list_media(
    where: str | Sequence[str], cache: Path | None = None, progress: Progress | None = None
) -> list[Listed]:
    """List and digest every input at `where`, sorted by URI, each URI once.

    `where`: a folder (recursive, files whose name begins with a dot left out), a glob, a table (CSV, TSV, Parquet, JSONL
    with a column uri, path, url or file_name), a file, or an fsspec URI of any of these; or several. `cache` is the file
    that remembers digests. `progress(done_bytes, total_bytes)` is called while hashing.

    Raises NotFound where nothing is there, BadInput for a place or table that cannot be understood.
    """
    places = [where] if isinstance(where, str) else list(where)
    if not places:
        raise BadInput("no media were named", do="give a folder, a glob, a table, a file or a URI")
    named: dict[str, _Named] = {}
    for place in places:
        for one in _found(place):
            named.setdefault(one.uri, one)
    return _digested([_looked_at(named[uri]) for uri in sorted(named)], cache, progress or _unseen)


def _unseen(done: int, total: int) -> None:
    """Progress that nobody looks at."""


def _found(place: str) -> list[_Named]:
    if is_remote(place):
        return _remote(place)
    path = Path(local_path(place, None)).expanduser()
    if path.is_dir():
        return _filled(_folder(path), f"folder {str(path)!r}", "no file whose name does not begin with a dot")
    if path.suffix.lower() in TABLES and path.is_file():
        return _table(str(path.absolute()), path.read_bytes())
    if path.exists() or path.is_symlink():
        return [_Named(str(path.absolute()))]
    if glob.has_magic(str(path)):
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - the pattern may be absolute
        files = [_Named(str(Path(m).absolute())) for m in matches if Path(m).is_file()]
        return _filled(files, f"glob {place!r}", "no file that matches it")
    raise NotFound(f"media {place!r}", seen="no such file or folder", do="check the path")


def _filled(found: list[_Named], what: str, seen: str) -> list[_Named]:
    if not found:
        raise NotFound(f"media in {what}", seen=seen, do="check the place; files whose name begins with a dot are left out")
    return found


def _folder(top: Path) -> list[_Named]:
    """Every regular file below a folder. Linked folders are followed once each, so that loops end."""
    found: list[_Named] = []
    seen: set[tuple[int, int]] = set()
    waiting = [top.absolute()]
    while waiting:
        folder = waiting.pop()
        facts = folder.stat()
        if (facts.st_dev, facts.st_ino) in seen:
            continue
        seen.add((facts.st_dev, facts.st_ino))
        for entry in _entries(folder):
            if entry.name.startswith(".") or entry.name.endswith(_SIDECAR):
                continue
            if entry.is_dir():
                waiting.append(Path(entry.path))
            elif entry.is_file() or entry.is_symlink():
                found.append(_Named(entry.path))
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda e: e.name)
    except PermissionError as error:
        raise BadInput(f"folder {str(folder)!r}", seen="permission denied", do="make it readable or leave it out") from error


# ---- tables ----------------------------------------------------------------------------------------------------------


def _table(uri: str, data: bytes) -> list[_Named]:
    """Rows of a table of URIs; relative ones are resolved against the table's own folder."""
    rows = _rows(uri, data)
    if not rows:
        raise BadInput(f"table {uri!r}", seen="no rows", do="give one row per file")
    column = next((c for c in URI_COLUMNS if c in rows[0]), None)
    if column is None:
        raise BadInput(
            f"table {uri!r}", seen=f"columns {', '.join(rows[0])}", do=f"name one of them {', '.join(URI_COLUMNS)}"
        )
    folder = uri.rpartition("/")[0]
    return [_named(row, column, folder, f"table {uri!r}, row {i + 1}") for i, row in enumerate(rows)]


def _named(row: dict[str, Any], column: str, folder: str, what: str) -> _Named:
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        raise BadInput(what, seen=f"{column} = {value!r}", do="give a path or URI in every row")
    where = value if "://" in value or value.startswith("/") else f"{folder}/{value}"
    uri = where if is_remote(where) else os.path.normpath(local_path(where, None))
    licence = next((str(row[c]) for c in LICENCE_COLUMNS if row.get(c)), "")
    other = {k: v for k, v in row.items() if k != column and k not in LICENCE_COLUMNS}
    try:
        metadata = canonical_json(other) if other else ""
    except (TypeError, ValueError):
        metadata = canonical_json(json.loads(json.dumps(other, default=str, allow_nan=True).replace("NaN", "null")))
    return _Named(uri, licence, metadata)


def _rows(uri: str, data: bytes) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    suffix = Path(uri).suffix.lower()
    try:
        if suffix in (".jsonl", ".ndjson"):
            return [_object(line) for line in data.decode("utf-8-sig").splitlines() if line.strip()]
        if suffix == ".parquet":
            table = pyarrow.parquet.read_table(pa.BufferReader(data))
        else:
            table = _text_table(data, "\t" if suffix == ".tsv" else ",")
    except (pa.ArrowException, ValueError) as error:
        raise BadInput(f"table {uri!r}", seen=str(error).splitlines()[0][:200], do="check the file") from error
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _object(line: str) -> dict[str, Any]:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError(f"a line that is no JSON object: {line[:60]!r}")
    return value


def _text_table(data: bytes, delimiter: str) -> Any:
    """A CSV with every column as text: a name like 007 is no number."""
    import csv
    import io

    import pyarrow as pa

    lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=delimiter)
    header = [name.strip() for name in next(lines, [])]
    rows = [line for line in lines if line]
    odd = next((i for i, line in enumerate(rows) if len(line) != len(header)), None)
    if odd is not None:
        raise ValueError(f"row {odd + 1} has {len(rows[odd])} fields, the header {len(header)}")
    return pa.table({name: pa.array([r[i] for r in rows], pa.string()) for i, name in enumerate(header)})
