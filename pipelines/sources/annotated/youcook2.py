"""YouCook2 (Zhou et al. 2018): the steps of a cooking video, in order, times in seconds.

    {"database": {"GLd3aX16zBg": {"duration": 241.62, "subset": "training", "recipe_type": "113",
                                  "annotations": [{"segment": [90, 102], "id": 0, "sentence": "spread margarine"}]}}}

One annotation per video, named by its YouTube id.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated.fields import annotation, each_stated, number, sentence, span_of, taken
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import files_of, json_of
from reelmill.schemas.annotation import Annotation, Stated
from reelmill.schemas.errors import BadInput

SET = "youcook2"
LICENCE = ""
EXPECTS = "youcookii_annotations_trainval.json"
REVISION = "1"
DENSE = True


def read(path: Path) -> Iterator[Annotation | Refused]:
    """The file is held while it is read. Raises BadInput where it has no `database`."""
    for file in files_of(path, "*.json"):
        videos = json_of(file, dict).get("database")
        if not isinstance(videos, dict):
            raise BadInput(f"annotations {str(file)!r}", seen="no object 'database'", do=f"give {EXPECTS}")
        for video, row in videos.items():
            yield from _video(str(video), row)


def _video(video: str, row: Any) -> Iterator[Annotation | Refused]:
    bad: tuple[Refused, ...] = ()

    def made() -> Annotation:
        nonlocal bad
        good, bad = each_stated(video, row["annotations"], _step)
        length_s = number(row["duration"], "duration")
        return annotation(SET, video, video, split=str(row.get("subset", "")), duration_s=length_s, stated=good)

    yield taken(video, made)
    yield from bad


def _step(row: Any) -> Stated:
    return Stated(sentence(row["sentence"]), span_of(*row["segment"]), "")
