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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow.parquet as pq

from reelmill.schemas import arrow
from reelmill.schemas.keys import canonical_json
from reelmill.schemas.sample import Role
from reelmill.sinks.dataset import Counts, Dataset
from reelmill.sinks.publishing.packed import PackedSample
from reelmill.sinks.shards import Indexed
from reelmill.sinks.state.points import reach

ROW_GROUP = 65_536
GROUPS_PER_FILE = 16
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One sample. `question` and `answer` are its first turns; `*_json` hold what does not fit a scalar."""

    key: str
    parent_key: str
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
    """Writes rows of one dataclass under `folder`, cut anew into fixed row groups and files. `close` it at the end."""

    def __init__(self, root: Path, folder: str, row: type[Row]) -> None:
        self.root, self.folder, self.row = root, folder, row
        self.files: list[str] = []
        self.rows = 0
        self._waiting: list[Row] = []
        self._open: pq.ParquetWriter | None = None
        self._groups = 0

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows in their final order."""
        for one in rows:
            self._waiting.append(one)
            if len(self._waiting) == ROW_GROUP:
                self._write()

    def close(self, *, empty: bool = False) -> list[str]:
        """Names of the files that were written, relative to the pack. `empty`: write a file also without any row."""
        if self._waiting or (empty and not self.files):
            self._write()
        self._end()
        return self.files

    def _write(self) -> None:
        if self._open is None:
            name = posixpath.join(self.folder, f"{len(self.files):06d}.parquet")
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            row: Any = self.row
            schema = arrow.schema_of(row)
            self._open = pq.ParquetWriter(path, schema, compression="zstd", compression_level=3)
            self.files.append(name)
        self._open.write_table(arrow.to_table(self.row, self._waiting), row_group_size=ROW_GROUP)
        self.rows += len(self._waiting)
        self._groups += 1
        self._waiting = []
        if self._groups == GROUPS_PER_FILE:
            self._end()

    def _end(self) -> None:
        if self._open is not None:
            self._open.close()
            reach("table.written")
        self._open, self._groups = None, 0


def _json(value: Any) -> str:
    return canonical_json(arrow.plain(value))


def sample_row(sample: PackedSample) -> SampleRow:
    """The flat form of a packed sample; every field of it is in some column."""
    said = {role: next((t.text for t in sample.turns if t.role is role), None) for role in Role}
    media = sample.media
    return SampleRow(
        key=sample.key,
        parent_key=sample.parent_key,
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


def reject_rows(dataset: Dataset) -> list[RejectRow]:
    """Rejects of one dataset, sorted by (level, key)."""
    rows = dataset.rejects().sort_by([("level", "ascending"), ("key", "ascending")]).to_pylist()
    return [RejectRow(dataset=dataset.label, **row) for row in rows]


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
