"""Replies that were paid for once: a cache that survives kill -9 and concurrent writers, and replies read from a file.

One file per reply, `{folder}/ab/cd/{sha256 of (engine, revision, request)}.json`. It is written whole under a name of
its own, flushed, and linked to its final name only if that is still free: of two writers the first wins and both return
its reply. The content carries its own digest; a file that does not match it is asked anew and replaced.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     cache = Replies(Path(folder))
...     _ = cache.keep("openai:m", "1", Request("a", "Hi?"), Reply("a", "Hello.", "stop"))
...     cache.find("openai:m", "1", Request("b", "Hi?"))
Reply(id='b', text='Hello.', finish_reason='stop', tokens_in=0, tokens_out=0, error='', model='')
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reelmill.annotators.engines.engine import Engine, Reply, Request
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput, Corrupt, NotFound, SchemaBroken, StoreUnusable
from reelmill.schemas.keys import canonical_json, file_digest
from reelmill.schemas.points import reach

_log = logging.getLogger(__name__)
_ASIDE = ".aside-"
"""What `gc` knows half-written things by: a reply that was killed is swept with the store's, a day later."""
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@dataclass(frozen=True, slots=True)
class Replies:
    """A folder of replies. The id of a reply is that of whoever asks; it is not stored."""

    folder: Path

    def find(self, engine: str, revision: str, request: Request) -> Reply | None:
        """The stored reply, or None where there is none that can be trusted."""
        path = self._path(engine, revision, request)
        try:
            return replace(_opened(path), id=request.id)
        except FileNotFoundError:
            return None
        except Corrupt as broken:
            _log.warning("%s", broken)
            return None

    def keep(self, engine: str, revision: str, request: Request, reply: Reply) -> Reply:
        """Store a reply and return the stored one: an earlier one wins, so that all who ask get the same answer.

        On return it is on disk. Raises StoreUnusable where the disk is full or refuses: an answer that was paid for
        and cannot be kept is no matter of one row.
        """
        try:
            return self._kept(engine, revision, request, reply)
        except OSError as error:
            todo = "free some space" if error.errno in _NO_SPACE else "mend its rights, or choose another --store"
            raise StoreUnusable(str(self.folder), seen=error.strerror or str(error), do=todo) from error

    def _kept(self, engine: str, revision: str, request: Request, reply: Reply) -> Reply:
        path = self._path(engine, revision, request)
        path.parent.mkdir(parents=True, exist_ok=True)
        body = arrow.plain(replace(reply, id=""))
        asked = {"engine": engine, "revision": revision, "request": request.digest}
        record = {"asked": asked, "reply": body, "sha256": _digest(body)}
        temporary = _written(path.parent, canonical_json(record).encode())
        try:
            _link(temporary, path)
        except FileExistsError:
            return self.find(engine, revision, request) or self._replaced(temporary, path, reply)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return reply

    def _replaced(self, temporary: Path, path: Path, reply: Reply) -> Reply:
        temporary.replace(path)
        reach("reply.linked")
        _sync_folder(path.parent)
        return reply

    def _path(self, engine: str, revision: str, request: Request) -> Path:
        name = hashlib.sha256(canonical_json([engine, revision, request.digest]).encode()).hexdigest()
        return self.folder / name[:2] / name[2:4] / f"{name}.json"


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(body).encode()).hexdigest()


def _opened(path: Path) -> Reply:
    """Raises FileNotFoundError, and Corrupt where the content is not what was written."""
    data = path.read_bytes()
    try:
        record = json.loads(data)
        if record["sha256"] == _digest(record["reply"]):
            return arrow.typed(Reply, record["reply"])  # type: ignore[no-any-return]
        seen = "a reply that does not match its digest"
    except (ValueError, KeyError, TypeError, SchemaBroken) as error:
        seen = f"{len(data)} bytes: {error!r}"
    raise Corrupt(f"cached reply {path.name}", seen=seen, do="nothing: it is asked anew and replaced")


def _written(folder: Path, data: bytes) -> Path:
    """A new file with a name of its own, its bytes on disk."""
    handle, name = tempfile.mkstemp(prefix=_ASIDE, dir=folder)
    try:
        with os.fdopen(handle, "wb") as stream:
            reach("reply.write")
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        reach("reply.written")
    except BaseException:
        Path(name).unlink()
        raise
    return Path(name)


def _link(temporary: Path, path: Path) -> None:
    """Give the file its final name only if that is free. Without hard links a rename does, and the last writer wins."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        temporary.replace(path)
    reach("reply.linked")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class Remembered:
    """An engine with a cache before it. A reply is stored before it is returned; one with an error is never stored."""

    engine: Engine
    replies: Replies

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def revision(self) -> str:
        return self.engine.revision

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """What is stored comes first; the rest is asked."""
        missing: dict[str, Request] = {}
        for request in requests:
            found = self.replies.find(self.name, self.revision, request)
            if found is None:
                missing[request.id] = request
            else:
                yield found
        for reply in self.engine.answer(missing.values()):
            yield reply if reply.error else self.replies.keep(self.name, self.revision, missing[reply.id], reply)


@dataclass(frozen=True, slots=True)
class Replay:
    """Recorded replies, a JSON object per line: `request` (its digest), `text`, and perhaps other fields of Reply.

    What was not recorded is an error of that request alone. The file's digest is the revision, so another recording is
    another model.
    """

    file: Path

    @property
    def name(self) -> str:
        return "replay"

    @property
    def revision(self) -> str:
        return file_digest(self._readable())[:16]

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        recorded = dict(self._lines())
        for request in requests:
            reply = recorded.get(request.digest)
            missing = Reply(
                "", "", "", error=f"no reply to request {request.digest[:16]} is recorded in {self.file.name}"
            )
            yield replace(reply or missing, id=request.id)

    def _readable(self) -> Path:
        if not self.file.is_file():
            raise NotFound(f"replay file {self.file}", seen="no such file", do="record one, or name another engine")
        return self.file

    def _lines(self) -> Iterator[tuple[str, Reply]]:
        for number, line in enumerate(self._readable().read_text(encoding="utf-8").splitlines(), 1):
            try:
                fields = json.loads(line)
                request, text = fields.pop("request"), fields.pop("text")
                yield request, Reply(**({"id": "", "text": text, "finish_reason": "stop"} | fields))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BadInput(
                    f"replay file {self.file.name} line {number}",
                    seen=repr(error),
                    do='give "request" and "text"',
                ) from error


def recorded(request: Request, reply: Reply) -> str:
    """A line of a replay file."""
    fields = arrow.plain(reply)
    del fields["id"]
    return canonical_json(fields | {"request": request.digest})
