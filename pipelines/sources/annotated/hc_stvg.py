"""HC-STVG (Tang et al. 2021): a sentence about one person in a 20 s film clip, its time, and a box in every frame.

    {"57_uNT6HrrnqPU.mp4": {"English": "The man turns.", "st_time": 2.1, "ed_time": 3.5, "st_frame": 64,
                            "bbox": [[x, y, width, height], ...], "img_num": 600, "img_size": [height, width]}}

`st_frame` counts from 1, `bbox` has one entry per frame from there, `img_size` is (height, width), and every clip is
20 s long, which gives the frame rate as img_num / 20 (so do the loaders of TubeDETR and Video-LLaVA's grounding
evaluation). One annotation per clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated.fields import (
    annotation,
    corners,
    number,
    rate,
    sentence,
    size_of,
    span_of,
    taken,
    tube_of,
)
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import files_of, json_of, split_of
from reelmill.schemas.annotation import Annotation, Stated
from reelmill.schemas.tube import Tube

SET = "hc_stvg"
LICENCE = ""
EXPECTS = "train.json or test.json (v1), train_v2.json or val_v2.json (v2), or a folder with them"
REVISION = "1"
CLIP_S = 20.0
PERSON = "person"


def read(path: Path) -> Iterator[Annotation | Refused]:
    """One JSON file is held at a time."""
    for file in files_of(path, "*.json"):
        for name, row in json_of(file, dict).items():
            yield taken(str(name), partial(_clip, str(name), row, split_of(file.stem)))


def _clip(name: str, row: Any, split: str) -> Annotation:
    height, width = row["img_size"]
    size = size_of(width, height)
    span = span_of(row["st_time"], row["ed_time"])
    tube = _tube(row, size)
    return annotation(
        SET,
        name,
        name,
        split=split,
        size=size,
        duration_s=CLIP_S,
        stated=(Stated(sentence(row["English"]), span, PERSON),),
        tubes=(tube,),
    )


def _tube(row: Any, size: tuple[int, int]) -> Tube:
    fps = rate(number(row["img_num"], "img_num") / CLIP_S)
    first = int(number(row["st_frame"], "st_frame")) - 1
    boxes = {(first + n) / fps: corners(*box) for n, box in enumerate(row["bbox"])}
    return tube_of(PERSON, PERSON, boxes, size, 1 / fps)
