"""What is noted of a provider's batches, so that a run that was killed finds them and buys nothing twice.

One file per batch, `{folder}/{token}.json`, written whole and synced before anything that it promises:

    creating    its lines are uploaded; it is created now, or was. The list of batches at the server tells
    waiting     it is there, under `batch`; its requests are paid for
    answered    its output was read; `requests` are those that have a reply, and go when all of these are kept

A power cut may tear no note: unlike a reply (replies.py) a lost one costs a whole batch.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     notes = Notes(Path(folder) / "batches")
...     notes.write(Note("t1", "openai:m", "", "http://here/v1", "file-1", "", "creating", 0.0, ("d1", "d2")))
...     [(note.state, note.requests) for note in notes.all()]
[('creating', ('d1', 'd2'))]
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pydantic

from reelmill.annotators.engines.replies import storing
from reelmill.schemas.errors import Corrupt
from reelmill.schemas.keys import canonical_json

ASIDE = ".aside-"
State = Literal["creating", "waiting", "answered"]


@dataclass(frozen=True, slots=True)
class Note:
    """A batch of requests (their digests) to a model at `url`. `token` is ours and goes with it as metadata, `batch`
    and `input_file` are the server's; `at_s` is when its creation was last begun, in seconds since 1970."""

    token: str
    engine: str
    revision: str
    url: str
    input_file: str
    batch: str
    state: State
    at_s: float
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Notes:
    """A folder of notes, made when the first is written. May be used by several processes."""

    folder: Path

    def write(self, note: Note) -> None:
        """On return neither a kill nor a power cut can take it back. Raises StoreUnusable."""
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=ASIDE, dir=self.folder)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(canonical_json(asdict(note)))
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(self.path(note))
            _sync(self.folder)

    def drop(self, note: Note) -> None:
        self.path(note).unlink(missing_ok=True)

    def all(self) -> Iterator[Note]:
        """Every note. One that goes meanwhile is left out; raises Corrupt for one that cannot be read."""
        for path in sorted(self.folder.glob("[!.]*.json")):
            try:
                yield _Form.validate_python(json.loads(path.read_bytes()))
            except FileNotFoundError:
                continue
            except ValueError as error:
                todo = "look at the provider's list of batches, then remove the file"
                raise Corrupt(f"note of a batch {path}", seen=str(error).splitlines()[0], do=todo) from error

    def path(self, note: Note) -> Path:
        return self.folder / f"{note.token}.json"


_Form = pydantic.TypeAdapter(Note)


def beside(replies: Path) -> Notes:
    """The notes that belong to a folder of replies."""
    return Notes(replies / "batches")


def forget_answered(replies: Path, engine: str) -> int:
    """Drop the notes of answered batches of an engine ('': of any), so that what they answered is asked anew."""
    notes = beside(replies)
    gone = [n for n in notes.all() if n.state == "answered" and engine in ("", n.engine)]
    for note in gone:
        notes.drop(note)
    return len(gone)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
