"""Packing: a finished view becomes shards, tables, index, catalog, card and manifest, all at once or not at all.

    counts close:   packed samples == accepted children, or nothing is published
    same bytes:     shards, tables, index and manifest depend on the samples and the library versions, not on where,
                    when or in what groups they were made; packing again with nothing new writes nothing
    one promise:    manifest.json is written last and names the sha256 of every promised file

See docs/decisions/0011-pack-and-promised-bytes.md.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput, Corrupt, StoreUnusable
from reelmill.schemas.keys import canonical_json, file_digest
from reelmill.schemas.media import FrameRef, MediaRef
from reelmill.schemas.points import reach
from reelmill.schemas.sample import PreferenceSample, Sample
from reelmill.sinks import card as cards
from reelmill.sinks import catalog, tables
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.publishing import energon, publish
from reelmill.sinks.publishing.blind import Kept
from reelmill.sinks.publishing.clipcut import Cost, Cutter, cost
from reelmill.sinks.publishing.frames import Found, StoredFrames
from reelmill.sinks.publishing.ordered import Ordered
from reelmill.sinks.publishing.packed import FORMAT, Media, PackedSample, document, packed_sample
from reelmill.sinks.publishing.view import VAL_SHARE, accepted_parts, lineage, split_of
from reelmill.sinks.shards import Limits, Member, Shard, ShardWriter
from reelmill.sinks.shares import shares_of
from reelmill.sinks.state.objects import store_trouble
from reelmill.sinks.tables import IndexRow, RejectRow, SourceRow, TableWriter, TurnRow

MANIFEST, CARD, RECORD = "manifest.json", "README.md", "record.json"
SHARD_LIMITS = Limits()
_JSON_GUESS = 6 * 1024
_HEADROOM = 1.1
Progress = Callable[[str, int, int], None]
"""Told (what is being done, how many are done, how many there are)."""


def _unseen(doing: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a pack would write, known before it starts. Frames are exact; documents and cuts are guesses."""

    samples: int
    frames: int
    bytes: int
    cut: Cost
    free_bytes: int

    def __str__(self) -> str:
        cut = f", {self.cut.clips} cuts of about {self.cut.seconds:.0f} s" if self.cut.clips else ""
        size, free = self.bytes / 1e6, self.free_bytes / 1e9
        return f"about {size:.1f} MB for {self.samples} samples{cut}; {free:.1f} GB are free"

    @property
    def fits(self) -> bool:
        """True where the disk has room for it, with a tenth to spare; the old pack stays until the new one is whole."""
        return self.bytes * _HEADROOM <= self.free_bytes


@dataclass(frozen=True, slots=True)
class Packed:
    """What a pack holds. `up_to_date`: it was there already and nothing was written."""

    dataset: str
    folder: Path
    up_to_date: bool
    samples: dict[str, int]
    shards: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        held = ", ".join(f"{n} {split}" for split, n in sorted(self.samples.items())) or "no samples"
        done = "up to date" if self.up_to_date else f"packed in {self.seconds:.1f} s"
        return f"{done}; {held} in {self.shards} shards, {self.bytes / 1e6:.1f} MB"


def chosen(media: str) -> Media:
    """The form of media that `frames`, `clip` or `ref` names. Raises BadInput on another word."""
    try:
        return Media(media)
    except ValueError as error:
        raise BadInput(f"media {media!r}", seen="an unknown form", do="use frames, clip or ref") from error


def estimate(store: Store, dataset: Dataset, *, media: str = "frames") -> Estimate:
    """Size and cost of a pack, without writing anything. Raises as `pack` does on a view that cannot be packed."""
    return _estimate(dataset, StoredFrames(store), chosen(media))


def _estimate(dataset: Dataset, stored: StoredFrames, media: Media) -> Estimate:
    samples, frames, frame_bytes, cut_bytes = 0, 0, 0, 0
    cuts: dict[tuple[str, str], Cost] = {}
    for row in (r for part in accepted_parts(dataset, ["frames", "media"]) for r in part.to_pylist()):
        samples += 1
        medium = arrow.typed(MediaRef, row["media"])
        if media is Media.CLIP and medium.span is not None:
            guess = cuts.setdefault((medium.digest, str(medium.span)), cost(medium))
            cut_bytes += guess.bytes
        elif media is not Media.REF:
            frames += len(row["frames"])
            frame_bytes += sum(stored.find(FrameRef(**f)).size + 1024 for f in row["frames"])
    unique = Cost(len(cuts), sum(c.bytes for c in cuts.values()), sum(c.seconds for c in cuts.values()))
    total = frame_bytes + cut_bytes + unique.bytes + samples * _JSON_GUESS
    return Estimate(samples, frames, total, unique, shutil.disk_usage(dataset.folder).free)


def pack(
    store: Store,
    dataset: Dataset,
    *,
    media: str = "frames",
    val_share: float = VAL_SHARE,
    limits: Limits = SHARD_LIMITS,
    again: bool = False,
    progress: Progress = _unseen,
) -> Packed:
    """Publish the accepted samples of a view in its folder. With nothing new it writes nothing, unless `again`.

    Raises StoreUnusable before writing where the disk is too small, Corrupt where stored bytes differ from their
    reference, Busy where another process packs the dataset, BadInput on a dataset that holds no samples.
    """
    started = time.monotonic()
    form = chosen(media)
    _ = dataset.identity  # NotFound for a dataset that was never begun
    with store_trouble(dataset.folder):
        stored = StoredFrames(store)
        _require_room(_estimate(dataset, stored, form), dataset)
        with publish.building(dataset) as root:
            accepted = Ordered(dataset, stored, root / "sorted")
            packing = _Packing(store, accepted, form, val_share, limits, root, progress)
            if not again and _unchanged(dataset, packing.inputs):
                packing.refresh_card(publish.current(dataset))
                return _packed(dataset, started, up_to_date=True)
            packing.write()
            publish.swap(dataset, root)
    return _packed(dataset, started, up_to_date=False)


def _require_room(wanted: Estimate, dataset: Dataset) -> None:
    if not wanted.fits:
        seen = f"{wanted.free_bytes / 1e9:.2f} GB free, the pack needs about {wanted.bytes * _HEADROOM / 1e9:.2f} GB"
        raise StoreUnusable(str(dataset.folder), seen=seen, do="free some space, or pack with media ref")


def manifest(dataset: Dataset) -> dict[str, Any] | None:
    """The manifest of what is packed, None where nothing is. Raises BadInput on one of a newer format."""
    root = publish.current(dataset)
    if root is None:
        return None
    said: dict[str, Any] = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    if said["format"] > FORMAT:
        seen = f"format {said['format']}, this version reads up to {FORMAT}"
        raise BadInput(f"the pack of {dataset.label}", seen=seen, do="use a newer reelmill")
    return said


def _unchanged(dataset: Dataset, inputs: str) -> bool:
    """True where the pack that is there was made from the same inputs and has all its files at their sizes."""
    said, root = manifest(dataset), publish.current(dataset)
    if said is None or root is None or said["inputs"] != inputs:
        return False
    return all(_size(root / f["path"]) == f["bytes"] for f in said["files"]) and (root / catalog.NAME).exists()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _packed(dataset: Dataset, started: float, *, up_to_date: bool) -> Packed:
    said = manifest(dataset)
    assert said is not None, "a pack was just published"
    shards = [f for f in said["files"] if f["path"].endswith(".tar")]
    size = sum(f["bytes"] for f in said["files"])
    seconds = time.monotonic() - started
    return Packed(dataset.label, dataset.folder, up_to_date, said["samples"], len(shards), size, seconds)


class _Packing:
    """One pack while it is built in `root`. Tables come first: their bytes tell whether anything is new."""

    def __init__(
        self,
        store: Store,
        accepted: Ordered,
        media: Media,
        val_share: float,
        limits: Limits,
        root: Path,
        progress: Progress,
    ) -> None:
        self.store, self.dataset, self.accepted, self.media = store, accepted.dataset, accepted, media
        self.val_share, self.limits, self.root, self.progress = val_share, limits, root, progress
        self.frames, self.cutter = accepted.frames, Cutter(root / "cuts")
        self.tally, self.pairs = cards.Tally(), Kept()
        self.reasons: Counter[tuple[str, str, str]] = Counter()
        self.shards: list[Shard] = []

    # ---- tables -------------------------------------------------------------------------------------------------

    @cached_property
    def rests_on(self) -> list[Dataset]:
        return [*lineage(self.store, self.dataset, self.accepted.tables()), self.dataset]

    @cached_property
    def counts(self) -> list[tables.CountRow]:
        return [row for d in self.rests_on for row in tables.count_rows(d.label, d.counts())]

    @cached_property
    def tables(self) -> dict[str, list[str]]:
        """Files of every table but the index, by kind."""
        files = self._sample_tables()
        files["sources"] = self._small(SourceRow, "sources", self._sources())
        files["rejects"] = self._small(RejectRow, "rejects", self._rejects())
        files["counts"] = self._small(tables.CountRow, "counts", self.counts)
        return files

    def _split(self, sample: Sample) -> str:
        return split_of(sample.media.digest, self.val_share)

    def _packed_samples(self) -> Iterator[tuple[Sample, PackedSample, tuple[Found, ...]]]:
        for sample, found in self.accepted:
            yield sample, packed_sample(sample, self.dataset.label, self.media, [f.shown for f in found]), found

    def _sample_tables(self) -> dict[str, list[str]]:
        rows = self._per_split("samples", tables.ROWS[self.accepted.kind])
        turns = self._per_split("turns", TurnRow)
        for i, (sample, packed, _) in enumerate(self._packed_samples()):
            split = self._split(sample)
            rows(split).add([tables.sample_row(packed)])
            turns(split).add(tables.turn_rows(packed))
            self.tally.add(packed, split)
            if isinstance(sample, PreferenceSample):
                self.pairs.add(sample)
            self.names.setdefault(sample.media.digest, sample.media)
            self.numbers[sample.media.digest] += 1
            self.progress("tables", i + 1, len(self.accepted))
        return {"samples": rows.close(), "turns": turns.close()}

    def _rejects(self) -> Iterator[RejectRow]:
        for dataset in self.rests_on:
            for row in tables.reject_rows(dataset):
                self.reasons[row.dataset, row.step, row.reason] += 1
                yield row

    @cached_property
    def numbers(self) -> Counter[str]:
        """Samples of each source, by its digest."""
        return Counter()

    @cached_property
    def names(self) -> dict[str, MediaRef]:
        return {}

    def _per_split(self, kind: str, row: type[Any]) -> _PerSplit:
        return _PerSplit(self.root, kind, row)

    def _small(self, row: type[Any], kind: str, rows: Iterable[Any]) -> list[str]:
        writer = TableWriter(self.root, f"tables/{kind}", row)
        writer.add(rows)
        return writer.close(empty=True)

    def _sources(self) -> list[SourceRow]:
        return [
            SourceRow(
                digest=digest,
                name=PurePosixPath(medium.uri).name,
                uri=medium.uri if self.media is Media.REF else None,
                kind=str(medium.kind),
                licence=medium.licence,
                split=split_of(digest, self.val_share),
                samples=self.numbers[digest],
            )
            for digest, medium in sorted(self.names.items())
        ]

    @cached_property
    def inputs(self) -> str:
        """Hash of all that decides a pack's bytes: every table, the form of the media, the limits and the libraries."""
        files = sorted(name for names in self.tables.values() for name in names)
        said = {
            "format": FORMAT,
            "dataset": self.dataset.label,
            "media": str(self.media),
            "val_share": self.val_share,
            "limits": arrow.plain(self.limits),
            "libraries": _libraries(),
            "tables": {name: file_digest(self.root / name) for name in files},
        }
        return hashlib.sha256(canonical_json(said).encode()).hexdigest()

    # ---- the rest -----------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Shards and all that follows from them; the manifest last."""
        inputs = self.inputs  # tables first: they count what the shards must hold
        files = {**self.tables, "index": self._write_shards()}
        self._require_closed()
        promised = [name for names in files.values() for name in names] + energon.write_meta(self.root, self.shards)
        self.progress("catalog", 0, 1)
        hashes = catalog.build(self.root, files, _record(self.dataset))
        self.progress("catalog", 1, 1)
        (self.root / CARD).write_text(self._card(), encoding="utf-8")
        reach("card.written")
        self._write_manifest(inputs, promised, hashes)

    def _write_shards(self) -> list[str]:
        writers: dict[str, ShardWriter] = {}
        index = self._per_split("index", IndexRow)
        for i, (sample, packed, found) in enumerate(self._packed_samples()):
            split = self._split(sample)
            writer = writers.setdefault(split, ShardWriter(self.root, self.dataset.name, split, self.limits))
            members = self._members(sample, packed, found)
            index(split).add([tables.index_row(x) for x in writer.add(sample.key, members)])
            self.progress("shards", i + 1, len(self.accepted))
        self.shards = [shard for split in sorted(writers) for shard in writers[split].close()]
        shutil.rmtree(self.cutter.folder, ignore_errors=True)
        reach("clips.cleared")
        self.accepted.clear()
        return index.close()

    def _members(self, sample: Sample, packed: PackedSample, found: Sequence[Found]) -> list[Member]:
        members = [Member("json", document(packed))]
        if packed.media.member:
            members.append(Member(packed.media.member, self.cutter.mp4(sample.media)))
        for ref, frame, stored in zip(sample.frames, packed.frames, found, strict=True):
            if frame.member:
                members.append(Member(frame.member, self.frames.read(ref, stored)))
        return members

    def _require_closed(self) -> None:
        packed, accepted = sum(s.samples for s in self.shards), len(self.accepted)
        counted = self.dataset.counts().accepted_children
        if not packed == accepted == counted == self.tally.total:
            seen = f"{packed} packed, {accepted} read, {counted} counted by the commits"
            raise Corrupt(f"the pack of {self.dataset.label}", seen=seen, do="run `reelmill verify` and report it")

    def _card(self) -> str:
        facts = cards.Facts(
            name=self.dataset.name,
            label=self.dataset.label,
            media=self.media,
            tally=self.tally,
            counts=self.counts,
            reasons=dict(self.reasons),
            shards=self.shards,
            errors=cards.label_errors(self.dataset),
            costs=[cards.Cost.of(d) for d in self.rests_on],
            shares=tuple(shares_of(self.dataset).to_pylist()),
            unseen=self.pairs.unseen(),
        )
        return cards.card(facts)

    def refresh_card(self, root: Path | None) -> None:
        """Write the card of an unchanged pack anew where it says something else now (an audit, say)."""
        said = manifest(self.dataset)
        assert root is not None, "only a pack that is there can be unchanged"
        assert said is not None, "only a pack that is there can be unchanged"
        self.shards = [
            Shard(f["path"], f["split"], f["samples"], f["bytes"], f["sha256"], f["min_key"], f["max_key"])
            for f in said["files"]
            if f["path"].endswith(".tar")
        ]
        text, place = self._card(), root / CARD
        if not place.exists() or place.read_text(encoding="utf-8") != text:
            aside = root / f"{CARD}.part"
            aside.write_text(text, encoding="utf-8")
            reach("card.written")
            aside.rename(place)
            reach("card.replaced")

    def _write_manifest(self, inputs: str, promised: Sequence[str], hashes: dict[str, str]) -> None:
        shards = {s.name: s for s in self.shards}
        files = [_described(self.root, name) for name in promised]
        files += [_described(self.root, f"{name}.idx") for name in shards]
        files += [{"path": s.name, "sha256": s.sha256, "bytes": s.bytes, **_shard_facts(s)} for s in shards.values()]
        said = {
            "format": FORMAT,
            "dataset": self.dataset.label,
            "media": str(self.media),
            "inputs": inputs,
            "split": {"val_share": self.val_share},
            "libraries": _libraries(),
            "samples": dict(self.tally.samples),
            "files": sorted(files, key=lambda f: str(f["path"])),
            "catalog": hashes,
        }
        text = json.dumps(said, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (self.root / MANIFEST).write_text(text, encoding="utf-8")
        reach("manifest.written")


class _PerSplit:
    """A table writer per split, made when the split has its first row."""

    def __init__(self, root: Path, kind: str, row: type[Any]) -> None:
        self.root, self.kind, self.row = root, kind, row
        self.writers: dict[str, TableWriter[Any]] = {}

    def __call__(self, split: str) -> TableWriter[Any]:
        if split not in self.writers:
            self.writers[split] = TableWriter(self.root, f"tables/{self.kind}/split={split}", self.row)
        return self.writers[split]

    def close(self) -> list[str]:
        if not self.writers:
            self("train")
        return [name for split in sorted(self.writers) for name in self.writers[split].close(empty=True)]


def _libraries() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("pyarrow", "duckdb")}


def _shard_facts(shard: Shard) -> dict[str, Any]:
    return {
        "split": shard.split,
        "samples": shard.samples,
        "min_key": shard.min_key,
        "max_key": shard.max_key,
    }


def _described(root: Path, name: str) -> dict[str, Any]:
    return {"path": name, "sha256": file_digest(root / name), "bytes": (root / name).stat().st_size}


def _record(dataset: Dataset) -> dict[str, Any]:
    """Facts of the run that made the dataset; they are shown in the catalog but no part of the promise."""
    try:
        said: dict[str, Any] = json.loads(dataset.ledger.objects.get(RECORD))
    except FileNotFoundError:
        return {}
    return said
