"""LAION-like tables: Parquet of pictures' URLs or paths with the text that stood beside them on the web.

After Schuhmann et al. 2022 (arXiv 2210.08402), whose columns are URL, TEXT, WIDTH, HEIGHT, LICENSE, and the tables that
img2dataset writes beside what it downloads (`key`, `caption`, `url`). Column names count without their case. A row that
names a file is matched by that name; one that has a URL alone matches media that were listed under the very same URL.

    url="https://x.org/a.jpg" caption="A dog." width=640 height=480     ->  stated "A dog."
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated.fields import annotation, as_text, clean, each, identified, size
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import split_of
from reelmill.schemas.annotation import Annotation, Stated
from reelmill.schemas.errors import BadInput, NotFound
from reelmill.schemas.media import Kind

LICENCE = ""
EXPECTS = "a Parquet file or a folder of them, with url or path, caption or text, and perhaps width and height"

_PATHS, _URLS = ("path", "image_path", "file_name", "file"), ("url", "image_url")
_TEXTS, _IDS = ("caption", "text"), ("id", "sample_id", "key", "hash")
_OTHERS = ("width", "height", "license", "licence")
_ROWS = 4096


def read(path: Path) -> Iterator[Annotation | Refused]:
    """An annotation per row. Raises NotFound, and BadInput for a file that is no Parquet or lacks the columns."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not all(f.is_file() for f in files):
        raise NotFound(f"annotated set {str(path)!r}", seen="no Parquet file", do="check the path")
    return (one for file in files for one in each(_rows(file), _maker(file), *_IDS))


def _maker(file: Path) -> Any:
    def make(row: dict[str, Any]) -> Annotation:
        named = next((row[n] for n in (*_PATHS, *_URLS) if row.get(n)), None)
        own = next((n for n in _IDS if row.get(n) is not None), "place")
        return dataclasses.replace(
            annotation(f"laion:{file.stem}", identified(row, own), as_text(named, "path or url"), Kind.IMAGE),
            split=split_of(file.stem),
            licence=clean(str(row.get("license") or row.get("licence") or "")),
            width_px=size(row.get("width"), "width"),
            height_px=size(row.get("height"), "height"),
            stated=(Stated(as_text(next((row[n] for n in _TEXTS if row.get(n)), None), "caption"), None, ""),),
        )

    return make


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    """Rows by lower-case names, a few thousand at a time; `place` counts them for tables without an id."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            wanted = _columns(file, table.schema_arrow.names)
            place = 0
            for batch in table.iter_batches(_ROWS, columns=list(wanted)):
                for row in batch.to_pylist():
                    yield {wanted[name]: value for name, value in row.items()} | {"place": f"row {place}"}
                    place += 1
    except (pa.ArrowException, OSError) as error:
        seen = str(error).splitlines()[0][:200]
        raise BadInput(f"annotated set {file.name!r}", seen=seen, do="check that it is whole Parquet") from error


def _columns(file: Path, names: list[str]) -> dict[str, str]:
    known = {n: n.lower() for n in names if n.lower() in (*_PATHS, *_URLS, *_TEXTS, *_IDS, *_OTHERS)}
    lacking = [some[0] for some in ((*_PATHS, *_URLS), _TEXTS) if not set(some) & set(known.values())]
    if lacking:
        raise BadInput(f"annotated set {file.name!r}", seen=f"columns {names}", do=f"give a column {lacking[0]}")
    return known
