"""The lines of a batch: requests as they are uploaded, and what became of each in the files that come back.

A request goes under its digest as `custom_id` (64 characters, which is the most that providers take), so a line of the
output names its question. A line counts only where it names a request of this batch, can be read whole, and does not
contradict another line; all else is no answer. (OpenAI Batch API: guide and API reference, "The request input object",
"The request output object".)
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

import pydantic

from reelmill.annotators.engines.batch_notes import ASIDE
from reelmill.annotators.engines.engine import Reply, Request
from reelmill.annotators.engines.openai_http import Broken, Trouble, asked, replied, trouble_of
from reelmill.annotators.engines.replies import storing

ENDPOINT: Final = "/v1/chat/completions"
_PASSING = frozenset({"batch_expired", "rate_limit_exceeded", "server_error"})
"""Codes of lines without a status that another batch may mend."""


def line_of(model: str, request: Request) -> bytes:
    """A request as a line of an input file."""
    line = {"custom_id": request.digest, "method": "POST", "url": ENDPOINT, "body": asked(model, request)}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


class Spool:
    """An input file as it grows, on disk: pictures of thousands of requests are not held twice in memory."""

    def __init__(self, folder: Path) -> None:
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=ASIDE, suffix=".jsonl", dir=folder)
        self.path, self.size, self._stream = Path(name), 0, os.fdopen(handle, "wb")

    def add(self, line: bytes) -> None:
        with storing(self.path.parent):
            self._stream.write(line)
        self.size += len(line)

    def close(self) -> None:
        with storing(self.path.parent):
            self._stream.close()

    def drop(self) -> None:
        with suppress(OSError):  # what a full disk did not take is not wanted any more
            self._stream.close()
        self.path.unlink(missing_ok=True)


class _Error(pydantic.BaseModel):
    code: str | None = None
    message: str | None = None


class _Response(pydantic.BaseModel):
    status_code: int
    body: dict[str, Any] | None = None


class _Line(pydantic.BaseModel):
    custom_id: str
    response: _Response | None = None
    error: _Error | None = None


@dataclass(slots=True)
class Read:
    """What became of requests, by digest, with the ids of their answers; what was odd about the files, in
    words; and how many lines could not be read."""

    outcomes: dict[str, Reply | Trouble] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    torn: int = 0
    ids: dict[str, str] = field(default_factory=dict)

    def add(self, digest: str, outcome: Reply | Trouble) -> None:
        """Of two lines for one request that say the same, one counts; of others none."""
        earlier = self.outcomes.setdefault(digest, outcome)
        if earlier is outcome:
            return
        self.odd.append(f"two lines for {digest[:16]}")
        if not (isinstance(earlier, Reply) and isinstance(outcome, Reply) and _said(earlier) == _said(outcome)):
            self.outcomes[digest] = Trouble("its batch gave two different answers", again=True, down=False)

    def refuse_twins(self) -> dict[str, Reply]:
        """One answer under two requests: in a file without order nobody knows whose it is, so it is neither's.

        Returns what was refused, by its id. A server that gives all answers the same id, three at least, is believed.
        """
        refused: dict[str, Reply] = {}
        if len(set(self.ids.values())) < 2 and len(self.ids) != 2:
            return refused
        sharing: dict[tuple[str, str], list[str]] = {}
        for digest, answer_id in self.ids.items():
            outcome = self.outcomes[digest]
            if answer_id and isinstance(outcome, Reply):
                sharing.setdefault((answer_id, outcome.text), []).append(digest)
        for (answer_id, _), digests in sharing.items():
            for digest in digests if len(digests) > 1 else ():
                refused[answer_id] = cast(Reply, self.outcomes[digest])
                why = f"its batch gave the answer {answer_id} to {len(digests)} requests"
                self.outcomes[digest] = Trouble(why, again=True, down=False)
        return refused


def _said(reply: Reply) -> tuple[str, str]:
    return reply.text, reply.finish_reason


Own = Callable[[str, str, str, Reply], Reply]
"""Digest, name, the answer's id and reply: the reply, or Broken where it belongs to another request."""


def read_lines(files: Collection[bytes], requests: Collection[str], own: Own) -> Read:
    """What the output and error files of a batch say of its requests (digests)."""
    read, wanted = Read(), frozenset(requests)
    for line in (line for data in files for line in _split(data)):
        try:
            found = _Line.model_validate_json(line)
        except pydantic.ValidationError as error:
            read.torn += 1
            read.odd.append(f"a line that cannot be read ({error.errors()[0]['msg']}): {line[:60]!r}")
            continue
        if found.custom_id in wanted:
            read.add(found.custom_id, _outcome(found, read))
        else:
            read.odd.append(f"a line for another request: {found.custom_id[:40]!r}")
    for answer_id, reply in read.refuse_twins().items():
        _owned("", answer_id, reply, own)  # from now on it is nobody's, should it come once more
    for digest, outcome in read.outcomes.items():
        if isinstance(outcome, Reply):
            read.outcomes[digest] = _owned(digest, read.ids[digest], outcome, own)
    return read


def _owned(digest: str, answer_id: str, reply: Reply, own: Own) -> Reply | Trouble:
    try:
        return own(digest, digest, answer_id, reply)
    except Broken as broken:
        return Trouble(str(broken), again=True, down=False)


def _split(data: bytes) -> Iterator[bytes]:
    return (line for line in data.split(b"\n") if line.strip())


def _outcome(line: _Line, read: Read) -> Reply | Trouble:
    if line.response is None or (line.error is not None and line.response.status_code == 200):
        code = (line.error.code if line.error else None) or "no response"
        said = (line.error.message if line.error else None) or ""
        return Trouble(f"{code}: {said[:300]}", again=code in _PASSING or line.error is None, down=False)
    if line.response.status_code != 200:
        error = _error_in(line.response.body)
        return trouble_of(line.response.status_code, error.message or "", error.code)
    try:
        read.ids[line.custom_id], reply = replied("", json.dumps(line.response.body))
        return replace(reply, batched=True)
    except Broken as broken:
        return Trouble(str(broken), again=True, down=False)


def _error_in(body: dict[str, Any] | None) -> _Error:
    """The error in a body of the API; a body of another form is shown as it is."""
    try:
        return _Error.model_validate((body or {})["error"])
    except (pydantic.ValidationError, KeyError):
        return _Error(message=json.dumps(body)[:300])
