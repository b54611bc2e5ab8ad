"""Digests remembered between runs, so that a second listing of the same files reads none of them.

One small JSON file, put in place whole: a killed run leaves the old one, two runs at once lose at worst some of each
other's new entries, and a broken file is begun anew. What was remembered counts only while size and stamp are the same.

>>> with Digests(None) as digests:
...     digests.known("/a.mp4", 10, "stamp") is None
True
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any

from reelmill.schemas.points import reach
from reelmill.sinks.state.objects import LocalObjects

_SAVE_EVERY = 2 << 30
_VERSION = 1


class Digests:
    """uri -> (size, stamp, digest), read at the start, written every few gigabytes hashed and at the end."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known = _read(path)
        self._new: dict[str, list[Any]] = {}
        self._unsaved = 0

    def __enter__(self) -> Digests:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.save()

    def known(self, uri: str, size: int, stamp: str) -> str | None:
        """The digest of a file that has not changed, else None. A file without a stamp is never known."""
        entry = self._new.get(uri) or self._known.get(uri)
        if not stamp or entry is None or entry[:2] != [size, stamp]:
            return None
        return str(entry[2])

    def remember(self, uri: str, size: int, stamp: str, digest: str) -> None:
        """Keep a digest; one without a stamp cannot be recognised again."""
        if not stamp:
            return
        self._new[uri] = [size, stamp, digest]
        self._unsaved += size
        if self._unsaved >= _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Lay the new entries over what the file holds now, and put it in place whole."""
        if self.path is None or not self._new:
            return
        entries = _read(self.path) | self._new
        data = json.dumps({"version": _VERSION, "digests": entries}, ensure_ascii=False)
        LocalObjects(self.path.parent).put(self.path.name, data.encode(errors="surrogateescape"))
        reach("digests.written")
        self._known, self._unsaved = entries, 0


def _read(path: Path | None) -> dict[str, list[Any]]:
    """What the file holds; nothing where there is none, or one that cannot be understood."""
    if path is None:
        return {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        held = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
        if held["version"] == _VERSION:
            return {str(k): v for k, v in held["digests"].items() if isinstance(v, list) and len(v) == 3}
    return {}
