"""What a view dataset is made of, read for publishing: its samples, and the datasets that it rests on.

>>> split_of("00" * 32) in ("train", "val")
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.media import FrameRef
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.sample import Sample, kind_of
from reelmill.schemas.verdict import State
from reelmill.sinks.dataset import Dataset, Store

TRAIN, VAL = "train", "val"
SPLIT_SEED = "reelmill split 1"
"""Part of the split's hash: a constant, so that a source stays in its split for ever."""
VAL_SHARE = 0.05
_BATCH = 512


def split_of(source_digest: str, val_share: float = VAL_SHARE) -> str:
    """`train` or `val`, by a hash of the source alone: one source never lies in two, and adding media moves nothing."""
    digest = hashlib.sha256(f"{SPLIT_SEED}\n{source_digest}".encode()).digest()
    return VAL if int.from_bytes(digest[:8], "big") < val_share * 2**64 else TRAIN


def store_of(dataset: Dataset) -> Store:
    """The store that a dataset lies in."""
    return Store(dataset.place.parent.parent)


def accepted_children(dataset: Dataset) -> pa.Table:
    """Accepted samples of a view, sorted by key: all at once. Raises BadInput as `accepted_parts` does."""
    parts = list(accepted_parts(dataset))
    return pa.concat_tables(parts).sort_by("key") if parts else dataset.children()


def accepted_parts(dataset: Dataset, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Accepted samples of a view, a part at a time, with all columns or those named; parts without children are left
    out. Raises BadInput where the dataset's children are not samples."""
    checked = False
    for name in dataset.parts("children"):
        wanted = None if columns is None or not checked else [*columns, "verdict"]
        table = dataset.part(name, "children", wanted)
        if not table.num_rows:
            continue
        if not checked:
            _require_samples(dataset, table)
            checked = True
        table = table.filter(pc.equal(pc.struct_field(table["verdict"], "state"), str(State.ACCEPTED)))
        yield table if columns is None else table.select(columns)


def _require_samples(dataset: Dataset, table: pa.Table) -> None:
    lacking = [n for n in arrow.schema_of(Sample).names if n not in table.column_names]
    if lacking:
        seen = f"children without {', '.join(lacking)}"
        raise BadInput(f"dataset {dataset.label} holds no samples", seen=seen, do="pack a view, such as internvid_tg")


def samples(table: pa.Table) -> Iterator[Sample]:
    """Rows of `accepted_children` one by one, a bounded number at a time."""
    kind = kind_of(table.column_names)
    for start in range(0, table.num_rows, _BATCH):
        yield from arrow.from_table(kind, table.slice(start, _BATCH).select(arrow.schema_of(kind).names))


def lineage(store: Store, dataset: Dataset, accepted: pa.Table | Iterable[pa.Table]) -> list[Dataset]:
    """Datasets that the samples rest on, sources first, as their provenance and frames name them; without its own.

    `accepted` are their rows by rising key, in one table or several.
    """
    steps, shown = dict[str, None](), dict[str, None]()
    for table in [accepted] if isinstance(accepted, pa.Table) else accepted:
        for labels, column, hint in ((steps, "provenance", Provenance), (shown, "frames", FrameRef)):
            # a dataset that stores frames has another `frames` column, and rests on nothing that it names
            if column in table.column_names and table[column].type == arrow.type_of(tuple[hint, ...]):  # type: ignore[valid-type]
                items = pc.list_flatten(table[column])
                labels |= dict.fromkeys(pc.unique(pc.struct_field(items, "dataset")).to_pylist())
    named = [label for label in steps | shown if label and label != dataset.label]
    found = [store.dataset(*label.partition("@")[::2]) for label in named]
    return [d for d in found if d.ledger.identity() is not None]
