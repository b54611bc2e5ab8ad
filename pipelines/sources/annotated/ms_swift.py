"""ms-swift's instruction format: JSONL of `messages` with `images` or `videos`, and boxes in `objects`.

After the custom dataset page of modelscope/ms-swift: `<ref-object>` and `<bbox>` in the text stand for the next of
`objects.ref` and `objects.bbox`, whose numbers are pixels (`bbox_type` "real", also where it is not given) or shares of
the picture ("norm1"); `rejected_response` or `rejected_messages` is the worse answer to the last question.

    {"messages": [{"role": "user", "content": "<image>Where is <ref-object>?"},
                  {"role": "assistant", "content": "<bbox>"}],
     "images": ["a.jpg"], "objects": {"ref": ["the dog"], "bbox": [[10, 20, 30, 40]]}}
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated import dialogue
from reelmill.pipelines.sources.annotated.dialogue import Tagged
from reelmill.pipelines.sources.annotated.fields import (
    annotation,
    as_list,
    as_object,
    as_text,
    each,
    identified,
    numbers,
    shown,
    size,
    xyxy,
)
from reelmill.pipelines.sources.annotated.json_stream import listed
from reelmill.pipelines.sources.annotated.llava_json import medium
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import split_of
from reelmill.schemas.annotation import Annotation
from reelmill.schemas.errors import Unusable
from reelmill.schemas.sample import Role, Turn
from reelmill.schemas.tube import Box

LICENCE = ""
EXPECTS = "a .jsonl (or .json list) of {messages, images or videos, objects, rejected_response}"


def read(path: Path) -> Iterator[Annotation | Refused]:
    """An annotation per row. The format has no id: a row without one is named by its place in the file."""

    def make(row: dict[str, Any]) -> Annotation:
        renamed = {"images": row.get("images", row.get("image")), "videos": row.get("videos", row.get("video"))}
        name, kind = medium(renamed, "images", "videos")
        wording = _wording(row)
        turns = dialogue.turns(row.get("messages"), "role", "content", wording)
        if left := wording.left():
            raise Unusable("objects_without_tags", f"{left} boxes that no <bbox> stands for")
        return dataclasses.replace(
            annotation(f"ms_swift:{path.stem}", identified(row, "id"), name, kind),
            split=split_of(path.stem),
            width_px=size(row.get("width"), "width"),
            height_px=size(row.get("height"), "height"),
            turns=turns,
            rejected=_rejected(row),
        )

    return each(map(_placed, listed(path), itertools.count(1)), make, "id")


def _placed(row: Any, place: int) -> Any:
    return {"id": f"row {place}"} | row if isinstance(row, dict) else row


def _wording(row: dict[str, Any]) -> Tagged:
    objects = as_object(row.get("objects") or {}, "objects")
    phrases = [as_text(r, "a ref") for r in as_list(objects.get("ref") or [], "ref")]
    given = as_list(objects.get("bbox") or [], "bbox")
    return Tagged(phrases, _boxes(given, objects.get("bbox_type", "real"), row))


def _boxes(given: list[Any], kind: Any, row: dict[str, Any]) -> list[Box]:
    if any(isinstance(b, list) and len(b) == 2 for b in given):
        raise Unusable("point", "two numbers are a point, which a turn has no place for")
    if kind == "real":
        return [xyxy(b) for b in given]
    width, height = size(row.get("width"), "width"), size(row.get("height"), "height")
    if kind != "norm1" or (given and (width is None or height is None)):
        raise Unusable("unknown_scale", f"bbox_type {shown(kind)}, size {width} x {height}: want pixels")
    return [xyxy(_scaled(b, width or 0, height or 0)) for b in given]


def _scaled(box: Any, width: int, height: int) -> list[float]:
    x0, y0, x1, y1 = numbers(box, 4, "bbox")
    return [x0 * width, y0 * height, x1 * width, y1 * height]


def _rejected(row: dict[str, Any]) -> tuple[Turn, ...]:
    """The worse answer; its tags would count boxes of their own, so one that has any is refused."""
    said = row.get("rejected_response")
    if said is None and row.get("rejected_messages"):
        said = as_object(as_list(row["rejected_messages"], "rejected_messages")[-1], "a message").get("content")
    said = said[0] if isinstance(said, list) and said else said
    if said is None:
        return ()
    return (dialogue.turn(Role.ASSISTANT, as_text(said, "rejected_response")),)
