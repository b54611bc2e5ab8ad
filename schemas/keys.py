"""Keys, digests and seeds: identity derived from content and lineage, never from order, time or place.

    source digest (sha256 of the bytes) -> media key -> unit key -> clip key -> sample key

A key is 26 characters of lower-case base32 without dots: safe as a WebDataset key, a file name and a SQL value.

>>> media_key("00" * 32)
'aaaaaaaaaaaaaaaaaaaaaaaaaa'
>>> len(child_key(media_key("00" * 32), "clip", 0, 1_500_000))
26
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

KEY_BYTES = 16
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def base32(digest: bytes) -> str:
    """First 128 bits of a digest as 26 lower-case characters."""
    return base64.b32encode(digest[:KEY_BYTES]).decode("ascii").rstrip("=").lower()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, hex. Reads in blocks. Raises OSError as `open` does."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def media_key(digest: str) -> str:
    """Key of a media file from the hex sha256 of its bytes: equal files share one key."""
    return base32(bytes.fromhex(digest))


def canonical_json(value: Any) -> str:
    """One spelling per value: sorted keys, no spaces, UTF-8, no NaN. Raises TypeError on anything but plain data."""
    return _CANONICAL.encode(value)


def child_key(parent: str, kind: str, *identity: str | int) -> str:
    """Key of what is made from `parent`. Give times as whole microseconds: floats have many spellings."""
    lineage = canonical_json([parent, kind, *identity])
    return base32(hashlib.sha256(lineage.encode()).digest())


def group_hash(keys: list[str]) -> str:
    """Name of a part: the hash of the keys in it, so that a retried write has the same name."""
    return base32(hashlib.sha256("\n".join(sorted(keys)).encode()).digest())


def micros(seconds: float) -> int:
    """Seconds as whole microseconds, for identity."""
    return round(seconds * 1_000_000)


def seed_for(recipe_seed: int, key: str, step: str) -> int:
    """A 63-bit seed that depends on (recipe seed, key, step name) and on nothing else."""
    digest = hashlib.sha256(f"{recipe_seed}\n{key}\n{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
