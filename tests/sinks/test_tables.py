"""Tables: fixed row groups whatever came together, every field in some column, and the numbers of the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import published
import pyarrow.parquet as pq
import pytest

from reelmill.schemas import arrow
from reelmill.schemas.media import ShownFrame
from reelmill.sinks import tables
from reelmill.sinks.dataset import Store
from reelmill.sinks.publishing.packed import Media, PackedSample, packed_sample
from reelmill.sinks.publishing.view import accepted_children, samples
from reelmill.sinks.tables import CountRow, TableWriter, count_rows, reject_rows, sample_row, turn_rows


def count(i: int) -> CountRow:
    return CountRow("d@1", "inputs", f"s{i:04d}", i)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROW_GROUP", 10)
    monkeypatch.setattr(tables, "GROUPS_PER_FILE", 3)


def write(root: Path, sizes: list[int]) -> list[str]:
    writer = TableWriter(root, "tables/counts", CountRow)
    rows = [count(i) for i in range(sum(sizes))]
    for size in sizes:
        writer.add(rows[:size])
        rows = rows[size:]
    return writer.close()


@pytest.mark.usefixtures("small_groups")
def test_rows_are_cut_anew_whatever_came_together(tmp_path: Path) -> None:
    one = write(tmp_path / "a", [1, 2, 39, 0, 35])
    two = write(tmp_path / "b", [77])

    assert one == two == [f"tables/counts/{i:06d}.parquet" for i in range(3)]
    assert [(tmp_path / "a" / n).read_bytes() for n in one] == [(tmp_path / "b" / n).read_bytes() for n in two]
    groups = [pq.ParquetFile(tmp_path / "a" / n).metadata for n in one]
    assert [[m.row_group(g).num_rows for g in range(m.num_row_groups)] for m in groups] == [[10] * 3, [10] * 3, [10, 7]]


@pytest.mark.usefixtures("small_groups")
def test_rows_come_back_equal_and_in_order(tmp_path: Path) -> None:
    names = write(tmp_path, [7, 30])

    read = [r for n in names for r in arrow.from_table(CountRow, pq.ParquetFile(tmp_path / n).read())]
    assert read == [count(i) for i in range(37)]


def test_an_empty_table_has_its_schema_where_one_is_wanted(tmp_path: Path) -> None:
    assert TableWriter(tmp_path, "tables/counts", CountRow).close() == []

    names = TableWriter(tmp_path, "tables/counts", CountRow).close(empty=True)
    table = pq.ParquetFile(tmp_path / names[0]).read()
    assert table.num_rows == 0
    assert table.schema.names == arrow.schema_of(CountRow).names


def test_parquet_is_zstd(tmp_path: Path) -> None:
    names = write(tmp_path, [3])

    assert pq.ParquetFile(tmp_path / names[0]).metadata.row_group(0).column(0).compression == "ZSTD"


def packed(tmp_path: Path) -> PackedSample:
    _, view = published.stocked(tmp_path, sources=1)
    sample = next(iter(samples(accepted_children(view))))
    shown = [arrow.typed(ShownFrame, f) for f in clip_frames(tmp_path, sample.parent_key)]
    return packed_sample(sample, view.label, Media.FRAMES, shown)


def clip_frames(tmp_path: Path, key: str) -> list[dict[str, object]]:
    return next(r["frames"] for r in Store(tmp_path).find("clips-t").children().to_pylist() if r["key"] == key)


def test_a_packed_sample_can_be_rebuilt_from_its_row(tmp_path: Path) -> None:
    sample = packed(tmp_path)
    row = sample_row(sample)

    plain = arrow.plain(sample)
    assert json.loads(row.turns_json) == plain["turns"]
    assert json.loads(row.frames_json) == plain["frames"]
    assert json.loads(row.provenance_json) == plain["provenance"]
    assert json.loads(row.evidence_json) == plain["evidence"]
    assert (row.span_start_s, row.span_end_s) == (0.0, published.DURATION_S)
    assert (row.question, row.answer) == (sample.turns[0].text, sample.turns[1].text)
    assert (row.num_frames, row.num_turns, row.made_by) == (6, 2, "rules")


def test_turns_count_their_spans_and_boxes(tmp_path: Path) -> None:
    rows = list(turn_rows(packed(tmp_path)))

    assert [(r.turn, r.role, r.num_spans, r.num_boxes) for r in rows] == [(0, "user", 0, 0), (1, "assistant", 1, 1)]
    assert json.loads(rows[1].tgt_s_json) == [1.0, 3.5]


def test_counts_and_rejects_say_what_the_ledger_says(tmp_path: Path) -> None:
    _, view = published.stocked(tmp_path, sources=4)

    counts = {(r.level, r.state): r.count for r in count_rows(view.label, view.counts())}
    assert counts == {
        ("inputs", "accepted"): 4,
        ("inputs", "rejected"): 1,
        ("inputs", "pending"): 0,
        ("children", "accepted"): 8,
        ("children", "rejected"): 1,
    }
    assert [(r.level, r.step, r.reason) for r in reject_rows(view)] == [
        ("child", "CompileGrounding", "nothing_happens"),
        ("row", "Identify", "no_video_stream"),
    ]
