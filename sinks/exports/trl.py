"""TRL's datasets as Parquet, pictures inside: `messages` and `images` for SFT, and for DPO the columns
`prompt`, `chosen`, `rejected` and `images`.

After trl 1.16 (`prepare_multimodal_messages`: one placeholder for each picture is put before the first question). TRL
has no column for videos, so a video goes as its frames, with a line that says when they are; an mp4 is left out.
Pictures are read by `datasets` as `Image`, without paths: the file can be moved, and goes to the Hub as it is.

    datasets.load_dataset("parquet", data_files="FOLDER/train.parquet")
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from reelmill.schemas.errors import Unusable
from reelmill.sinks.exports.exporting import USUAL, Held, Layout, Row, dialogue, messages, timed
from reelmill.sinks.exports.wording import Boxes, Times, Words

GROUP_BYTES = 64 * 1024**2
"""Bytes of pictures in a row group: what a reader that asks for one row holds in memory."""
_TEXT = {"dtype": "string", "_type": "Value"}
_FEATURES: dict[str, Any] = {
    "string": _TEXT,
    "messages": [{"role": _TEXT, "content": _TEXT}],
    "images": {"feature": {"_type": "Image"}, "_type": "Sequence"},
}
_TYPES = {
    "string": pa.string(),
    "messages": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
    "images": pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
}


@dataclass(frozen=True)
class Trl:
    """SFT rows, and DPO rows of pairs (SFTTrainer, DPOTrainer; set `max_length=None`, else picture tokens are cut)."""

    times: Times = Times.SECONDS
    boxes: Boxes = Boxes.THOUSAND
    name: ClassVar[str] = "trl"
    conventions: ClassVar[tuple[Boxes, ...]] = (Boxes.THOUSAND, Boxes.PIXELS, Boxes.UNIT)
    loads: ClassVar[str] = 'datasets.load_dataset("parquet", data_files="FOLDER/FILE"), then SFTTrainer or DPOTrainer'
    lacks: ClassVar[tuple[str, ...]] = ("evidence", "label_confidence", "method", "provenance")
    embeds_media: ClassVar[bool] = True
    layout: ClassVar[Layout] = USUAL

    def row(self, held: Held, words: Words) -> Row:
        if held.video:
            raise Unusable("video_without_a_column", f"{held.sample.key}: TRL reads pictures; pack with --media frames")
        said = dialogue(held, words, timed(held, self.times))
        images = [{"bytes": f.data, "path": Path(f.name).name} for f in held.files]
        row: Row = {"id": held.sample.key, "images": images}
        if said.rejected is None:
            return row | {"messages": messages(said.texts)}
        turns = messages(said.texts)
        rejected = [{"role": "assistant", "content": said.rejected}]
        return row | {"prompt": turns[:-1], "chosen": turns[-1:], "rejected": rejected}

    def write(self, rows: Iterable[Row], folder: Path, split: str) -> str:
        rest = iter(rows)
        first = next(rest, None)
        schema = _schema(first or {"id": "", "images": [], "messages": []})
        with pq.ParquetWriter(folder / f"{split}.parquet", schema, compression="zstd") as writer:
            for group in _groups(itertools.chain([first] if first else [], rest)):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
        return f"{split}.parquet"


def _schema(row: Row) -> pa.Schema:
    """The columns of a row, and what `datasets` takes them for: one dataset has rows of one kind."""
    kinds = {name: {"id": "string", "images": "images"}.get(name, "messages") for name in sorted(row)}
    features = {"info": {"features": {name: _FEATURES[kind] for name, kind in kinds.items()}}}
    schema = pa.schema([(name, _TYPES[kind]) for name, kind in kinds.items()])
    return schema.with_metadata({"huggingface": json.dumps(features, sort_keys=True)})


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in groups of about GROUP_BYTES of pictures."""
    group, size = list[Row](), 0
    for row in rows:
        group.append(row)
        size += sum(len(image["bytes"]) for image in row["images"])
        if size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
