"""Samples of a view in key order, however many: sorted on disk in pieces, a piece at a time in memory.

Samples lie in parts in the order in which they were made. Three passes bring them into the order of their keys:

    keys alone        where to cut, so that every piece holds at most PIECE samples (or there are PIECES of them)
    part by part      each sample, with the place of its stored frames beside it, into the piece that its key belongs to
    piece by piece    sorted and handed out, as often as wanted

Frames are looked up in the second pass, while the samples of one part, which rest on neighbouring clips, are together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from reelmill.schemas import arrow
from reelmill.schemas.media import FrameRef
from reelmill.schemas.points import reach
from reelmill.schemas.sample import Sample, kind_of
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.publishing.frames import Found, StoredFrames
from reelmill.sinks.publishing.view import accepted_parts
from reelmill.sinks.state import keyed

PIECE, PIECES = 2_048, 256
_TOGETHER, _BATCH = 2_048, 256
_FOUND = "found"
_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4")


class Ordered:
    """Accepted samples of `dataset`. `folder` is made, and holds the pieces until `clear`.

    Raises BadInput as `accepted_parts` does, Corrupt where a frame leads nowhere.
    """

    def __init__(self, dataset: Dataset, frames: StoredFrames, folder: Path) -> None:
        self.dataset, self.frames, self.folder = dataset, frames, folder
        keys = [keyed.column(part["key"]) for part in accepted_parts(dataset, ["key"])]
        self.keys = np.sort(np.concatenate([keyed.encoded(()), *keys]))

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def kind(self) -> type[Sample]:
        """Which kind of sample they are, also where none of them is accepted."""
        names = self.dataset.parts("children")
        found: type[Sample] = kind_of(self.dataset.part(names[0], "children").column_names if names else ())
        return found

    def __iter__(self) -> Iterator[tuple[Sample, tuple[Found, ...]]]:
        """Each sample with what is stored under each of its frames, by rising key."""
        for table in self.tables():
            for start in range(0, table.num_rows, _BATCH):
                for row in table.slice(start, _BATCH).to_pylist():
                    yield arrow.typed(self.kind, row), arrow.typed(tuple[Found, ...], row[_FOUND])

    def tables(self) -> Iterator[pa.Table]:
        """The pieces in order, each sorted."""
        for path in self._pieces:
            if path.exists():
                with pa.OSFile(str(path)) as source:
                    yield pa.ipc.open_stream(source).read_all().sort_by("key")

    def clear(self) -> None:
        """Remove the pieces."""
        for path in self.folder.glob("*"):
            path.unlink()
        if self.folder.exists():
            self.folder.rmdir()
        reach("samples.cleared")

    @cached_property
    def _cuts(self) -> keyed.Keys:
        """First keys of all pieces but the first."""
        step = max(PIECE, -(-len(self.keys) // PIECES))
        return self.keys[step::step]

    @cached_property
    def _pieces(self) -> list[Path]:
        """Files of the pieces, filled when they are first asked for."""
        self.folder.mkdir(parents=True)
        paths = [self.folder / f"{i:03d}.arrow" for i in range(len(self._cuts) + 1)]
        with ExitStack() as stack:
            writers: dict[int, Any] = {}
            for table in _together(accepted_parts(self.dataset)):
                self._spread(table, paths, writers, stack)
        reach("samples.sorted")
        return paths

    def _spread(self, table: pa.Table, paths: Sequence[Path], writers: dict[int, Any], stack: ExitStack) -> None:
        """Append the samples of some parts to their pieces."""
        table = table.append_column(_FOUND, self._found(table["frames"])).sort_by("key")
        edges = [0, *np.searchsorted(keyed.column(table["key"]), self._cuts).tolist(), table.num_rows]
        for i, (start, end) in enumerate(pairwise(edges)):
            if end > start:
                if i not in writers:
                    sink = stack.enter_context(pa.OSFile(str(paths[i]), "wb"))
                    writers[i] = stack.enter_context(pa.ipc.new_stream(sink, table.schema, options=_LZ4))
                writers[i].write_table(table.slice(start, end - start))
        reach("samples.spread")

    def _found(self, frames: pa.ChunkedArray) -> pa.Array:
        rows = [[arrow.plain(self.frames.found(FrameRef(**f))) for f in refs] for refs in frames.to_pylist()]
        return pa.array(rows, arrow.type_of(tuple[Found, ...]))


def _together(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Small parts as tables of a useful size."""
    held: list[pa.Table] = []
    for part in parts:
        held.append(part)
        if sum(p.num_rows for p in held) >= _TOGETHER:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)
