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
import posixpath
import stat
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from reelmill.annotators.decode.local import is_remote, local_path
from reelmill.pipelines.sources.digests import Digests
from reelmill.schemas.errors import BadInput, NotFound
from reelmill.schemas.keys import canonical_json

__all__ = ["Listed", "list_media", "local_path"]

UNKNOWN_LICENCE = "unknown"
TABLES = {".csv", ".tsv", ".parquet", ".jsonl", ".ndjson"}
URI_COLUMNS = ("uri", "path", "url", "file_name")
LICENCE_COLUMNS = ("licence", "license")

_BLOCK = 1 << 20
_HASHERS, _AHEAD = 4, 256
"""Threads that hash, and files that wait for them at a time."""
_SPDX = "SPDX-License-Identifier:"
_SIDECAR = ".license"
_BESIDE = (_SIDECAR, ".truth.json")  # files about a medium, which are no media themselves
# A file may change again within one tick of its clock and keep its stamp: one as young as this is not remembered.
_SETTLED_NS = 2_000_000_000

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Listed:
    """One listed input.

    `uri` is an absolute path, or a URI where it is remote; `metadata` holds a table's other columns as one JSON object,
    and is empty without a table; `digest` is None where `problem` says why the bytes could not be read.
    """

    uri: str
    digest: str | None
    size: int
    modified_ns: int
    licence: str
    metadata: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class _Named:
    """An input that a place or table names; not looked at yet."""

    uri: str
    licence: str = ""
    metadata: str = ""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """A named input after one look: `stamp` changes whenever its bytes do; empty where nothing tells."""

    named: _Named
    size: int = 0
    modified_ns: int = 0
    stamp: str = ""
    problem: str | None = None


def list_media(
    where: str | Sequence[str],
    cache: Path | None = None,
    progress: Progress | None = None,
    left_out: list[str] | None = None,
) -> list[Listed]:
    """List and digest every input at `where`, sorted by URI, each URI once.

    `where`: a folder (recursive), a glob, a table (CSV, TSV, Parquet, JSONL with a column uri, path, url or file_name),
    a file, or an fsspec URI of any of these; or several. `cache` is the file that remembers digests;
    `progress(done_bytes, total_bytes)` is called while hashing; `left_out` receives what a folder holds and is not
    listed: names that begin with a dot, licence sidecars, and what is neither file nor folder.

    Raises NotFound where nothing is there, BadInput for a place or table that cannot be understood.
    """
    places = [where] if isinstance(where, str) else list(where)
    if not places:
        raise BadInput("no media were named", do="give a folder, a glob, a table, a file or a URI")
    named: dict[str, _Named] = {}
    for place in places:
        for one in _found(place, left_out if left_out is not None else []):
            _require_one_licence(named.setdefault(one.uri, one), one)
    with Digests(cache) as digests:
        return _digested([_looked_at(named[uri]) for uri in sorted(named)], digests, progress or _unseen)


def _require_one_licence(first: _Named, again: _Named) -> None:
    """A URI may be named twice, but not under two licences: to choose one would be to guess at rights."""
    if first.licence != again.licence and first.licence and again.licence:
        seen = f"{first.licence!r} and {again.licence!r}"
        raise BadInput(f"{first.uri} is named with two licences", seen=seen, do="give it once")


def _unseen(done: int, total: int) -> None:
    """Progress that nobody looks at."""


# ---- places ----------------------------------------------------------------------------------------------------------


def _found(place: str, left_out: list[str]) -> list[_Named]:
    if is_remote(place):
        return _remote(place)
    path = Path(local_path(place, None)).expanduser().absolute()
    if path.is_dir():
        return _filled(_folder(path, left_out), f"folder {str(path)!r}")
    if path.suffix.lower() in TABLES and path.is_file():
        return _table(str(path), path.read_bytes())
    if path.exists() or path.is_symlink():
        return [_file(str(path))]
    if glob.has_magic(str(path)):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 - the pattern is absolute
        return _filled([_file(m) for m in matches if Path(m).is_file()], f"glob {place!r}")
    raise NotFound(f"media {place!r}", seen="no such file or folder", do="check the path")


def _filled(found: list[_Named], what: str) -> list[_Named]:
    if not found:
        raise NotFound(f"media in {what}", seen="no file", do="check it; names that begin with a dot are left out")
    return found


def _folder(top: Path, left_out: list[str]) -> list[_Named]:
    """Every file below a folder. A folder reached twice (by a link) is entered once, so that loops end."""
    found: list[_Named] = []
    entered: set[tuple[int, int]] = set()
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            facts = folder.stat()
            if (facts.st_dev, facts.st_ino) in entered:
                continue
            entered.add((facts.st_dev, facts.st_ino))
            entries = sorted(folder.iterdir())
        except OSError as error:
            found.append(_Named(_file(str(folder)).uri, problem=f"unreadable: {_reason(error)} (a folder)"))
            continue
        for path in entries:
            _sort_out(path, found, waiting, left_out)
    return found


def _sort_out(path: Path, found: list[_Named], waiting: list[Path], left_out: list[str]) -> None:
    if path.name.startswith(".") or path.name.endswith(_BESIDE):
        left_out.append(str(path))
    elif path.is_dir():
        waiting.append(path)
    elif path.is_file() or path.is_symlink():
        found.append(_file(str(path)))
    else:
        left_out.append(str(path))


def _file(path: str) -> _Named:
    """A local file; one whose name is not UTF-8 can be told of only by its URI, and read by no decoder."""
    try:
        path.encode()
    except UnicodeEncodeError:
        uri = "file://" + urllib.parse.quote(os.fsencode(path))
        return _Named(uri, problem="bad_name: not valid UTF-8; rename the file")
    return _Named(path)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()


def _remote(place: str) -> list[_Named]:
    """A remote folder, file, table or glob, through fsspec."""
    files, path = _files_of(place)
    try:
        if files.isdir(path):
            paths = [p for p in files.find(path) if not _hidden(p.removeprefix(path))]
        elif files.exists(path):
            if Path(path).suffix.lower() in TABLES:
                return _table(place, files.cat_file(path))
            paths = [path]
        else:
            paths = [p for p in files.glob(path) if files.isfile(p)] if "*" in path else []
    except Exception as error:  # each file system has errors of its own: no credentials, no route, no such host
        raise BadInput(f"media {place!r}", seen=f"{type(error).__name__}: {error}", do="check the URI") from error
    if not paths:
        raise NotFound(f"media {place!r}", seen="nothing there", do="check the URI and your rights to it")
    return [_Named(files.unstrip_protocol(p)) for p in paths]


def _hidden(below: str) -> bool:
    parts = below.strip("/").split("/")
    return any(p.startswith(".") for p in parts) or below.endswith(_BESIDE)


def _files_of(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a URI and the path in it. Raises BadInput for a protocol that nobody serves here."""
    import fsspec

    try:
        files, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise BadInput(f"media {uri!r}", seen=str(error), do="pip install 'reelmill[s3]' for s3://") from error
    return files, path


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
    where = value if "://" in value or value.startswith("/") else _beside(folder, value)
    uri = where if is_remote(where) else os.path.normpath(local_path(where, None))
    licence = next((str(row[c]) for c in LICENCE_COLUMNS if row.get(c)), "")
    other = {k: v for k, v in row.items() if k != column and k not in LICENCE_COLUMNS}
    try:
        metadata = canonical_json(other) if other else ""
    except (TypeError, ValueError):
        metadata = canonical_json(json.loads(json.dumps(other, default=str, allow_nan=True).replace("NaN", "null")))
    return _Named(uri, licence, metadata)


def _beside(folder: str, relative: str) -> str:
    """A relative path of a table, from the table's own folder, which may be remote."""
    protocol, sign, path = folder.rpartition("://")
    return f"{protocol}{sign}{posixpath.normpath(f'{path}/{relative}')}"


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
        raise ValueError(f"a line that is no JSON object: {line[:60]!r}")  # noqa: TRY004 - one kind for bad tables
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


# ---- one look at each, and its digest --------------------------------------------------------------------------------


def _looked_at(named: _Named) -> _Seen:
    if named.problem:
        return _Seen(named, problem=named.problem)
    try:
        return _looked_at_remote(named) if is_remote(named.uri) else _looked_at_file(named)
    except OSError as error:
        return _Seen(named, problem=f"unreadable: {_reason(error)}")


def _looked_at_file(named: _Named) -> _Seen:
    facts = Path(named.uri).stat()
    if not stat.S_ISREG(facts.st_mode):
        return _Seen(named, problem="unreadable: not a regular file")
    stamp = f"{facts.st_mtime_ns}-{facts.st_ctime_ns}-{facts.st_ino}"
    return _Seen(named, facts.st_size, facts.st_mtime_ns, stamp)


def _looked_at_remote(named: _Named) -> _Seen:
    files, path = _files_of(named.uri)
    facts = files.info(path)
    mark = next(
        (facts[k] for k in ("ETag", "etag", "mtime", "LastModified", "last_modified", "created") if facts.get(k)), ""
    )
    seconds = facts.get("mtime")
    modified_ns = round(seconds * 1e9) if isinstance(seconds, (int, float)) else 0
    return _Seen(named, int(facts.get("size") or 0), modified_ns, str(mark))


def _digested(seen: list[_Seen], digests: Digests, progress: Progress) -> list[Listed]:
    known = [digests.known(s.named.uri, s.size, s.stamp) for s in seen]
    total = sum(s.size for s, digest in zip(seen, known, strict=True) if digest is None and s.problem is None)
    counted = _Counted(progress, total)
    found: list[Listed] = []
    with _hashers(counted) as pool:
        for start in range(0, len(seen), _AHEAD):
            pairs = list(zip(seen[start : start + _AHEAD], known[start : start + _AHEAD], strict=True))
            new = [s.problem is None and digest is None for s, digest in pairs]
            hashed = [pool.submit(_hashed, s, counted) if n else None for (s, _), n in zip(pairs, new, strict=True)]
            found += [_listed(s, d, h, digests) for (s, d), h in zip(pairs, hashed, strict=True)]
    return found


@dataclass(slots=True)
class _Counted:
    """Bytes hashed so far by all threads, told to whoever shows progress."""

    progress: Progress
    total: int
    done: int = 0
    wanted: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, size: int) -> None:
        """Raises InterruptedError where nobody waits for the rest."""
        if not self.wanted:
            raise InterruptedError("nobody waits for the rest of this file")
        with self.lock:
            self.done += size
            self.progress(self.done, self.total)


@contextmanager
def _hashers(counted: _Counted) -> Iterator[ThreadPoolExecutor]:
    """Threads that hash: that lets other threads run, and so does waiting for a disk. A Ctrl-C need not wait for them
    to come to the end of large files."""
    with ThreadPoolExecutor(_HASHERS) as pool:
        try:
            yield pool
        except BaseException:
            counted.wanted = False
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_Hash = tuple[str | None, str | None]


def _listed(seen: _Seen, digest: str | None, hashed: Future[_Hash] | None, digests: Digests) -> Listed:
    problem = seen.problem
    if hashed is not None:
        digest, problem = hashed.result()
        if digest is not None and time.time_ns() - seen.modified_ns > _SETTLED_NS:
            digests.remember(seen.named.uri, seen.size, seen.stamp, digest)
    licence = seen.named.licence or _sidecar_licence(seen.named.uri) or UNKNOWN_LICENCE
    return Listed(seen.named.uri, digest, seen.size, seen.modified_ns, licence, seen.named.metadata, problem)


def _hashed(seen: _Seen, counted: _Counted) -> _Hash:
    """(sha256, None), or (None, problem) where the bytes cannot be read or change under the reader."""
    hasher = hashlib.sha256()
    try:
        with _opened(seen.named.uri) as stream:
            for block in _blocks(stream):
                hasher.update(block)
                counted.add(len(block))
        if _looked_at(seen.named).stamp != seen.stamp:
            return None, "unreadable: it changed while it was read"
    except OSError as error:
        return None, f"unreadable: {_reason(error)}"
    return hasher.hexdigest(), None


def _opened(uri: str) -> BinaryIO:
    if not is_remote(uri):
        return Path(uri).open("rb")
    files, path = _files_of(uri)
    stream: BinaryIO = files.open(path, "rb")
    return stream


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    while block := stream.read(_BLOCK):
        yield block


def _sidecar_licence(uri: str) -> str:
    """The SPDX identifier in `<file>.license` beside a local file (REUSE 3.3), else empty."""
    if is_remote(uri):
        return ""
    try:
        text = Path(uri + _SIDECAR).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    line = next((at for at in text.splitlines() if _SPDX in at), "")
    return line.partition(_SPDX)[2].strip()
