"""A medium as a local file: decoders read files, so a remote medium is fetched once into a cache and checked.

>>> local_path("/media/clip.mp4", None)
'/media/clip.mp4'
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.parse
from pathlib import Path
from typing import Any

from reelmill.schemas.errors import Unusable

_BLOCK = 1 << 20


def is_remote(uri: str) -> bool:
    """True for anything that is neither a plain path nor a `file://` URI."""
    return "://" in uri and not uri.startswith("file://")


def default_cache() -> Path:
    """REELMILL_CACHE, or `reelmill` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("REELMILL_CACHE") or Path(home) / "reelmill") / "media"


def local_path(uri: str, digest: str | None, cache_dir: Path | None = None) -> str:
    """Path of a local file with the bytes of `uri`; a remote one is fetched once, streamed and put in place whole.

    Raises Unusable("unreadable") where it cannot be fetched, "content_changed" where its sha256 is not `digest`.
    """
    if uri.startswith("file://"):
        return urllib.parse.unquote(uri.removeprefix("file://"), errors="surrogateescape")
    if not is_remote(uri):
        return uri
    folder = cache_dir or default_cache()
    name = digest or hashlib.sha256(uri.encode()).hexdigest()
    target = folder / name[:2] / name
    if not target.exists():
        _fetch(uri, digest, target)
    return str(target)


def _fetch(uri: str, digest: str | None, target: Path) -> None:
    import fsspec

    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".fetch-")
    try:
        with os.fdopen(handle, "wb") as out:
            seen = _copied(fsspec, uri, out)
        if digest is not None and seen != digest:
            raise Unusable("content_changed", f"sha256 was {digest[:12]}... when listed, is {seen[:12]}... now")
        Path(temporary).replace(target)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _copied(fsspec: Any, uri: str, out: Any) -> str:
    """Stream the remote bytes into `out`; their sha256."""
    hasher = hashlib.sha256()
    try:
        remote = fsspec.open(uri, "rb").open()
    except (OSError, ValueError) as error:
        raise Unusable("unreadable", f"{type(error).__name__}: {error}") from error
    with remote:
        while block := _read(remote):
            hasher.update(block)
            out.write(block)
    return hasher.hexdigest()


def _read(remote: Any) -> bytes:
    try:
        block: bytes = remote.read(_BLOCK)
    except OSError as error:
        raise Unusable("unreadable", f"{type(error).__name__}: {error}") from error
    return block
