"""QVHighlights (Lei et al. 2021): a query and every window of a 150 s video that fits it, one JSON object a line.

    {"qid": 8737, "query": "Chef makes pizza", "duration": 126, "vid": "bP5KfdFJzC4_660.0_810.0",
     "relevant_windows": [[0, 16], [20, 24]]}

One annotation per query; each window is a sentence of its own. Windows are in seconds of the piece that `vid` names,
in steps of 2 s. The unlabelled test split has no windows, so its rows are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from reelmill.pipelines.sources.annotated.fields import (
    MISSHAPEN,
    annotation,
    each_stated,
    number,
    sentence,
    span_of,
    taken,
)
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import files_of, lines_of, split_of
from reelmill.schemas.annotation import Annotation, Stated
from reelmill.schemas.errors import Unusable

SET = "qvhighlights"
LICENCE = "CC-BY-NC-SA-4.0"
EXPECTS = "highlight_train_release.jsonl or highlight_val_release.jsonl, or a folder with them"
REVISION = "1"


def read(path: Path) -> Iterator[Annotation | Refused]:
    """Streams: one line is held at a time."""
    for file in files_of(path, "*.jsonl"):
        for place, line in lines_of(file):
            yield from _query(line, f"{file.stem}:{place}", split_of(file.stem))


def _query(line: str, place: str, split: str) -> Iterator[Annotation | Refused]:
    try:
        row = json.loads(line)
        name = str(row["qid"])
    except MISSHAPEN as error:
        yield Refused("", "malformed", f"{place}: {type(error).__name__}: {error}"[:300])
        return
    bad: tuple[Refused, ...] = ()

    def made() -> Annotation:
        nonlocal bad
        query, video = sentence(row["query"]), sentence(row["vid"])
        windows = row.get("relevant_windows")
        if not windows:
            raise Unusable("no_window", f"{place}: no window is given")
        good, bad = each_stated(name, windows, lambda w: Stated(query, span_of(*w), ""))
        length_s = number(row["duration"], "duration")
        return annotation(SET, name, video, split=split, licence=LICENCE, duration_s=length_s, stated=good)

    yield taken(name, made)
    yield from bad
