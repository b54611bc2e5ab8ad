"""WebDataset shards whose bytes depend on their samples alone: sorted keys, fixed headers, fixed cuts, no clock.

A shard ends at 5,000 samples or 512 MiB, whichever comes first. Members of a sample lie side by side:

    {key}.json      the sample (`packed.PackedSample`), canonical JSON
    {key}.f000.jpg  its shown frames in order, or {key}.mp4, or nothing more

Beside each shard lies Energon's `.tar.idx`: the offset of every sample and of the end, as little-endian 64-bit numbers.
"""

from __future__ import annotations

import hashlib
import re
import struct
import tarfile
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from reelmill.schemas.errors import Corrupt
from reelmill.schemas.points import reach

MAX_SAMPLES = 5_000
MAX_BYTES = 512 * 1024**2
_KEY = re.compile(r"[a-z0-9_-]+")
_FIELD = re.compile(r"[a-z0-9]+(\.[a-z0-9]+)?")
_BLOCK = tarfile.BLOCKSIZE
_AT_ONCE, _AHEAD = 1 << 20, 4
"""Bytes that are written and hashed at a time, and how many such blocks may wait."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a sample: `field` is its name after the key."""

    field: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Indexed:
    """Where one member lies: `offset` is that of its bytes in the shard."""

    split: str
    shard: str
    key: str
    member: str
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard. `name` is relative to the pack; keys are sorted, so the first and last are its bounds."""

    name: str
    split: str
    samples: int
    bytes: int
    sha256: str
    min_key: str
    max_key: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a shard ends."""

    samples: int = MAX_SAMPLES
    bytes: int = MAX_BYTES


def tar_size(members: Sequence[Member]) -> int:
    """Bytes that a sample takes in a tar: a header per member, contents padded to blocks."""
    return sum(_BLOCK + -(-len(m.data) // _BLOCK) * _BLOCK for m in members)


class ShardWriter:
    """Writes the shards of one split into `{root}/shards/`. Give samples by rising key, then `close`.

    Raises Corrupt on a key that is doubled, out of order or unfit for WebDataset: readers would merge or lose samples.
    """

    def __init__(self, root: Path, name: str, split: str, limits: Limits) -> None:
        self.root, self.name, self.split, self.limits = root, name, split, limits
        self.shards: list[Shard] = []
        self.last_key = ""
        self._open: _OpenShard | None = None

    def add(self, key: str, members: Sequence[Member]) -> list[Indexed]:
        """Write one sample; returns where its members lie."""
        _require_fit(key, self.last_key, members)
        size = tar_size(members)
        if self._open is not None and not self._open.takes(size, self.limits):
            self._end()
        if self._open is None:
            shard = f"shards/{self.name}-{self.split}-{len(self.shards):06d}.tar"
            self._open = _OpenShard(self.root, shard, self.split)
        self.last_key = key
        return self._open.add(key, members)

    def close(self) -> list[Shard]:
        """End the last shard. A split without samples has no shard."""
        if self._open is not None:
            self._end()
        return self.shards

    def _end(self) -> None:
        assert self._open is not None
        self.shards.append(self._open.finish())
        self._open = None


def _require_fit(key: str, last: str, members: Sequence[Member]) -> None:
    if not _KEY.fullmatch(key):
        raise Corrupt(f"sample key {key!r}", seen="other signs than a-z 0-9 _ -", do="derive keys with schemas.keys")
    if key <= last:
        seen = "the same key twice" if key == last else f"it comes after {last}"
        raise Corrupt(f"sample {key}", seen=seen, do="one key names one sample; look at the view's `child_key`")
    fields = [m.field for m in members]
    bad = [f for f in fields if not _FIELD.fullmatch(f)] or [f for f in fields if fields.count(f) > 1]
    if bad:
        raise Corrupt(f"sample {key} field {bad[0]!r}", seen="not lower-case, or doubled", do="name fields as f000.jpg")


class _OpenShard:
    def __init__(self, root: Path, name: str, split: str) -> None:
        self.final, self.name, self.split = root / name, name, split
        self.final.parent.mkdir(parents=True, exist_ok=True)
        self.aside = self.final.with_suffix(".tar.part")
        self.stream = _Hashed(self.aside)
        self.offsets: list[int] = []
        self.keys: list[str] = []

    def takes(self, size: int, limits: Limits) -> bool:
        return len(self.offsets) < limits.samples and self.stream.size + size <= limits.bytes

    def add(self, key: str, members: Sequence[Member]) -> list[Indexed]:
        self.offsets.append(self.stream.size)
        self.keys = [self.keys[0] if self.keys else key, key]
        return [self._put(key, member) for member in members]

    def _put(self, key: str, member: Member) -> Indexed:
        offset = self.stream.size + _BLOCK
        self.stream.write(header(f"{key}.{member.field}", len(member.data)))
        self.stream.write(member.data)
        self.stream.write(_ZEROS[: -len(member.data) % _BLOCK])
        digest = hashlib.sha256(member.data).hexdigest()
        return Indexed(self.split, self.name, key, member.field, offset, len(member.data), digest)

    def finish(self) -> Shard:
        offsets = [*self.offsets, self.stream.size]
        self.stream.write(bytes(2 * _BLOCK))
        self.stream.write(bytes(-self.stream.size % tarfile.RECORDSIZE))
        size, digest = self.stream.close()
        index = Path(f"{self.final}.idx")
        index.write_bytes(struct.pack(f"<{len(offsets)}Q", *offsets))
        reach("shard.indexed")
        self.aside.rename(self.final)
        reach("shard.renamed")
        return Shard(self.name, self.split, len(self.offsets), size, digest, self.keys[0], self.keys[-1])


def header(name: str, size: int) -> bytes:
    """The ustar header of a file: mode 0644, no owner, no time. What `tarfile` gives, at a tenth of its time.

    POSIX.1-1988: name at 0, size at 124 and the sum of all bytes at 148 (itself counted as spaces) are all that varies.
    """
    encoded = name.encode()
    if len(encoded) >= _NAME_BYTES or size > _OCTAL_MAX:
        return _by_tarfile(name, size)  # a long name is split, and what does not fit is refused
    digits = b"%011o" % size
    total = _TEMPLATE_SUM + sum(encoded) + sum(digits)
    name_field, rest = encoded.ljust(_NAME_BYTES, b"\0"), _TEMPLATE
    return b"%b%b%b%b%06o%b" % (name_field, rest[100:124], digits, rest[135:148], total, rest[154:])


def _by_tarfile(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)  # mtime, uid and gid are 0, owner names empty
    info.mode, info.size = 0o644, size
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


_NAME_BYTES, _OCTAL_MAX = 100, 8**11 - 1
_TEMPLATE = _by_tarfile("", 0)
_TEMPLATE_SUM = int(_TEMPLATE[148:154], 8) - sum(_TEMPLATE[124:135])
_ZEROS = bytes(_BLOCK)


class _Hashed:
    """A file that is hashed while it is written, so that a shard is not read again: by a thread of its own, since
    hashing and writing let other threads run. The bytes reach the disk when the pack is published (`publish.swap`)."""

    def __init__(self, path: Path) -> None:
        self.out = path.open("wb", buffering=0)
        self.sha256, self.size = hashlib.sha256(), 0
        self._hand = ThreadPoolExecutor(1, thread_name_prefix="shard")
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._flying: deque[Future[None]] = deque()
        reach("shard.begun")

    def write(self, data: bytes) -> None:
        """Take some bytes; raises OSError for these or for earlier ones."""
        self._block.append(data)
        self._block_bytes += len(data)
        self.size += len(data)
        if self._block_bytes >= _AT_ONCE:
            self._hand_over()

    def _hand_over(self) -> None:
        reach("shard.write")
        self._flying.append(self._hand.submit(self._take, b"".join(self._block)))
        self._block, self._block_bytes = [], 0
        while len(self._flying) > _AHEAD:
            self._flying.popleft().result()

    def _take(self, block: bytes) -> None:
        left = memoryview(block)
        while left:
            left = left[self.out.write(left) :]
        self.sha256.update(block)

    def close(self) -> tuple[int, str]:
        self._hand_over()
        with self._hand:
            for waiting in self._flying:
                waiting.result()
        self.out.close()
        reach("shard.closed")
        return self.size, self.sha256.hexdigest()


def read_member(pack: Path, indexed: Indexed) -> bytes:
    """Bytes of one member by its place in the index, without reading the rest. Raises Corrupt where they differ."""
    with (pack / indexed.shard).open("rb") as stream:
        stream.seek(indexed.offset)
        data = stream.read(indexed.size)
    if hashlib.sha256(data).hexdigest() != indexed.sha256:
        where = f"{indexed.shard}: {indexed.key}.{indexed.member}"
        raise Corrupt(where, seen="bytes that differ from the index", do="pack again")
    return data
