"""Parquet and the catalog: a pack's tables against bare pyarrow, its DuckDB file against a bare `create table`.

The same rows in the same order. Ours takes one dataclass at a time (nobody has all rows in memory), lays waiting rows
aside on disk, cuts row groups that do not depend on how rows came, and names the logical hash of every table of the
catalog; bare pyarrow takes lists of dicts and bare DuckDB a glob. Beside them the floor: compressing and writing a
table that is already columns.

    python benchmarks/tables.py --rounds 5 --samples 100000
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from measure import Result, bars, say

from reelmill.schemas import arrow
from reelmill.sinks import catalog
from reelmill.sinks.tables import ROW_GROUP, CountRow, IndexRow, RejectRow, SampleRow, SourceRow, TableWriter, TurnRow

KINDS: dict[str, type[Any]] = {
    "samples": SampleRow,
    "turns": TurnRow,
    "index": IndexRow,
    "sources": SourceRow,
    "rejects": RejectRow,
    "counts": CountRow,
}
Timed = dict[str, list[float]]


def sample_row(i: int) -> SampleRow:
    """About what a temporal sample holds; the texts differ from row to row, as real ones do."""
    key = hashlib.sha256(str(i).encode()).hexdigest()
    frames = ",".join(f'{{"at_s":{n / 2},"frame":{n * 12},"key":"{key[n : n + 26]}"}}' for n in range(6))
    return SampleRow(
        key=f"{i:026d}",
        parent_key=key[:26],
        family="internvid_tg",
        task="ground",
        source_digest=key,
        licence="CC0-1.0",
        media_kind="video",
        width_px=320,
        height_px=180,
        duration_s=3.0 + i % 7,
        span_start_s=float(i % 9),
        span_end_s=None,
        num_frames=6,
        num_turns=2,
        question=f"When does the red ball {key[:6]} enter?",
        answer=f"From {i % 9}.0 to {i % 9}.5 seconds.",
        made_by="rules",
        method="rules:agree",
        label_confidence=0.8,
        frames_json=f"[{frames}]",
        turns_json=f'["{key}","{key[::-1]}"]',
        evidence_json=f'["{key[:26]}"]',
        provenance_json=f'[{{"step":"ReadEvents","method":"rules","seed":{i}}}]',
    )


def other_rows(number: int) -> dict[str, list[Any]]:
    """Rows of the other tables of such a pack: two turns and seven members to a sample, ten samples to a source."""
    keys = [f"{i:026d}" for i in range(number)]
    digests = [hashlib.sha256(k.encode()).hexdigest() for k in keys]
    members = ("json", *(f"f{n:03d}.jpg" for n in range(6)))
    return {
        "turns": [
            TurnRow(k, n, "user", f"{n} {d[:40]}", 1, 0, "[]", "[1.0,2.0]", "[]")
            for k, d in zip(keys, digests, strict=True)
            for n in (0, 1)
        ],
        "index": [
            IndexRow(f"shards/t-train-{i // 5000:06d}.tar", k, m, i * 70_000, 10_000, digests[i])
            for i, k in enumerate(keys)
            for m in members
        ],
        "sources": [SourceRow(d, f"{d[:9]}.mp4", None, "video", "CC0-1.0", "train", 10) for d in sorted(digests[::10])],
        "rejects": [
            RejectRow("events-t@1", "children", k, None, "ReadEvents", "localisers_disagree", "tIoU 0.00")
            for k in keys[::4]
        ],
        "counts": [CountRow("t@1", "inputs", "accepted", number)],
    }


# ---- tables ----------------------------------------------------------------------------------------------------------


@cache
def rows(number: int) -> list[SampleRow]:
    return [sample_row(i) for i in range(number)]


@cache
def dicts(number: int) -> list[dict[str, Any]]:
    return [asdict(row) for row in rows(number)]


@cache
def columns(number: int) -> pa.Table:
    return arrow.to_table(SampleRow, rows(number))


def ours(folder: Path, number: int) -> None:
    """As the pack writes: one call a sample."""
    writer = TableWriter(folder, "samples", SampleRow)
    for row in rows(number):
        writer.add([row])
    writer.close()


def bare(folder: Path, number: int) -> None:
    """A row group at a time, from dicts, with the same compression."""
    schema = arrow.schema_of(SampleRow)
    with pq.ParquetWriter(folder / "bare.parquet", schema, compression="zstd", compression_level=3) as writer:
        for start in range(0, number, ROW_GROUP):
            group = dicts(number)[start : start + ROW_GROUP]
            writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=ROW_GROUP)


def ready(folder: Path, number: int) -> None:
    """The floor: columns that only need to be encoded, compressed and written."""
    pq.write_table(
        columns(number), folder / "ready.parquet", compression="zstd", compression_level=3, row_group_size=ROW_GROUP
    )


# ---- catalog ---------------------------------------------------------------------------------------------------------


def packed(folder: Path, number: int) -> dict[str, list[str]]:
    """The Parquet files of a pack, by kind."""
    made: dict[str, list[Any]] = {"samples": rows(number), **other_rows(number)}
    files = {}
    for kind, row in KINDS.items():
        writer = TableWriter(folder, f"tables/{kind}", row)
        writer.add(made[kind])
        files[kind] = writer.close(empty=True)
    return files


def ours_catalog(folder: Path, files: dict[str, list[str]], out: Path) -> None:
    out.mkdir()
    (out / "tables").symlink_to(folder / "tables")
    catalog.build(out, files, {})


def bare_catalog(folder: Path, files: dict[str, list[str]], out: Path) -> None:
    """The same tables in a DuckDB file, in the order in which they lie, without hashes."""
    out.mkdir()
    with duckdb.connect(str(out / "bare.duckdb"), config={"threads": 2}) as connection:
        for kind, names in files.items():
            connection.read_parquet([str(folder / n) for n in names]).create(kind)


def scanned(folder: Path, files: dict[str, list[str]], out: Path) -> None:
    """The floor: every column of every row read once."""
    out.mkdir()
    for names in files.values():
        for name in names:
            pq.read_table(folder / name, use_threads=False)


# ---- the page --------------------------------------------------------------------------------------------------------


def in_turn(work: dict[str, Callable[[Path], None]], rounds: int, scratch: Path) -> Iterator[tuple[str, float, float]]:
    """(name, wall, CPU seconds) of each piece of work in each round, after one run that does not count."""
    for number in range(rounds + 1):
        for name, do in work.items():
            place = Path(tempfile.mkdtemp(dir=scratch))
            wall, cpu = time.perf_counter(), time.process_time()
            do(place)
            spent = time.perf_counter() - wall, time.process_time() - cpu
            shutil.rmtree(place)
            if number:
                say(f"round {number} of {rounds}, {name}: {spent[0]:.2f} s, {spent[1]:.2f} CPU-s")
                yield (name, *spent)


def measured(page: Result, what: str, work: dict[str, Callable[[Path], None]], number: int, scratch: Path) -> Timed:
    """CPU seconds by name, and a table of medians on the page."""
    wall: Timed = {name: [] for name in work}
    cpu: Timed = {name: [] for name in work}
    for name, wall_s, cpu_s in in_turn(work, page.rounds, scratch):
        wall[name].append(wall_s)
        cpu[name].append(cpu_s)
    page.raw[what] = {"wall_s": wall, "cpu_s": cpu}
    first = list(work)[1]
    lines = [
        (
            name,
            statistics.median(wall[name]),
            statistics.median(cpu[name]),
            number / statistics.median(wall[name]),
            ratio(cpu, name, first),
        )
        for name in work
    ]
    page.table((what, "wall s", "CPU-s", "samples/s", f"CPU-s over {first}"), lines)
    return cpu


def ratio(cpu: Timed, one: str, other: str) -> float:
    """Median of the rounds' own ratios."""
    return statistics.median(a / b for a, b in zip(cpu[one], cpu[other], strict=True))


def report(rounds: int, number: int) -> None:
    page = Result("tables", "Parquet tables and the catalog of a pack", rounds)
    with tempfile.TemporaryDirectory(prefix="tables-") as scratch_name:
        scratch = Path(scratch_name)
        rows(number), dicts(number), columns(number)
        writers = {"reelmill": ours, "pyarrow from dicts": bare, "ready columns (floor)": ready}
        of_tables = {name: (lambda place, do=do: do(place, number)) for name, do in writers.items()}
        tables_cpu = measured(page, "samples table", of_tables, number, scratch)
        source = scratch / "pack"
        source.mkdir()
        files = packed(source, number)
        makers = {"reelmill": ours_catalog, "duckdb": bare_catalog, "Parquet read once (floor)": scanned}
        of_catalog = {n: (lambda place, do=do: do(source, files, place / "out")) for n, do in makers.items()}
        catalog_cpu = measured(page, "catalog", of_catalog, number, scratch)
    page.note(f"{number:,} samples of 23 columns; the catalog holds {9 * number:,} further rows of turns and members.")
    shown = {f"tables: {n}": statistics.median(v) for n, v in tables_cpu.items()}
    page.save(bars("CPU-seconds", shown | {f"catalog: {n}": statistics.median(v) for n, v in catalog_cpu.items()}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=100_000)
    args = parser.parse_args()
    report(args.rounds, args.samples)
