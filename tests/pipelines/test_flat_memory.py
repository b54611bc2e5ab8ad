"""Memory of a run: what a worker holds between two groups does not grow with the groups, nor with how unlike they are.

Counted are bytes and objects, in this process; the hour of film is `benchmarks/families.py`.
"""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import toy

from reelmill.annotators.annotator import Resources, each_row
from reelmill.pipelines._recipe import Place, Recipe
from reelmill.pipelines._run import Local, run
from reelmill.pipelines._work import Done, Worker
from reelmill.schemas.column import Column

PATH = Column.of("path", tuple[float, ...])
ROWS, PER_GROUP = 24, 3
MIB = 1 << 20


@dataclass(frozen=True)
class Follow:
    """A path for each word: of up to 48,000 points, so that no two groups need the same memory."""

    needs = (toy.WORD,)
    gives = (PATH,)
    revision = "1"
    resources = Resources(rows_per_commit=PER_GROUP)

    def setup(self) -> None: ...

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        number = int(row["word"].removeprefix("word"))
        return {"path": tuple(number + 0.5 * i for i in range(2_000 * (number + 1)))}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "words.txt").write_text("\n".join(f"word{i}" for i in range(ROWS)))
    return Place(tmp_path / "store", (str(tmp_path / "words.txt"),), "toy")


def recipe() -> Recipe:
    return Recipe(name="paths", version="1", source=toy.Words(), steps=(Follow(),))


def own_bytes() -> int:
    """Resident memory of this process that is no file's."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="this system does not tell of its memory")
def test_a_worker_gives_back_what_arrow_freed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, kept = pa.default_memory_pool(), list[int]()
    done = Worker.do

    def looked_at(worker: Worker, keys: list[str]) -> Done:
        found = done(worker, keys)
        before = own_bytes()
        pool.release_unused()
        kept.append(before - own_bytes())
        return found

    monkeypatch.setattr(Worker, "do", looked_at)
    run(recipe(), place, Local(1))
    assert len(kept) == ROWS // PER_GROUP
    # Up to 1 MiB of numbers a group, and Parquet buffers of several times that; 8 MiB and more stayed without release.
    assert max(kept) < 4 * MIB


def test_what_is_alive_does_not_grow_with_the_groups(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = list[tuple[int, int]]()
    done = Worker.do

    def counted(worker: Worker, keys: list[str]) -> Done:
        found = done(worker, keys)
        gc.collect()
        alive.append((sys.getallocatedblocks(), pa.total_allocated_bytes()))
        return found

    monkeypatch.setattr(Worker, "do", counted)
    run(recipe(), place, Local(1))
    blocks, held = zip(*alive, strict=True)
    each = (blocks[-1] - blocks[2]) / (len(blocks) - 3)  # the first groups import and fill caches
    print(alive, each)
    assert each < 200, "a group leaves a commit's outcome behind, which is a few dozen objects, and not its rows"
    assert max(held[2:]) - min(held[2:]) < MIB, "a group's tables outlive it"
