"""Replies that were paid for once: a cache that survives kill -9 and concurrent writers, and replies read from a file.

One file per reply, `{folder}/ab/cd/{sha256 of (engine, revision, request)}.json`. It is written whole under a name of
its own, and linked to its final name only if that is still free: of two writers the first wins and both return its
reply. The content carries its own digest; a file that does not match it is asked anew and replaced. That is why nothing
is synced here: a kill takes nothing from what the system holds, and what a power cut tears is bought again. The rows
that an answer went into are synced when they are committed.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:  # doctest: +NORMALIZE_WHITESPACE
...     cache = Replies(Path(folder))
...     _ = cache.keep("openai:m", "1", Request("a", "Hi?"), Reply("a", "Hello.", "stop"))
...     cache.find("openai:m", "1", Request("b", "Hi?"))
Reply(id='b', text='Hello.', finish_reason='stop', tokens_in=0, tokens_out=0, error='', model='', first=(),
batched=False, cached=True)
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from reelmill.annotators.engines.engine import Candidate, Engine, Patient, Reply, Request, TimedImage
from reelmill.annotators.engines.gates import Sameness
from reelmill.annotators.engines.spending import Purse
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput, Corrupt, EngineDown, EngineUnusable, NotFound, StoreUnusable
from reelmill.schemas.keys import canonical_json, file_digest
from reelmill.schemas.points import reach

_log = logging.getLogger(__name__)
_ASIDE = ".aside-"
"""What `gc` knows half-written things by: a reply that was killed is swept with the store's, a day later."""
_GREY = (  # a JPEG of 32 x 32 grey pixels
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19i"
    "Z2hnPk1xeXBkeFxlZ2P/wAALCAAgACABAREA/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUF"
    "BAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVW"
    "V1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi"
    "4+Tl5ufo6erx8vP09fb3+Pn6/9oACAEBAAA/ACiiiiiiiiiiiiiiiv/Z"
)
_KEEPERS = 4
"""Threads that write replies, so that a slow disk does not hold up those who ask."""
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@contextmanager
def storing(folder: Path) -> Iterator[None]:
    """A block that writes there. Raises StoreUnusable where the disk is full or refuses."""
    try:
        yield
    except OSError as error:
        todo = "free some space" if error.errno in _NO_SPACE else "mend its rights, or choose another --store"
        raise StoreUnusable(str(folder), seen=error.strerror or str(error), do=todo) from error


@dataclass(frozen=True, slots=True)
class Replies:
    """A folder of replies. The id of a reply is that of whoever asks; it is not stored."""

    folder: Path

    def find(self, engine: str, revision: str, request: Request) -> Reply | None:
        """The stored reply, or None where there is none that can be trusted."""
        path = self._path(engine, revision, request.digest)
        try:
            return replace(_opened(path), id=request.id, cached=True)
        except FileNotFoundError:
            return None
        except Corrupt as broken:
            _log.warning("%s", broken)
            return None

    def keep(self, engine: str, revision: str, request: Request, reply: Reply) -> Reply:
        """Store a reply and return the stored one: an earlier one wins, so that all who ask get the same answer.

        On return no kill can take it back. Raises StoreUnusable where the disk is full or refuses: an answer that was
        paid for and cannot be kept is no matter of one row.
        """
        with storing(self.folder):
            return self._kept(engine, revision, request, reply)

    def _kept(self, engine: str, revision: str, request: Request, reply: Reply) -> Reply:
        path = self._path(engine, revision, request.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        body = _body(reply)
        asked = {"engine": engine, "revision": revision, "request": request.digest, "row": row_of(request.id)}
        record = {"asked": asked, "reply": body, "sha256": _digest(body)}
        temporary = _written(path.parent, canonical_json(record).encode())
        try:
            _link(temporary, path)
        except FileExistsError:
            return self.find(engine, revision, request) or self._replaced(temporary, path, reply)
        finally:
            temporary.unlink(missing_ok=True)
        return reply

    def _replaced(self, temporary: Path, path: Path, reply: Reply) -> Reply:
        temporary.replace(path)
        reach("reply.linked")
        return reply

    def all(self) -> Iterator[Kept]:
        """Every whole reply, in no order. One that is broken, or goes meanwhile, is left out."""
        for path in self.folder.glob("*/*/*.json"):
            try:
                record, size = json.loads(path.read_bytes()), path.stat()
                asked, reply = record["asked"], _opened(path)
            except (OSError, ValueError, KeyError, TypeError, Corrupt):
                continue
            named = asked["engine"], asked["revision"], asked.get("row", "")
            yield Kept(path, *named, reply, size.st_size, size.st_mtime)

    def holds(self, engine: str, revision: str, digest: str) -> bool:
        """Whether a reply to the request of this digest is stored."""
        return self._path(engine, revision, digest).is_file()

    def _path(self, engine: str, revision: str, digest: str) -> Path:
        name = hashlib.sha256(canonical_json([engine, revision, digest]).encode()).hexdigest()
        return self.folder / name[:2] / name[2:4] / f"{name}.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored reply: whose it is, the key of the row it was first asked for ("": not known), its size in bytes, and
    when it was written (seconds since 1970)."""

    path: Path
    engine: str
    revision: str
    row: str
    reply: Reply
    size: int
    at_s: float


def row_of(request_id: str) -> str:
    """The key of the row that a request is about: ids are `key`, or `key/question`."""
    return request_id.partition("/")[0]


def _body(reply: Reply) -> dict[str, Any]:
    """What is stored of a reply: not who asked, nor where it came from."""
    fields: dict[str, Any] = arrow.plain(reply)
    return {k: v for k, v in fields.items() if k not in ("id", "cached")}


def _reply(fields: dict[str, Any]) -> Reply:
    """A reply from plain fields; those that it did not have when it was stored are as by default."""
    first = tuple(Candidate(**c) for c in fields.pop("first", ()))
    return Reply(**fields, first=first)


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(body).encode()).hexdigest()


def _opened(path: Path) -> Reply:
    """Raises FileNotFoundError, and Corrupt where the content is not what was written."""
    data = path.read_bytes()
    try:
        record = json.loads(data)
        if record["sha256"] == _digest(record["reply"]):
            return _reply({"id": ""} | record["reply"])
        seen = "a reply that does not match its digest"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        seen = f"{len(data)} bytes: {error!r}"
    raise Corrupt(f"cached reply {path.name}", seen=seen, do="nothing: it is asked anew and replaced")


def _written(folder: Path, data: bytes) -> Path:
    """A new file with a name of its own, whole."""
    handle, name = tempfile.mkstemp(prefix=_ASIDE, dir=folder)
    try:
        with os.fdopen(handle, "wb") as stream:
            reach("reply.write")
            stream.write(data)
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


class Remembered:
    """An engine with a cache before it. A reply is stored before it is handed on; one with an error is never stored.

    Of equal requests that are in flight together one is asked. With `offline` nobody is: what is not stored is an error
    of that request. `purse` is paid from for what is bought. An engine that says the same of everything is EngineDown.
    """

    def __init__(self, engine: Engine, replies: Replies | None, purse: Purse, *, offline: bool = False) -> None:
        self.engine, self.replies, self.purse, self.offline = engine, replies, purse, offline
        self.sameness = Sameness()
        self._asked: dict[str, Future[Reply]] = {}
        self._lock = threading.Lock()
        self._keepers = ThreadPoolExecutor(_KEEPERS, thread_name_prefix="replies")

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def revision(self) -> str:
        return self.engine.revision

    @property
    def heard(self) -> int:
        """Grows while an engine that takes hours is alive; stays 0 of one that answers or gives up in time."""
        return self.engine.heard if isinstance(self.engine, Patient) else 0

    def let_go(self) -> None:
        """End all waiting for an engine that takes hours; others are heard out."""
        if isinstance(self.engine, Patient):
            self.engine.let_go()

    def submit(self, request: Request) -> Future[Reply]:
        """Raises OverBudget where nothing more may be bought."""
        with self._lock:
            flying = self._asked.get(request.digest)
            if flying is None:
                found = self.replies.find(self.name, self.revision, request) if self.replies else None
                if found is not None:
                    return _done(found)
                flying = self._asked[request.digest] = self._buy(request)
                return flying
        return _after(flying, lambda reply: replace(reply, id=request.id, cached=True))

    def _buy(self, request: Request) -> Future[Reply]:
        if self.offline:
            seen = f"request {request.digest[:16]} to {self.name} is not in the cache"
            return _done(Reply(request.id, "", "", error=f"offline: {seen}"))
        reserved = self.purse.reserve(request)
        kept: Future[Reply] = Future()
        kept.set_running_or_notify_cancel()  # from here on it is bought, whoever still waits for it
        bought = self.engine.submit(request)
        bought.add_done_callback(lambda one: self._keepers.submit(self._kept, request, reserved, one, kept))
        return kept

    def _kept(self, request: Request, reserved: float, bought: Future[Reply], kept: Future[Reply]) -> None:
        try:
            reply = bought.result()
            self.purse.pay(reply, reserved)
            if reply.whole:
                self.sameness.saw(self.name, request.digest, reply.text)
            if self.replies is not None and not reply.error:
                reply = self.replies.keep(self.name, self.revision, request, reply)
            kept.set_result(reply)
        except BaseException as trouble:
            kept.set_exception(trouble)
        finally:
            with self._lock:
                self._asked.pop(request.digest, None)

    def check(self, *, images: bool) -> None:
        """As the engine's own; then one small request, unless it was answered before. Raises EngineUnusable."""
        if self.offline:
            return
        self.engine.check(images=images)
        try:
            reply = self.submit(probe(images=images)).result()
        except EngineDown as down:
            raise EngineUnusable(f"engine {self.name}", seen=down.seen, do=down.do) from down
        if reply.error:
            todo = "name a model that takes images" if images else "look at the server's log"
            raise EngineUnusable(f"engine {self.name}", seen=reply.error, do=todo)

    def close(self) -> None:
        self.engine.close()
        self._keepers.shutdown()


def probe(*, images: bool) -> Request:
    """The smallest question: does the model answer at all, and with a picture?"""
    jpeg = base64.b64decode(_GREY)
    shown = (TimedImage(jpeg, None),) if images else ()
    return Request("probe", "Answer with the word ok.", shown, max_tokens=4, urgent=True)


def _done(reply: Reply) -> Future[Reply]:
    done: Future[Reply] = Future()
    done.set_result(reply)
    return done


def _after(first: Future[Reply], change: Callable[[Reply], Reply]) -> Future[Reply]:
    """A future that ends as another does, its reply changed."""
    then: Future[Reply] = Future()

    def ended(one: Future[Reply]) -> None:
        try:
            then.set_result(change(one.result()))
        except BaseException as trouble:
            then.set_exception(trouble)

    first.add_done_callback(ended)
    return then


@dataclass(frozen=True)
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

    @cached_property
    def _recorded(self) -> dict[str, Reply]:
        return dict(self._lines())

    def submit(self, request: Request) -> Future[Reply]:
        reply = self._recorded.get(request.digest)
        missing = f"no reply to request {request.digest[:16]} is recorded in {self.file.name}"
        return _done(replace(reply or Reply("", "", "", error=missing), id=request.id))

    def check(self, *, images: bool) -> None:
        del images
        self._readable()

    def close(self) -> None:
        """Nothing is held."""

    def _readable(self) -> Path:
        if not self.file.is_file():
            raise NotFound(f"replay file {self.file}", seen="no such file", do="record one, or name another engine")
        return self.file

    def _lines(self) -> Iterator[tuple[str, Reply]]:
        for number, line in enumerate(self._readable().read_text(encoding="utf-8").splitlines(), 1):
            try:
                fields = json.loads(line)
                request, text = fields.pop("request"), fields.pop("text")
                yield request, _reply({"id": "", "text": text, "finish_reason": "stop"} | fields)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BadInput(
                    f"replay file {self.file.name} line {number}",
                    seen=repr(error),
                    do='give "request" and "text"',
                ) from error


def recorded(request: Request, reply: Reply) -> str:
    """A line of a replay file."""
    return canonical_json(_body(reply) | {"request": request.digest})
