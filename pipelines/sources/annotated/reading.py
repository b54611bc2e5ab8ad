"""The seam of the readers: a set's own files in, annotations and named refusals out, one at a time.

    read = reader("webvtt")
    for one in read(Path("talk.vtt")): ...      Annotation, or Refused with the reason

A reader is a module of this folder with `read(path)`, `LICENCE` (what the set's makers state, "" where it is per row)
and `EXPECTS` (one line: which file or folder it wants). It streams, keeps the set's ids, converts to seconds and pixels
of the shown frame, and drops nothing: a row that cannot be used is yielded as Refused.

Three more names are optional. `REVISION` ("1" where it is missing) is raised when a reader gives other rows for the
same file. `DENSE = True` says that the set's sentences are meant to tell all of a medium; `SPOKEN = True` that they are
what is said in it and not what is seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from reelmill.schemas.annotation import Annotation
from reelmill.schemas.errors import NotFound

_EXPECTS = re.compile(r"^EXPECTS\b", re.M)


@dataclass(frozen=True, slots=True)
class Refused:
    """A row of a set that is no annotation: its own id ("" where not even that can be read), why, and what was seen."""

    original_id: str
    reason: str
    detail: str


Read = Callable[[Path], Iterator[Annotation | Refused]]


def reader(name: str) -> Read:
    """The reader of a set or format by its module name. Raises NotFound."""
    read: Read = _module(name).read
    return read


def readers() -> tuple[str, ...]:
    """Every set that can be read, by name: modules of this folder that say what they expect. Imports none of them."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple(f.stem for f in files if _EXPECTS.search(f.read_text(encoding="utf-8")))


def revision(name: str) -> str:
    """The revision of a reader. Raises NotFound."""
    return str(getattr(_module(name), "REVISION", "1"))


def is_dense(name: str) -> bool:
    """Whether the set's sentences are meant to tell all of a medium. Raises NotFound."""
    return bool(getattr(_module(name), "DENSE", False))


def is_spoken(name: str) -> bool:
    """Whether the set's sentences are what is said in a medium. Raises NotFound."""
    return bool(getattr(_module(name), "SPOKEN", False))


def _module(name: str) -> Any:
    if name not in readers():
        raise NotFound(f"annotated set {name!r}", seen=", ".join(readers()), do="name one of these readers")
    return import_module(f"{__package__}.{name}")
