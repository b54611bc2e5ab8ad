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
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reelmill.schemas.errors import StoreUnusable
from reelmill.schemas.points import reach
from reelmill.sinks.state import processes

ASIDE = ".aside-"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STORE_TROUBLE = (
    *_NO_SPACE,
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
    *(errno.ELOOP, errno.EIO, errno.ESTALE, errno.ENOTSUP, errno.ENOSYS),
)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
_FORGOTTEN_S = 24 * 3600.0
"""Age after which a half-written object of another machine is a leftover: far longer than writing one takes."""


class Objects(Protocol):
    """Names are relative, with `/`. A missing object raises FileNotFoundError; a store that refuses, StoreUnusable."""

    def put(self, name: str, data: bytes) -> None: ...

    def put_if_absent(self, name: str, data: bytes) -> bool: ...

    def get(self, name: str) -> bytes: ...

    def read(self, name: str, offset: int, size: int) -> bytes: ...

    def list(self, folder: str) -> list[str]: ...

    def folders(self, folder: str) -> tuple[str, ...]: ...

    def delete(self, name: str) -> int: ...

    def leftovers(self) -> tuple[str, ...]: ...


@contextlib.contextmanager
def store_trouble(root: object) -> Iterator[None]:
    """Turn the refusals of a file system into one clear line about the store; `root` is whatever names it by `str`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _STORE_TROUBLE:
            raise
        todo = "free some space" if error.errno in _NO_SPACE else "mend its rights, or choose another --store"
        where = f" ({error.filename})" if error.filename else ""
        raise StoreUnusable(str(root), seen=f"{error.strerror or error}{where}", do=todo) from error


@dataclass(frozen=True, slots=True)
class LocalObjects:
    root: Path

    def put(self, name: str, data: bytes) -> None:
        """Write or replace an object at once."""
        with store_trouble(self.root), self._written_aside(name, data) as (aside, final):
            aside.replace(final)
            _sync_folder(final.parent)
            reach("object.renamed")

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write an object unless one of that name is there; True where this call made it. Atomic between processes."""
        with store_trouble(self.root), self._written_aside(name, data) as (aside, final):
            try:
                os.link(aside, final)
            except FileExistsError:
                return False
            _sync_folder(final.parent)
            reach("object.renamed")
            return True

    def get(self, name: str) -> bytes:
        with store_trouble(self.root):
            return (self.root / name).read_bytes()

    def read(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer only where the object ends."""
        with store_trouble(self.root), (self.root / name).open("rb") as stream:
            stream.seek(offset)
            return stream.read(size)

    def list(self, folder: str) -> list[str]:
        """Names (not paths) of the objects in a folder, sorted; empty where the folder is missing.

        Names that begin with a dot are not objects: half-written ones, and what desktops and network disks leave.
        """
        try:
            with store_trouble(self.root), os.scandir(self.root / folder) as entries:
                return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_file())
        except FileNotFoundError:
            return []

    def folders(self, folder: str) -> tuple[str, ...]:
        """Names of the folders in a folder, sorted, without those that begin with a dot; empty where it is missing."""
        try:
            with store_trouble(self.root), os.scandir(self.root / folder) as entries:
                return tuple(sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir()))
        except FileNotFoundError:
            return ()

    def delete(self, name: str) -> int:
        """Remove an object. Returns the bytes that it held, 0 where it was not there."""
        with store_trouble(self.root):
            try:
                size = (self.root / name).stat().st_size
                (self.root / name).unlink()
            except FileNotFoundError:
                return 0
            reach("object.deleted")
            return size

    def leftovers(self) -> tuple[str, ...]:
        """Names of half-written objects whose writer was killed, sorted. Those of live writers are left alone."""
        with store_trouble(self.root):
            found = [p for p in self.root.rglob(f"{ASIDE}*") if _is_forgotten(p)]
        return tuple(sorted(str(p.relative_to(self.root)) for p in found))

    @contextlib.contextmanager
    def _written_aside(self, name: str, data: bytes) -> Iterator[tuple[Path, Path]]:
        """The object, complete and on disk, beside the name that it will get; gone at the end, whatever happens."""
        final = self.root / name
        _make_folder(final.parent)
        aside = final.parent / f"{ASIDE}{processes.mark(os.getpid())}-{uuid.uuid4().hex[:12]}"
        try:
            reach("object.write")
            with aside.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            reach("object.synced")
            yield aside, final
        finally:
            aside.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it so that a power cut does not take them away with what is put in them."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)
    reach("folder.made")


def sync(path: Path) -> None:
    """Make what a file or folder holds survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Make a new name survive a power cut; a folder that cannot be opened or synced is left to the file system."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def _is_forgotten(aside: Path) -> bool:
    marked = aside.name.removeprefix(ASIDE).rpartition("-")[0]
    lives = processes.lives_by_mark(marked)
    if lives is not None:
        return not lives
    try:  # only space is at stake here, so the wall clock may decide
        return time.time() - aside.stat().st_mtime > _FORGOTTEN_S
    except FileNotFoundError:
        return False
