"""The few things that a store must do, in object-store terms: whole objects, put-if-absent, no rename assumed.

`LocalObjects` does them on a POSIX folder: an object appears complete under its name or not at all, also after kill -9
or a power cut (write aside, fsync, link or rename, fsync the folder).

>>> import tempfile
>>> objects = LocalObjects(Path(tempfile.mkdtemp()))
>>> objects.put_if_absent("leases/000001.json", b"mine"), objects.put_if_absent("leases/000001.json", b"theirs")
(True, False)
>>> objects.get("leases/000001.json")
b'mine'
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reelmill.schemas.errors import StoreUnusable
from reelmill.sinks.points import reach

ASIDE = ".aside-"
_STORE_TROUBLE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES),
    *(errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
)


class Objects(Protocol):
    """Names are relative, with `/`. A missing object raises FileNotFoundError; a store that refuses, StoreUnusable."""

    def put(self, name: str, data: bytes) -> None: ...

    def put_if_absent(self, name: str, data: bytes) -> bool: ...

    def get(self, name: str) -> bytes: ...

    def read(self, name: str, offset: int, size: int) -> bytes: ...

    def list(self, folder: str) -> list[str]: ...

    def delete(self, name: str) -> None: ...


@contextlib.contextmanager
def store_trouble(root: Path) -> Iterator[None]:
    """Turn the refusals of a file system into one clear line about the store."""
    try:
        yield
    except OSError as error:
        if error.errno not in _STORE_TROUBLE:
            raise
        todo = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose another --store"
        raise StoreUnusable(str(root), seen=error.strerror or str(error), do=todo) from error


@dataclass(frozen=True, slots=True)
class LocalObjects:
    root: Path

    def put(self, name: str, data: bytes) -> None:
        """Write or replace an object at once."""
        with store_trouble(self.root):
            aside, final = self._write_aside(name, data)
            try:
                aside.replace(final)
            except OSError:
                aside.unlink(missing_ok=True)
                raise
            _sync_folder(final.parent)
            reach("object.renamed")

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write an object unless one of that name is there; True where this call made it. Atomic between processes."""
        with store_trouble(self.root):
            aside, final = self._write_aside(name, data)
            try:
                os.link(aside, final)
            except FileExistsError:
                return False
            finally:
                aside.unlink(missing_ok=True)
            _sync_folder(final.parent)
            reach("object.renamed")
            return True

    def get(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def read(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer only where the object ends."""
        with (self.root / name).open("rb") as stream:
            stream.seek(offset)
            return stream.read(size)

    def list(self, folder: str) -> list[str]:
        """Names (not paths) of the objects in a folder, sorted; empty where the folder is missing."""
        try:
            with os.scandir(self.root / folder) as entries:
                return sorted(e.name for e in entries if e.is_file() and not e.name.startswith(ASIDE))
        except FileNotFoundError:
            return []

    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def _write_aside(self, name: str, data: bytes) -> tuple[Path, Path]:
        final = self.root / name
        final.parent.mkdir(parents=True, exist_ok=True)
        aside = final.parent / f"{ASIDE}{uuid.uuid4().hex}"
        try:
            reach("object.write")
            with aside.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            reach("object.synced")
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        return aside, final


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; a folder that cannot be opened for sync is left to the file system."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
