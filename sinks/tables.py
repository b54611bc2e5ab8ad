"""The flat tables of a pack: scalar columns to filter by, nested values as JSON text, no media bytes.

    tables/samples/split=train/000000.parquet    one row per sample
    tables/turns/split=train/000000.parquet      one row per utterance
    tables/index/split=train/000000.parquet      one row per shard member
    tables/sources/000000.parquet                one row per source file
    tables/rejects/000000.parquet                every reject of this dataset and of those it rests on
    tables/counts/000000.parquet                 what became of everything, level by level

Rows are cut anew into groups of 65,536 whatever parts they came from, so that bytes do not tell how work was grouped.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reelmill.schemas import arrow
from reelmill.schemas.keys import canonical_json
from reelmill.schemas.points import reach
from reelmill.schemas.sample import (
    CuratedSample,
    GroundedSample,
    PreferenceSample,
    Role,
    Sample,
    StreamSample,
)
from reelmill.sinks.dataset import Counts, Dataset
from reelmill.sinks.publishing.linked import clip_key
from reelmill.sinks.publishing.packed import (
    PackedCurated,
    PackedGrounded,
    PackedPreference,
    PackedSample,
    PackedStream,
)
from reelmill.sinks.shards import Indexed

ROW_GROUP = 65_536
GROUPS_PER_FILE = 16
_BATCH = 1_024
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One sample. `question` and `answer` are its first turns; `*_json` hold what does not fit a scalar. `clip_key`
    links all samples of one clip, whatever row they were made from."""

    key: str
    parent_key: str
    clip_key: str
    family: str
    task: str
    source_digest: str
    licence: str
    media_kind: str
    width_px: int
    height_px: int
    duration_s: float
    span_start_s: float | None
    span_end_s: float | None
    num_frames: int
    num_turns: int
    question: str | None
    answer: str | None
    made_by: str
    method: str
    label_confidence: float
    frames_json: str
    turns_json: str
    evidence_json: str
    provenance_json: str


@dataclass(frozen=True, slots=True)
class CuratedRow(SampleRow):
    """One curated clip: a sample without words, and what was measured of it, each in a column to filter by."""

    clip_frames: int
    still: bool
    motion: float
    sharpness: float
    luma: float
    luma_spread: float
    phash: str


@dataclass(frozen=True, slots=True)
class GroundedRow(SampleRow):
    """One sample with things followed through time."""

    num_tubes: int
    tubes_json: str


@dataclass(frozen=True, slots=True)
class PreferenceRow(SampleRow):
    """One pair: what made the rejected side wrong, by how much, and both sides' last answers to read side by side."""

    perturbation: str
    perturbed: str
    strength: float
    stage: int
    margin: float
    chosen: str
    rejected: str
    rejected_json: str
    perturbation_json: str
    claims_json: str


@dataclass(frozen=True, slots=True)
class StreamRow(SampleRow):
    """One dialogue while the clip plays, with when each turn is said."""

    watch_from_s: float
    watch_until_s: float
    turns_at_s_json: str


@dataclass(frozen=True, slots=True)
class TurnRow:
    """One utterance; `turn` counts from 0. Times are pairs (start, end) in seconds of the clip."""

    key: str
    turn: int
    role: str
    text: str
    num_spans: int
    num_boxes: int
    src_s_json: str
    tgt_s_json: str
    boxes_json: str


@dataclass(frozen=True, slots=True)
class IndexRow:
    """Where a member lies; the split is the partition."""

    shard: str
    key: str
    member: str
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source file by its digest. `name` is its last path part; `uri` is filled in `ref` packs only."""

    digest: str
    name: str
    uri: str | None
    kind: str
    licence: str
    split: str
    samples: int


@dataclass(frozen=True, slots=True)
class RejectRow:
    """A rejected row or child of `dataset`, with the step that refused it and what was seen."""

    dataset: str
    level: str
    key: str
    parent_key: str | None
    step: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class CountRow:
    """`level` is inputs, children or packed; at each, accepted + rejected + pending are all that there is."""

    dataset: str
    level: str
    state: str
    count: int


class TableWriter(Generic[Row]):
    """Writes rows of one dataclass under `folder`, cut anew into fixed row groups and files. `close` it at the end.

    Rows wait for the rest of their group in a file beside the table, and not in memory: a group of samples may take
    half a gigabyte.
    """

    def __init__(self, root: Path, folder: str, row: type[Row]) -> None:
        self.root, self.folder, self.row = root, folder, row
        self.files: list[str] = []
        self.rows = 0
        self._new: list[Row] = []
        self._waiting: _Waiting | None = None
        self._open: pq.ParquetWriter | None = None
        self._groups = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows in their final order."""
        for one in rows:
            self._new.append(one)
            waiting = self._waiting.rows if self._waiting is not None else 0
            if len(self._new) == min(_BATCH, ROW_GROUP - waiting):
                self._set_aside()
                if waiting + _BATCH >= ROW_GROUP:
                    self._write()

    def close(self, *, empty: bool = False) -> list[str]:
        """Names of the files that were written, relative to the pack. `empty`: write a file also without any row."""
        if self._new or self._waiting is not None or (empty and not self.files):
            self._set_aside()
            self._write()
        self._end()
        return self.files

    def _set_aside(self) -> None:
        if self._waiting is None:
            self._waiting = _Waiting(self.root / self.folder, _schema(self.row))
        self._waiting.add(arrow.to_table(self.row, self._new))
        self._new = []

    def _write(self) -> None:
        assert self._waiting is not None, "rows are set aside before they are written"
        if self._open is None:
            name = posixpath.join(self.folder, f"{len(self.files):06d}.parquet")
            self._open = pq.ParquetWriter(self.root / name, _schema(self.row), compression="zstd", compression_level=3)
            self.files.append(name)
            reach("table.begun")
        with self._waiting.table() as table:
            self._open.write_table(table, row_group_size=ROW_GROUP)
            reach("table.rows")
        self.rows += self._waiting.rows
        self._groups += 1
        self._waiting = None
        if self._groups == GROUPS_PER_FILE:
            self._end()

    def _end(self) -> None:
        if self._open is not None:
            self._open.close()
            reach("table.written")
        self._open, self._groups = None, 0


class _Waiting:
    """Rows of one row group. Their texts lie in files that are mapped and not read; the rest is small.

    Every column comes back in one piece: Parquet's pages, and so the promised bytes, depend on where arrays are cut.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.schema, self.rows = schema, 0
        self._kept: list[list[pa.Array]] = [[] for _ in schema]
        self._sizes: list[list[np.ndarray[Any, Any]]] = [[] for _ in schema]
        texts = [i for i, f in enumerate(schema) if f.type == pa.string()]
        self._files = {i: (folder / f"waiting-{i:02d}").open("w+b") for i in texts}
        reach("rows.waiting")

    def add(self, table: pa.Table) -> None:
        for i, column in enumerate(table.columns):
            array = column.combine_chunks()
            if i in self._files:
                self._sizes[i].append(pc.fill_null(pc.binary_length(array), 0).to_numpy())
                self._files[i].write(b"".join(v.as_buffer() for v in array if v.is_valid))
                array = pc.is_valid(array)
            self._kept[i].append(array)
        self.rows += table.num_rows
        reach("rows.set_aside")

    @contextmanager
    def table(self) -> Iterator[pa.Table]:
        """All rows, once; the files are gone afterwards."""
        for file in self._files.values():
            file.flush()
        with ExitStack() as stack:
            columns = [self._column(i, stack) for i in range(len(self.schema))]
            yield pa.Table.from_arrays(columns, schema=self.schema)
            del columns
        for file in self._files.values():
            file.close()
            Path(file.name).unlink()
        reach("rows.cleared")

    def _column(self, i: int, stack: ExitStack) -> pa.Array:
        kept = pa.concat_arrays(self._kept[i]) if self._kept[i] else pa.array([], self.schema.field(i).type)
        if i not in self._files:
            return kept
        ends = np.cumsum(np.concatenate([[0], *self._sizes[i]]), dtype=np.int64)
        data = stack.enter_context(pa.memory_map(self._files[i].name)).read_buffer() if ends[-1] else pa.py_buffer(b"")
        valid = kept.buffers()[1] if not pc.all(kept).as_py() else None
        return pa.StringArray.from_buffers(self.rows, pa.py_buffer(ends.astype(np.int32)), data, valid)


def _schema(row: Any) -> pa.Schema:
    return arrow.schema_of(row)


def _json(value: Any) -> str:
    return canonical_json(arrow.plain(value))


ROWS: dict[type[Sample], type[SampleRow]] = {
    Sample: SampleRow,
    CuratedSample: CuratedRow,
    GroundedSample: GroundedRow,
    PreferenceSample: PreferenceRow,
    StreamSample: StreamRow,
}
"""The flat form of each kind of sample."""


def sample_row(sample: PackedSample) -> SampleRow:
    """The flat form of a packed sample; every field of it is in some column."""
    flat = _sample_row(sample)
    shared = {f.name: getattr(flat, f.name) for f in fields(flat)}
    match sample:
        case PackedCurated(facts=facts):
            seen = {n: getattr(facts, n) for n in ("still", "motion", "sharpness", "luma", "luma_spread", "phash")}
            return CuratedRow(**shared, clip_frames=facts.num_frames, **seen)
        case PackedGrounded(tubes=tubes):
            return GroundedRow(**shared, num_tubes=len(tubes), tubes_json=_json(tubes))
        case PackedPreference():
            return PreferenceRow(**shared, **_sides(sample))
        case PackedStream(turns_at_s=at_s):
            from_s, until_s = sample.watch_from_s, sample.watch_until_s
            return StreamRow(**shared, watch_from_s=from_s, watch_until_s=until_s, turns_at_s_json=_json(at_s))
    return flat


def _sides(pair: PackedPreference) -> dict[str, Any]:
    made = pair.perturbation
    return {
        "perturbation": made.kind,
        "perturbed": made.of,
        "strength": made.strength,
        "stage": made.stage,
        "margin": pair.margin,
        "chosen": pair.turns[-1].text,
        "rejected": pair.rejected[-1].text,
        "rejected_json": _json(pair.rejected),
        "perturbation_json": _json(made),
        "claims_json": _json(pair.claims),
    }


def _sample_row(sample: PackedSample) -> SampleRow:
    said = {role: next((t.text for t in sample.turns if t.role is role), None) for role in Role}
    media = sample.media
    return SampleRow(
        key=sample.key,
        parent_key=sample.parent_key,
        clip_key=clip_key(sample.parent_key, sample.frames),
        family=sample.family,
        task=sample.task,
        source_digest=media.digest,
        licence=media.licence,
        media_kind=media.kind,
        width_px=media.width_px,
        height_px=media.height_px,
        duration_s=media.duration_s,
        span_start_s=media.span.start_s if media.span else None,
        span_end_s=media.span.end_s if media.span else None,
        num_frames=len(sample.frames),
        num_turns=len(sample.turns),
        question=said[Role.USER],
        answer=said[Role.ASSISTANT],
        made_by=sample.made_by,
        method=sample.method,
        label_confidence=sample.label_confidence,
        frames_json=_json(sample.frames),
        turns_json=_json(sample.turns),
        evidence_json=_json(sample.evidence),
        provenance_json=_json(sample.provenance),
    )


def turn_rows(sample: PackedSample) -> Iterator[TurnRow]:
    """One row per turn, in order."""
    for i, turn in enumerate(sample.turns):
        yield TurnRow(
            key=sample.key,
            turn=i,
            role=str(turn.role),
            text=turn.text,
            num_spans=(len(turn.src_s) + len(turn.tgt_s)) // 2,
            num_boxes=len(turn.boxes),
            src_s_json=_json(turn.src_s),
            tgt_s_json=_json(turn.tgt_s),
            boxes_json=_json(turn.boxes),
        )


def index_row(indexed: Indexed) -> IndexRow:
    return IndexRow(indexed.shard, indexed.key, indexed.member, indexed.offset, indexed.size, indexed.sha256)


def reject_rows(dataset: Dataset) -> Iterator[RejectRow]:
    """Rejects of one dataset, sorted by (level, key)."""
    table = dataset.rejects().sort_by([("level", "ascending"), ("key", "ascending")])
    for batch in table.to_batches(_BATCH):
        yield from (RejectRow(dataset=dataset.label, **row) for row in batch.to_pylist())


def count_rows(label: str, counts: Counts) -> list[CountRow]:
    """Counts of one dataset at its two levels."""
    levels = {
        "inputs": {"accepted": counts.accepted, "rejected": counts.rejected, "pending": counts.pending},
        "children": {
            "accepted": counts.accepted_children,
            "rejected": counts.children - counts.accepted_children,
        },
    }
    return [CountRow(label, level, state, n) for level, states in levels.items() for state, n in states.items()]
