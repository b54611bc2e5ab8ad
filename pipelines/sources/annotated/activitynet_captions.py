"""ActivityNet Captions (Krishna et al. 2017): a sentence for each event of a video, times in seconds.

    {"v_QOlSCBRmfWY": {"duration": 82.73, "timestamps": [[0.83, 19.86]], "sentences": ["A young woman ..."]}}

One annotation per video and file, FILE:VIDEO: val_1 and val_2 are two people's accounts of the same videos. The
sentences of one are meant to tell all of a video, so they may be asked for together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated.fields import annotation, each_stated, number, sentence, span_of, taken
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import files_of, json_of, split_of
from reelmill.schemas.annotation import Annotation, Stated

SET = "activitynet_captions"
LICENCE = ""
EXPECTS = "train.json, val_1.json or val_2.json of the release, or a folder with them"
REVISION = "1"
DENSE = True


def read(path: Path) -> Iterator[Annotation | Refused]:
    """One JSON file is held at a time."""
    for file in files_of(path, "train.json", "val_1.json", "val_2.json"):
        for video, row in json_of(file, dict).items():
            yield from _video(f"{file.stem}:{video}", str(video), row, split_of(file.stem))


def _video(name: str, video: str, row: Any, split: str) -> Iterator[Annotation | Refused]:
    bad: tuple[Refused, ...] = ()

    def made() -> Annotation:
        nonlocal bad
        pairs = list(zip(row["timestamps"], row["sentences"], strict=True))
        good, bad = each_stated(name, pairs, lambda p: Stated(sentence(p[1]), span_of(*p[0]), ""))
        return annotation(SET, name, video, split=split, duration_s=number(row["duration"], "duration"), stated=good)

    yield taken(name, made)
    yield from bad
