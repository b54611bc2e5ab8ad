"""VidSTG (Zhang et al. 2020) over VidOR (Shang et al. 2019): sentences about one thing of a relation, time and boxes.

    [{"vid": "5159741010", "fps": 29.97, "frame_count": 219, "width": 1920, "height": 1080,
      "subject/objects": [{"tid": 0, "category": "bicycle"}], "temporal_gt": {"begin_fid": 13, "end_fid": 45},
      "captions": [{"description": "there is ...", "target_id": 0}],
      "questions": [{"description": "what is ...?", "target_id": 0}]}]

Frames become seconds by the row's own `fps`; `end_fid` is exclusive (it equals `frame_count` where a relation lasts to
the end of the video). Declarative sentences are statements; an interrogative one is a question whose answer is the
time. Boxes are VidOR's, `trajectories[frame] = [{"tid", "bbox": {"xmin", "ymin", "xmax", "ymax"}}]`, of the target
within the time of the sentence. A row has no id of its own: it is FILE:ROW, counted from 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated.fields import (
    annotation,
    box_of,
    frames_span,
    number,
    rate,
    sentence,
    size_of,
    taken,
    tube_of,
)
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import files_of, json_of, split_of
from reelmill.schemas.annotation import Annotation, Stated
from reelmill.schemas.sample import Role, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Tube

SET = "vidstg"
LICENCE = ""
EXPECTS = "*_annotations.json, or a folder with them and VidOR's own files (VIDEO.json), which have the boxes"
REVISION = "1"
_OPEN = 4
"""Videos whose boxes are at hand: rows of one video stand beside each other."""


def read(path: Path) -> Iterator[Annotation | Refused]:
    """Holds one file of sentences (the largest has 80,000 rows) and the boxes of a few videos."""
    found: dict[str, Path] = {f.stem: f for f in path.rglob("*.json")} if path.is_dir() else {}
    trajectories = lru_cache(_OPEN)(lambda video: _trajectories(found.get(video)))
    for file in files_of(path, "*_annotations.json"):
        for place, row in enumerate(json_of(file, list)):
            name = f"{file.stem}:{place}"
            yield taken(name, partial(_row, name, row, split_of(file.stem), trajectories))


def _trajectories(file: Path | None) -> list[dict[str, Any]]:
    """Per frame, the box of each thing by its tid; none where VidOR's file of the video is not there."""
    if file is None:
        return []
    frames = json_of(file, dict).get("trajectories", [])
    return [{str(one["tid"]): one["bbox"] for one in frame} for frame in frames]


def _row(name: str, row: Any, split: str, trajectories: Any) -> Annotation:
    video, fps = sentence(row["vid"]), rate(row["fps"])
    size = size_of(row["width"], row["height"])
    span = frames_span(row["temporal_gt"]["begin_fid"], row["temporal_gt"]["end_fid"], fps)
    targets = dict.fromkeys(str(one["target_id"]) for one in (*row["captions"], *row["questions"]))
    names = {str(one["tid"]): str(one["category"]) for one in row["subject/objects"]}
    tubes = [
        tube
        for target in targets
        if (tube := _tube(target, names[target], trajectories(video), row["temporal_gt"], fps, size)) is not None
    ]
    with_boxes = {tube.tube_id for tube in tubes}
    return annotation(
        SET,
        name,
        video,
        split=split,
        size=size,
        duration_s=number(row["frame_count"], "frame_count") / fps,
        stated=[_stated(one, span, with_boxes) for one in row["captions"]],
        tubes=tubes,
        turns=[turn for one in row["questions"] for turn in _asked(one, span)],
    )


def _stated(caption: Any, span: Span, with_boxes: set[str]) -> Stated:
    target = str(caption["target_id"])
    return Stated(sentence(caption["description"]), span, target if target in with_boxes else "")


def _asked(question: Any, span: Span) -> tuple[Turn, Turn]:
    asked = Turn(Role.USER, sentence(question["description"]), (), (), ())
    return asked, Turn(Role.ASSISTANT, "<time>", (), (span.start_s, span.end_s), ())


def _tube(
    target: str, category: str, frames: list[dict[str, Any]], when: Any, fps: float, size: tuple[int, int]
) -> Tube | None:
    """The target's boxes within the frames of the sentence; None where VidOR's file is not there."""
    if not frames:
        return None
    last = min(int(when["end_fid"]), len(frames))
    boxes = {
        n / fps: box_of(at["xmin"], at["ymin"], at["xmax"], at["ymax"])
        for n in range(int(when["begin_fid"]), last)
        if (at := frames[n].get(target)) is not None
    }
    return tube_of(target, category, boxes, size, 1 / fps)
