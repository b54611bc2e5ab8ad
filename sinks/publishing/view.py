"""What a view dataset is made of, read for publishing: its samples, and the datasets that it rests on.

>>> split_of("00" * 32) in ("train", "val")
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.media import FrameRef
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.sample import Sample
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
    return Store(dataset.folder.parent.parent)


def accepted_children(dataset: Dataset) -> pa.Table:
    """Accepted samples of a view, sorted by key. Raises BadInput where the dataset's children are not samples."""
    table = dataset.children()
    if not table.num_rows:
        return table
    lacking = [n for n in arrow.schema_of(Sample).names if n not in table.column_names]
    if lacking:
        seen = f"children without {', '.join(lacking)}"
        raise BadInput(f"dataset {dataset.label} holds no samples", seen=seen, do="pack a view, such as internvid_tg")
    return table.filter(pc.equal(pc.struct_field(table["verdict"], "state"), str(State.ACCEPTED)))


def samples(table: pa.Table) -> Iterator[Sample]:
    """Rows of `accepted_children` one by one, a bounded number at a time."""
    wanted = arrow.schema_of(Sample).names
    for start in range(0, table.num_rows, _BATCH):
        yield from arrow.from_table(Sample, table.slice(start, _BATCH).select(wanted))


def lineage(store: Store, dataset: Dataset, accepted: pa.Table) -> list[Dataset]:
    """Datasets that the samples rest on, sources first, as their provenance and frames name them; without its own."""
    labels: dict[str, None] = {}
    for column, hint in (("provenance", Provenance), ("frames", FrameRef)):
        # a dataset that stores frames has another `frames` column, and rests on nothing that it names
        if column in accepted.column_names and accepted[column].type == arrow.type_of(tuple[hint, ...]):  # type: ignore[valid-type]
            items = pc.list_flatten(accepted[column])
            labels |= dict.fromkeys(pc.unique(pc.struct_field(items, "dataset")).to_pylist())
    found = [store.dataset(*label.partition("@")[::2]) for label in labels if label and label != dataset.label]
    return [d for d in found if d.ledger.identity() is not None]
