"""A provider's batch API behind the seam of all engines: half the price, an answer within a day.

Requests are gathered into a file, uploaded, worked on by the server, and their answers fetched; whoever asked holds a
promise meanwhile. It is the OpenAI Batch API (guide and API reference; Azure, Groq, Together and others speak it):

    POST /v1/files purpose=batch, POST /v1/batches, GET /v1/batches/ID, GET /v1/files/ID/content

A killed run buys nothing twice. What is created is noted first (batch_notes), and a request that stands in a noted
batch waits for that one. Where a run ends between "created there" and "noted here", or a creation fails in a way that
leaves open whether it was done, the server's list of batches is searched for the file that was uploaded.

    a line with 429, 5xx, no or a broken answer; expired         goes into the next batch, up to the tries
    a line with 400, 413, 422, a filter                          an error of that request's reply
    401, 403, 404; 429 to the end                                EngineDown
    a batch that failed, or that somebody cancelled              EngineDown; too many tokens in the queue are waited for
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from reelmill.annotators.engines.batch_lines import ENDPOINT, Read, Spool, line_of, read_lines
from reelmill.annotators.engines.batch_notes import Note, Notes, beside
from reelmill.annotators.engines.engine import Reply, Request
from reelmill.annotators.engines.openai_http import OpenAIEngine, Trouble, status_trouble, unreachable
from reelmill.annotators.engines.profile import BatchApi
from reelmill.annotators.engines.replies import Replies
from reelmill.schemas.errors import BadInput, EngineDown

if TYPE_CHECKING:
    from openai.types import Batch

Result = TypeVar("Result")

_log = logging.getLogger(__name__)
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_NO_BATCHES = frozenset({404, 405, 501})
_QUEUE_FULL = "token_limit_exceeded"
_METADATA = "reelmill"
_MB = 1e6
_FETCHES = 3
"""How often files with torn or missing lines are fetched: that mends what was torn on its way, not what is so there."""
_CLOCKS_APART_S = 3600.0
"""How far the server's clock may be from ours: older batches than a note, less this, are not looked through."""

Waiter = asyncio.Future["Reply | Trouble | None"]


@dataclass(eq=False)
class _Batch:
    """Requests that share a file. `waiting`: who waits, by digest; None is told to those who must ask anew."""

    waiting: dict[str, list[Waiter]] = field(default_factory=dict)
    spool: Spool | None = None
    note: Note | None = None
    task: asyncio.Task[None] | None = None
    held: bool = False

    def end(self, outcome: Reply | Trouble | BaseException | None, *digests: str) -> None:
        """Tell all who wait (for these digests), unless they were told."""
        for digest in digests or tuple(self.waiting):
            for one in self.waiting.pop(digest, ()):
                if one.done():
                    continue
                if isinstance(outcome, BaseException):
                    one.set_exception(outcome)
                else:
                    one.set_result(outcome)


class OpenAIBatchEngine:
    """The same model as `live`, asked by batch; what is urgent is asked live. `cache` is the folder of replies: batches
    are noted beside them."""

    def __init__(self, live: OpenAIEngine, cache: Path | None) -> None:
        self.live, self.cache, self.heard = live, cache, 0
        self.api = live.profile.batch_api or BatchApi()
        self._down: EngineDown | None = None
        self._known: dict[str, _Batch] | None = None
        self._open: _Batch | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._let_go = False

    @property
    def name(self) -> str:
        return self.live.name

    @property
    def revision(self) -> str:
        return self.live.revision

    @cached_property
    def _notes(self) -> Notes:
        if self.cache is None:
            do = "give a folder for replies (a store has one)"
            raise BadInput(f"batches of {self.name} must be noted", seen="no folder for replies", do=do)
        return beside(self.cache)

    @cached_property
    def _replies(self) -> Replies:
        return Replies(self._notes.folder.parent)

    def submit(self, request: Request) -> Future[Reply]:
        """Raises BadInput where there is no folder to note batches in."""
        if request.urgent:
            return self.live.submit(request)
        _ = self._notes
        return self.live.loop.start(self._answered(request))

    def check(self, *, images: bool) -> None:
        """As the live engine; and raises EngineUnusable where the server has no batch API."""
        self.live.check(images=images)
        self.live.loop.start(self._has_batches()).result()

    async def _has_batches(self) -> None:
        import openai

        try:
            await self._persisted("the list of batches", lambda: self.live.client.batches.list(limit=1))
        except EngineDown as down:
            cause = down.__cause__
            if isinstance(cause, openai.APIStatusError) and cause.status_code in _NO_BATCHES:
                do = "take [batch_api] out of the profile, or name a server that has it"
                raise self.live.unusable(f"no batch API (HTTP {cause.status_code} for GET /batches)", do) from cause
            raise self.live.unusable(down.seen, down.do) from down

    def let_go(self) -> None:
        """End all waiting. What is under way at the server is noted, and found again."""
        if "loop" in self.live.__dict__ and not self._let_go:
            self._let_go = True
            self.live.loop.start(self._ended_by(self._gone("its batches are let go", "run again to go on"))).result()

    def close(self) -> None:
        self.live.close()
        if self._known is not None:
            self._tidied()
        if self._open is not None and self._open.spool is not None:
            self._open.spool.drop()

    # --- a request ---

    async def _answered(self, request: Request) -> Reply:
        tries, attempt = self.live.profile.patience.tries, 1
        while True:
            outcome = await self._line(request)
            if isinstance(outcome, Reply):
                return replace(outcome, id=request.id)
            if outcome is None:
                continue
            seen = f"{outcome.what} (batch {attempt} of {tries})"
            if not outcome.again or attempt == tries:
                if outcome.down:
                    raise await self._ended_by(self.live.gone(seen))
                return Reply(request.id, "", "", error=seen)
            attempt += 1

    async def _line(self, request: Request) -> Reply | Trouble | None:
        """What one batch says to a request; None where it must be put into another."""
        if self._down is not None:
            raise self._down
        known = self._batches()
        batch = known.get(request.digest)
        if batch is None:
            kept = self._replies.find(self.name, self.revision, request)
            if kept is not None:  # by another process, which has dropped its note since we were asked
                return kept
            batch = self._gathered(request, known)
        waiter: Waiter = asyncio.get_running_loop().create_future()
        batch.waiting.setdefault(request.digest, []).append(waiter)
        if batch is not self._open:
            self._begin(batch)
        elif len(batch.waiting) >= self.api.batch_max:
            self._send()
        return await waiter

    def _batches(self) -> dict[str, _Batch]:
        """Batches by the digests of their requests; those that earlier runs noted are read at the first request."""
        if self._known is None:
            self._tidied()
            mine = (self.name, self.revision, self.live.url)
            noted = [n for n in self._notes.all() if (n.engine, n.revision, n.url) == mine]
            self._known = {digest: batch for n in noted for batch in [_Batch(note=n)] for digest in n.requests}
        return self._known

    def _tidied(self) -> None:
        """Drop the notes of answered batches all of whose replies are kept by now."""
        holds = self._replies.holds
        for note in self._notes.all():
            if note.state == "answered" and all(holds(note.engine, note.revision, d) for d in note.requests):
                self._notes.drop(note)

    # --- gathering ---

    def _gathered(self, request: Request, known: dict[str, _Batch]) -> _Batch:
        """The batch that is being filled, with the request's line in it."""
        line = line_of(self.live.model, request)
        spool = self._open.spool if self._open else None
        if spool is not None and spool.size + len(line) > self.api.file_mb * _MB:
            self._send()
        if self._open is None:
            self._open = _Batch(spool=Spool(self._notes.folder))
        assert self._open.spool is not None
        self._open.spool.add(line)
        known[request.digest] = self._open
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(self.api.batch_wait_s, self._send)
        return self._open

    def _send(self) -> None:
        """Close the batch that is being filled, and send it."""
        if self._alarm is not None:
            self._alarm.cancel()
        batch, self._open, self._alarm = self._open, None, None
        if batch is not None:
            self._begin(batch)

    def _begin(self, batch: _Batch) -> None:
        if batch.task is None:
            batch.task = asyncio.get_running_loop().create_task(self._carried(batch))

    # --- a batch ---

    async def _carried(self, batch: _Batch) -> None:
        """A batch from its file to its answers. Whatever ends it is told to all who wait for it."""
        digests = tuple(batch.waiting) if batch.note is None else batch.note.requests
        try:
            note = await self._created(batch, digests)
            if note is not None:
                ended = await self._worked_off(batch, note)
                await self._delivered(batch, ended)
        except EngineDown as down:
            batch.end(down)
            await self._ended_by(down)
        except asyncio.CancelledError as ended:
            batch.end(ended)
            raise
        except Exception as trouble:
            batch.end(trouble)  # a full disk, for example: theirs to raise
        finally:
            for digest in digests:
                if self._known and self._known.get(digest) is batch:
                    del self._known[digest]
            if batch.spool is not None:
                batch.spool.drop()
            batch.end(None)

    async def _created(self, batch: _Batch, digests: tuple[str, ...]) -> Note | None:
        """The note of a batch that is at the server. None where a creation that was begun came to nothing."""
        if batch.note is None:
            assert batch.spool is not None
            batch.spool.close()
            file = await self._uploaded(batch.spool.path)
            batch.spool.drop()  # it is there now; a batch may last a day
            mine = uuid.uuid4().hex, self.name, self.revision, self.live.url
            batch.note = Note(*mine, file, "", "creating", time.time(), digests)
            return await self._create(batch, batch.note)
        if batch.note.batch:
            return batch.note
        found = await self._found(batch.note)
        if found is None:
            self._notes.drop(batch.note)
            return None
        return self._noted(batch, replace(batch.note, batch=found, state="waiting"))

    async def _uploaded(self, path: Path) -> str:
        async def upload() -> str:
            with path.open("rb") as lines:
                made = await self.live.client.files.create(file=("reelmill.jsonl", lines), purpose="batch")
            return made.id

        return await self._persisted("the upload of a batch", upload)

    def _noted(self, batch: _Batch, note: Note) -> Note:
        self._notes.write(note)
        batch.note = note
        return note

    async def _create(self, batch: _Batch, note: Note) -> Note:
        """Create the batch, once. Where it stays open whether a try created it, the server's list decides."""
        import openai

        ask = self.live.client.batches.create
        patience = self.live.profile.patience
        for attempt in itertools.count(1):
            note = self._noted(batch, replace(note, batch="", state="creating", at_s=time.time()))
            metadata = {_METADATA: note.token, "requests": str(len(note.requests))}
            try:
                async with asyncio.timeout(patience.timeout_s):
                    made = await ask(
                        input_file_id=note.input_file, endpoint=ENDPOINT, completion_window="24h", metadata=metadata
                    )
                return self._noted(batch, replace(note, batch=made.id, state="waiting"))
            except (TimeoutError, openai.OpenAIError) as error:
                trouble = _trouble(error)
                found = await self._found(note) if _open_whether(error) else None
                if found is not None:
                    return self._noted(batch, replace(note, batch=found, state="waiting"))
                if not await self._may_try(trouble, attempt):
                    self._notes.drop(note)
                    raise self._gone(f"the creation of a batch: {trouble.what}") from error
        raise AssertionError("the count has no end")

    async def _found(self, note: Note) -> str | None:
        """The id of the batch that a creation made, of which we never heard; None where it made none.

        A creation may still be under way (of a process that was killed, or of one that lives): for as long as one may
        take, none in the list does not mean that there will be none.
        """
        until = note.at_s + self.live.profile.patience.timeout_s
        while True:
            late = time.time() >= until
            found = await self._persisted("the list of batches", lambda: self._listed(note))
            self.heard += 1
            if found or late:
                return found
            await asyncio.sleep(min(self.api.poll_s, max(0.0, until - time.time())))

    async def _listed(self, note: Note) -> str | None:
        async for one in self.live.client.batches.list(limit=100):
            if one.input_file_id == note.input_file or (one.metadata or {}).get(_METADATA) == note.token:
                return one.id
            if one.created_at < note.at_s - _CLOCKS_APART_S:
                return None
        return None

    async def _worked_off(self, batch: _Batch, note: Note) -> Batch:
        """The batch when it has come to an end, and may have answers. Raises EngineDown where it failed."""
        while True:
            ended = await self._polled(note)
            if ended.status != "failed":
                return ended
            errors = (ended.errors.data if ended.errors else None) or []
            said = "; ".join(f"{e.code}: {e.message}" + (f" (line {e.line})" if e.line else "") for e in errors[:2])
            if not (any(e.code == _QUEUE_FULL for e in errors) and await self._room_made(batch)):
                self._notes.drop(note)
                do = "mend what it says; where it is the queue, lower batch_max and batches in [batch_api]"
                raise self._gone(f"batch {note.batch} failed: {said or 'no word why'}", do)
            note = await self._create(batch, note)

    async def _room_made(self, batch: _Batch) -> bool:
        """Wait for another of our batches to end; False where none is at the server."""
        running = {b.task for b in (self._known or {}).values() if b is not batch and not b.held and b.task}
        if not running:
            return False
        batch.held = True
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        batch.held = False
        return True

    async def _polled(self, note: Note) -> Batch:
        told, look = "", partial(self.live.client.batches.retrieve, note.batch)
        while True:
            seen = await self._persisted(f"batch {note.batch}", look, self.api.poll_s)
            self.heard += 1
            told = _told(seen, len(note.requests), told)
            if seen.status in _ENDED:
                return seen
            await asyncio.sleep(self.api.poll_s)

    async def _delivered(self, batch: _Batch, ended: Batch) -> None:
        """Fetch the answers, note which there are, tell those who wait."""
        assert batch.note is not None
        note, read = batch.note, await self._fetched(batch.note, ended)
        good = tuple(d for d, one in read.outcomes.items() if isinstance(one, Reply))
        if good:
            self._noted(batch, replace(note, state="answered", requests=good))
        else:
            self._notes.drop(note)
        for digest, outcome in read.outcomes.items():
            batch.end(outcome, digest)
        if ended.status == "cancelled" and len(good) < len(note.requests):
            seen = f"batch {ended.id} was cancelled with {len(good)} of {len(note.requests)} answered"
            raise self._gone(seen, "run again to ask for the rest")
        batch.end(Trouble(f"no line of batch {ended.id} ({ended.status}) answers it", again=True, down=False))

    async def _fetched(self, note: Note, ended: Batch) -> Read:
        """The lines of its files. Where some are broken or missing they are fetched again: that costs nothing."""
        patience, read, missing = self.live.profile.patience, Read(), 0
        for attempt in range(_FETCHES):
            files = [await self._content(f) for f in (ended.output_file_id, ended.error_file_id) if f]
            read = read_lines(files, note.requests, self.live.own)
            missing = len(note.requests) - len(read.outcomes)
            if not read.torn and (not missing or ended.status != "completed"):
                break
            if attempt + 1 < _FETCHES:
                await asyncio.sleep(patience.wait_s(attempt, 0.0))
        if read.odd or (missing and ended.status == "completed"):
            odd = "; ".join(["", *read.odd[:3]])
            _log.warning("batch %s: %d of %d requests without a line%s", note.batch, missing, len(note.requests), odd)
        return read

    async def _content(self, file: str) -> bytes:
        fetched = await self._persisted(f"file {file}", lambda: self.live.client.files.content(file))
        self.heard += 1
        return fetched.content

    # --- trouble ---

    async def _persisted(self, what: str, call: Callable[[], Awaitable[Result]], least_wait_s: float = 0.0) -> Result:
        """A call that may be made again, up to the tries. Raises EngineDown."""
        import openai

        for attempt in itertools.count(1):
            try:
                return await call()
            except (TimeoutError, openai.OpenAIError) as error:
                trouble = _trouble(error)
                if not await self._may_try(trouble, attempt, least_wait_s):
                    raise self._gone(f"{what}: {trouble.what} (try {attempt})") from error
        raise AssertionError("the count has no end")

    async def _may_try(self, trouble: Trouble, attempt: int, least_wait_s: float = 0.0) -> bool:
        """Wait before the next try; False where there is to be none."""
        patience = self.live.profile.patience
        asked_s = trouble.wait_s or 0.0
        if not trouble.again or attempt >= patience.tries or asked_s > patience.retry_after_max_s:
            return False
        await asyncio.sleep(max(asked_s, patience.wait_s(attempt - 1, 0.0), least_wait_s))
        return True

    def _gone(self, seen: str, do: str = "") -> EngineDown:
        if do:
            return EngineDown(f"engine {self.name} at {self.live.url}", seen=seen, do=do)
        return self.live.gone(seen)

    async def _ended_by(self, down: EngineDown) -> EngineDown:
        """No request will be answered any more. Batches that are at the server stay noted, for the next run."""
        if self._down is None:
            self._down = down
            mine = asyncio.current_task()
            for batch in {id(b): b for b in [*(self._known or {}).values()]}.values():
                batch.end(down)
                if batch.task is not None and batch.task is not mine:
                    batch.task.cancel()
        return self._down


def _trouble(error: Exception) -> Trouble:
    """What a failed call to the server means; that it gave up is no matter of one request."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return status_trouble(error)
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return Trouble("no answer in time", again=True, down=True)
    return Trouble(f"connection failed: {error.__cause__ or error!r}", again=True, down=True)


def _open_whether(error: Exception) -> bool:
    """True where a creation may have been done though it failed for us: not where it was refused or never reached."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return error.status_code >= 500 or error.status_code in (408, 409)
    return not unreachable(error)


def _told(seen: Batch, requests: int, told: str) -> str:
    """Say how far a batch is, where that is something else than what was `told` last."""
    counts: Any = seen.request_counts
    done = counts.completed + counts.failed if counts else 0
    line = f"batch {seen.id}: {done:,} of {requests:,} done ({seen.status})"
    if line != told:
        _log.info(line)
    return line
