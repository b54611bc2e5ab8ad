"""Micro clips as published shards, written straight in the published format: what the smallest models learn from.

    write_micro(Path("data/micro"), clips=2_000)      opened by reelmill.training.data.shards.opened

No recipe stands before it. A micro clip is drawn into an array and has no file to list, digest, decode and cut; a
dataset of one row per clip would spend most of its time on files that nobody needs. Shards, tables, index and manifest
come from the same writers as every pack's, and what reads shards cannot tell the difference.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from reelmill.pipelines.scenes.micro import MicroPreset, micro_clip
from reelmill.pipelines.scenes.micro_pairs import REVISION, pairs
from reelmill.pipelines.scenes.micro_samples import (
    FAMILY,
    RENDERER,
    MicroFrames,
    clip_digest,
    clip_key,
    samples,
    stored,
)
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.keys import canonical_json, file_digest
from reelmill.schemas.sample import Sample
from reelmill.sinks.publishing import energon
from reelmill.sinks.publishing.packed import FORMAT, Media, PackedSample, document, packed_sample
from reelmill.sinks.publishing.view import VAL_SHARE, split_of
from reelmill.sinks.shards import Limits, Member, Shard, ShardWriter
from reelmill.sinks.tables import SampleRow, TableWriter, TurnRow, sample_row, turn_rows

MANIFEST = "manifest.json"
Progress = Callable[[int, int], None]


def _unseen(done: int, total: int) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class MicroSet:
    """What decides the bytes of a set of micro clips."""

    clips: int
    seed: int
    preset: MicroPreset
    val_share: float
    paired: bool = False
    boxes: int = 1

    @property
    def label(self) -> str:
        return f"{FAMILY}{'_pairs' if self.paired else ''}@{self.seed}"

    def inputs(self) -> str:
        """Hash of all of it, of the renderer and of the format."""
        said = [RENDERER, FORMAT, arrow.plain(self), metadata.version("pillow"), *([REVISION] if self.paired else [])]
        return hashlib.sha256(canonical_json(said).encode()).hexdigest()

    def by_key(self) -> list[tuple[str, str, int]]:
        """(key, digest, index) of every clip, by rising key: in this order shards are written."""
        digests = [clip_digest(self.seed, i, self.preset) for i in range(self.clips)]
        return sorted((clip_key(digest), digest, i) for i, digest in enumerate(digests))

    def samples(self, progress: Progress) -> Iterator[tuple[Sample, MicroFrames]]:
        """Every sample with its clip's frames, by rising key."""
        ask = partial(pairs, preset=self.preset) if self.paired else partial(samples, boxes=self.boxes)
        for done, (_, digest, index) in enumerate(self.by_key(), 1):
            clip = micro_clip(self.seed, index, self.preset)
            frames = stored(clip)
            yield from ((sample, frames) for sample in ask(clip, frames, digest, self.seed, self.label))
            progress(done, self.clips)


def write_micro(
    folder: Path,
    clips: int,
    *,
    seed: int = 0,
    preset: MicroPreset | None = None,
    val_share: float = VAL_SHARE,
    paired: bool = False,
    boxes: int = 1,
    limits: Limits = Limits(),
    progress: Progress = _unseen,
) -> dict[str, int]:
    """Write the clips and all questions about them as a pack in `folder`; returns the samples of each split.

    `paired` writes preference pairs in place of questions; some clips have none (`micro_pairs.pairs`). `boxes` is how
    often each thing's box is asked for, at different frames.

    A folder that holds the same set is left as it is; the same set has the same bytes. A clip is wholly in one split.
    Raises BadInput for no clips, or a folder that holds something else.
    """
    if clips < 1:
        raise BadInput(f"{clips} micro clips", seen="fewer than 1", do="ask for 1 or more")
    wanted = MicroSet(clips, seed, preset or MicroPreset(), val_share, paired, boxes)
    asked = wanted.samples(progress)
    return write_pack(folder, wanted.label, wanted.inputs(), asked, val_share=val_share, limits=limits)


def write_pack(
    folder: Path,
    label: str,
    inputs: str,
    asked: Iterable[tuple[Sample, MicroFrames]],
    *,
    val_share: float,
    limits: Limits = Limits(),
) -> dict[str, int]:
    """Write samples, by rising key, with their frames as the pack of dataset `label`; returns those of each split.

    `inputs` is the hash of all that decides them: a folder that holds the same is left as it is, and nothing is drawn.
    Of several that write one folder the first does, the others wait for it. Raises BadInput for a folder that holds
    something else.
    """
    if (there := _there(folder, inputs)) is not None:
        return there
    with _one_by_one(folder):
        if (there := _there(folder, inputs)) is not None:
            return there
        aside = folder.with_name(folder.name + ".part")
        shutil.rmtree(aside, ignore_errors=True)
        counts = _Writing(aside, label, val_share, limits).write(asked, inputs)
        folder.rmdir()
        aside.rename(folder)
        return counts


@contextmanager
def _one_by_one(folder: Path) -> Iterator[None]:
    """An empty folder for one writer at a time, gone again where it wrote nothing. The lock is on the folder itself and
    ends with its process, however that ends."""
    held = _locked(folder)
    try:
        yield
    finally:
        with suppress(OSError):  # not empty: it was written
            folder.rmdir()
        os.close(held)


def _locked(folder: Path) -> int:
    """An open folder that is this process's: made where it is not there, and still there when its turn came."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), folder.stat()):
                return held
        os.close(held)


def _there(folder: Path, inputs: str) -> dict[str, int] | None:
    """What a folder holds already, None where it holds nothing."""
    if folder.is_file():
        raise BadInput(f"folder {str(folder)!r}", seen="a file", do="name an empty folder")
    if not folder.exists() or not any(folder.iterdir()):
        return None
    place = folder / MANIFEST
    said: dict[str, Any] = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
    if said.get("inputs") != inputs:
        seen = f"{said['dataset']} of other settings" if said else "other files"
        raise BadInput(f"folder {str(folder)!r}", seen=seen, do="name an empty folder")
    return dict(said["samples"])


class _Writing:
    """One set while it is written in `root`."""

    def __init__(self, root: Path, label: str, val_share: float, limits: Limits) -> None:
        self.root, self.label, self.val_share, self.limits = root, label, val_share, limits
        self.writers: dict[str, ShardWriter] = {}
        self.tables: dict[str, tuple[TableWriter[SampleRow], TableWriter[TurnRow]]] = {}
        self.counts: dict[str, int] = {}

    def write(self, asked: Iterable[tuple[Sample, MicroFrames]], inputs: str) -> dict[str, int]:
        self.root.mkdir(parents=True)
        for sample, frames in asked:
            packed = packed_sample(sample, self.label, Media.FRAMES, frames.shown)
            pictures = [Member(str(f.member), jpeg) for f, jpeg in zip(packed.frames, frames.jpegs, strict=True)]
            members = [Member("json", document(packed)), *pictures]
            self._add(split_of(sample.media.digest, self.val_share), packed, members)
        shards = [shard for split in sorted(self.writers) for shard in self.writers[split].close()]
        files = [name for pair in self.tables.values() for table in pair for name in table.close()]
        self._manifest(shards, [*files, *energon.write_meta(self.root, shards)], inputs)
        return self.counts

    def _add(self, split: str, sample: PackedSample, members: Sequence[Member]) -> None:
        if split not in self.writers:
            self.writers[split] = ShardWriter(self.root, FAMILY, split, self.limits)
            rows = TableWriter(self.root, f"tables/samples/split={split}", SampleRow)
            self.tables[split] = rows, TableWriter(self.root, f"tables/turns/split={split}", TurnRow)
        self.writers[split].add(sample.key, members)
        rows, turns = self.tables[split]
        rows.add([sample_row(sample)])
        turns.add(turn_rows(sample))
        self.counts[split] = self.counts.get(split, 0) + 1

    def _manifest(self, shards: Sequence[Shard], names: Sequence[str], inputs: str) -> None:
        """Last, in the form of sinks/pack.py; there is no catalog and no card."""
        names = [*names, *(f"{s.name}.idx" for s in shards)]
        files: list[dict[str, Any]] = [
            {"path": n, "sha256": file_digest(self.root / n), "bytes": (self.root / n).stat().st_size} for n in names
        ]
        files += [{"path": s.name, **{k: v for k, v in arrow.plain(s).items() if k != "name"}} for s in shards]
        said = {
            "format": FORMAT,
            "dataset": self.label,
            "media": str(Media.FRAMES),
            "inputs": inputs,
            "split": {"val_share": self.val_share},
            "libraries": {name: metadata.version(name) for name in ("pillow", "pyarrow")},
            "samples": self.counts,
            "files": sorted(files, key=lambda f: str(f["path"])),
            "catalog": {},
        }
        text = json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (self.root / MANIFEST).write_text(text, encoding="utf-8")
