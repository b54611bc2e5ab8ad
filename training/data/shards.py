"""A split of a published dataset as samples by number: which shards it has, and each sample read from its own bytes.

Samples are numbered by rising key through all shards of the split. Beside each shard lies its `.tar.idx`, so that one
sample is read from its own bytes, by webdataset's tar iterator, wherever a stream was stopped.

    split = opened("store/internvid_tg-demo/1", "train")
    split.sample(0).turns                      the dialogue
    split.jpegs(0, ["f000.jpg", "f001.jpg"])   bytes of two of its frames
"""

from __future__ import annotations

import json
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from tarfile import BLOCKSIZE, TarError
from typing import Any, BinaryIO

from webdataset.tariterators import tar_file_iterator

from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput, Corrupt, NotFound
from reelmill.schemas.keys import canonical_json
from reelmill.sinks.dataset import Store
from reelmill.sinks.publishing import publish
from reelmill.sinks.publishing.packed import FORMAT, Media, PackedSample, form_of

MANIFEST = "manifest.json"
_END_BYTES = 2 * BLOCKSIZE
"""A tar ends with two empty blocks; a shard that is shorter than its index and these was cut."""
_OFFSET_BYTES = 8


@dataclass(frozen=True)
class Split:
    """The samples of one split of a pack. Reading holds no file open and no place, so that threads may share it."""

    label: str
    split: str
    root: Path
    shards: tuple[str, ...]
    offsets: tuple[tuple[int, ...], ...]
    """Of each shard: where each sample begins, and where the last one ends."""
    fingerprint: str
    """Names the bytes that were opened: a state of one dataset is not taken up on another."""

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """How many samples lie in the first shard, in the first two, and so on."""
        return tuple(accumulate(len(o) - 1 for o in self.offsets))

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """The number of each sample by its key; reads every document once."""
        return {self.sample(number).key: number for number in range(len(self))}

    def __len__(self) -> int:
        return self.ends[-1]

    def sample(self, number: int) -> PackedSample:
        """The document of a sample. Raises Corrupt on bytes that are none, BadInput on one of another format."""
        name, data = next(self._members(number, None), ("", b""))
        if not name.endswith(".json"):
            raise self._corrupt(number, f"member {name!r} where its document should be")
        try:
            said = json.loads(data)
        except ValueError as error:
            raise self._corrupt(number, str(error)) from error
        if said.get("format") != FORMAT:
            raise _other_format(f"{self.label}: sample {name}", said.get("format"))
        read: PackedSample = arrow.typed(form_of(said), said)
        return read

    def jpegs(self, number: int, members: Sequence[str]) -> list[bytes]:
        """Bytes of some frames of a sample, in the order asked for. Raises Corrupt where one is not there."""
        wanted = set(members)
        found = {
            field: data
            for name, data in self._members(number, lambda name: name.partition(".")[2] in wanted)
            if (field := name.partition(".")[2])
        }
        missing = sorted(wanted - set(found))
        if missing:
            raise self._corrupt(number, f"no member {missing[0]}")
        return [found[m] for m in members]

    def _members(self, number: int, wanted: Callable[[str], bool] | None) -> Iterator[tuple[str, bytes]]:
        shard = bisect_right(self.ends, number)
        at = number - (self.ends[shard - 1] if shard else 0)
        start, end = self.offsets[shard][at : at + 2]
        with (self.root / self.shards[shard]).open("rb", buffering=0) as stream:
            stream.seek(start)
            try:
                for member in tar_file_iterator(_Window(stream, end - start), select_files=wanted):
                    yield member["fname"], member["data"]
            except (TarError, EOFError) as error:
                raise self._corrupt(number, str(error)) from error

    def _corrupt(self, number: int, seen: str) -> Corrupt:
        shard = self.shards[bisect_right(self.ends, number)]
        return Corrupt(f"{self.label}: {shard}, sample {number}", seen=seen, do="run `reelmill pack` again")


class _Window:
    """The next `left` bytes of a stream as a file of their own, so that the tar iterator ends where the sample does."""

    def __init__(self, stream: BinaryIO, left: int) -> None:
        self.stream, self.left = stream, left

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(data)
        return data


def opened(place: str | Path, split: str = "train", store: Path | None = None) -> Split:
    """A split of a pack, by its folder or, with `store`, by the name of its dataset (`name` or `name@version`).

    Raises NotFound for no pack or no such split, BadInput on another format, media other than frames or a split without
    samples, Corrupt where a shard is shorter than its index says.
    """
    root = _pack_folder(place, store)
    said = _manifest(root)
    label = str(said["dataset"])
    files = sorted((f for f in said["files"] if f["path"].endswith(".tar")), key=lambda f: str(f["path"]))
    _require_split(said, label, split, {str(f["split"]) for f in files})
    _require_frames(said, label)
    own = [f for f in files if f["split"] == split]
    shards = tuple(str(f["path"]) for f in own)
    offsets = tuple(_offsets(root / name, label) for name in shards)
    fingerprint = sha256(canonical_json([label, split, [f["sha256"] for f in own]]).encode()).hexdigest()[:16]
    return Split(label, split, root, shards, offsets, fingerprint)


def _pack_folder(place: str | Path, store: Path | None) -> Path:
    if (Path(place) / MANIFEST).is_file():
        return Path(place)
    if store is None:
        seen = "no such folder" if not Path(place).is_dir() else f"no {MANIFEST} in it"
        raise NotFound(f"the pack {place}", seen=seen, do="give the folder that `reelmill pack` wrote")
    dataset = Store(store).find(str(place))
    root = publish.current(dataset)
    if root is None:
        raise NotFound(
            f"the pack of {dataset.label}", seen="nothing is packed", do=f"run `reelmill pack {dataset.name}`"
        )
    return root


def _manifest(root: Path) -> Mapping[str, Any]:
    try:
        said: dict[str, Any] = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except ValueError as error:
        raise Corrupt(f"{root / MANIFEST}", seen=str(error), do="run `reelmill pack` again") from error
    if said.get("format") != FORMAT:
        raise _other_format(f"the pack {root}", said.get("format"))
    return said


def _other_format(what: str, seen: object) -> BadInput:
    return BadInput(what, seen=f"format {seen}, this version reads {FORMAT}", do="pack it again with this version")


def _require_split(said: Mapping[str, Any], label: str, split: str, there: set[str]) -> None:
    if not there:
        raise BadInput(f"dataset {label} is empty", seen="no shards", do="look at `reelmill rejects` and pack again")
    if split not in there:
        seen = ", ".join(f"{name} ({said['samples'].get(name, 0)} samples)" for name in sorted(there))
        raise NotFound(f"split {split!r} of {label}", seen=seen, do="name one of these, or pack with more media")


def _require_frames(said: Mapping[str, Any], label: str) -> None:
    if said["media"] != Media.FRAMES:
        do = f"run `reelmill pack {label.partition('@')[0]} --media frames`"
        raise BadInput(f"dataset {label} holds no frames", seen=f"packed with media {said['media']}", do=do)


def _offsets(shard: Path, label: str) -> tuple[int, ...]:
    """Where each sample of a shard begins, and the end of the last, from its `.tar.idx` (Energon's layout)."""
    index = shard.with_name(shard.name + ".idx")
    try:
        data, size = index.read_bytes(), shard.stat().st_size
    except FileNotFoundError as error:
        raise Corrupt(f"{label}: {shard.name}", seen=f"no file {error.filename}", do="copy the whole pack") from error
    if len(data) < _OFFSET_BYTES or len(data) % _OFFSET_BYTES:
        raise Corrupt(f"{label}: {index.name}", seen=f"{len(data)} bytes", do="copy the whole pack")
    offsets = struct.unpack(f"<{len(data) // _OFFSET_BYTES}Q", data)
    if size < offsets[-1] + _END_BYTES:
        seen = f"{size} bytes, its index says at least {offsets[-1] + _END_BYTES}: it was cut"
        raise Corrupt(f"{label}: {shard.name}", seen=seen, do="copy the whole pack")
    return offsets
