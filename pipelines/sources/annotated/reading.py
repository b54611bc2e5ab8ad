"""The seam of the readers: a set's own files in, annotations and named refusals out, one at a time.

    read = reader("webvtt")
    for one in read(Path("talk.vtt")): ...      Annotation, or Refused with the reason

A reader is a module of this folder with `read(path)`, `LICENCE` (what the set's makers state, "" where it is per row)
and `EXPECTS` (one line: which file or folder it wants). It streams, keeps the set's ids, converts to seconds and pixels
of the shown frame, and drops nothing: a row that cannot be used is yielded as Refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from reelmill.schemas.annotation import Annotation
from reelmill.schemas.errors import NotFound


@dataclass(frozen=True, slots=True)
class Refused:
    """A row of a set that is no annotation: its own id ("" where not even that can be read), why, and what was seen."""

    original_id: str
    reason: str
    detail: str


Read = Callable[[Path], Iterator[Annotation | Refused]]


def reader(name: str) -> Read:
    """The reader of a set or format by its module name. Raises NotFound."""
    try:
        module = import_module(f"{__package__}.{name}")
        read: Read = module.read
    except (ModuleNotFoundError, AttributeError) as error:
        raise NotFound(f"annotated set {name!r}", seen=str(error), do="name a module of sources/annotated") from error
    return read
