r"""LLaVA's instruction format, as LLaVA-NeXT, LLaVA-Video and Qwen-VL's trainers read it: a JSON list, or JSONL.

After Liu et al. 2023 (arXiv 2304.08485) and the loaders of LLaVA-VL/LLaVA-NeXT: `id`, `image` or `video` (a path below
a folder), and `conversations` of human and gpt. A file of pairs has `prompt`, `chosen` and `rejected` as texts.

    {"id": "1", "image": "coco/a.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, ...]}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated import dialogue
from reelmill.pipelines.sources.annotated.fields import annotation, as_text, each, identified, shown, size
from reelmill.pipelines.sources.annotated.json_stream import listed
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import split_of
from reelmill.schemas.annotation import Annotation
from reelmill.schemas.errors import Unusable
from reelmill.schemas.media import Kind
from reelmill.schemas.sample import Role, Turn

LICENCE = ""
EXPECTS = "a .json list or .jsonl of {id, image or video, conversations}"


def read(path: Path) -> Iterator[Annotation | Refused]:
    """An annotation per row. Rows without a medium, or with several, are refused: a sample has one."""

    def make(row: dict[str, Any]) -> Annotation:
        name, kind = medium(row)
        said, rejected = _dialogue(row)
        return dataclasses.replace(
            annotation(f"llava_json:{path.stem}", identified(row, "id"), name, kind),
            split=split_of(path.stem),
            width_px=size(row.get("width"), "width"),
            height_px=size(row.get("height"), "height"),
            turns=said,
            rejected=rejected,
        )

    return each(listed(path), make, "id")


def medium(row: dict[str, Any], image: str = "image", video: str = "video") -> tuple[str, Kind]:
    """The one medium of a row. Raises Unusable."""
    held = [(value, kind) for name, kind in ((image, Kind.IMAGE), (video, Kind.VIDEO)) for value in _all(row.get(name))]
    if not held:
        raise Unusable("no_media", "the row is text alone")
    if len(held) > 1:
        raise Unusable("several_media", f"{len(held)}: {shown([v for v, _ in held])}")
    value, kind = held[0]
    if isinstance(value, dict):  # the form of Hugging Face's datasets
        value = value.get("path")
    if isinstance(value, str) and value.startswith("data:"):
        raise Unusable("inline_media", "the medium's bytes stand in the row")
    return as_text(value, f"the name of the {kind}"), kind


def _all(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def _dialogue(row: dict[str, Any]) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    if "conversations" in row:
        return dialogue.turns(row["conversations"], "from", "value"), ()
    prompt, chosen, rejected = (as_text(row.get(n), n) for n in ("prompt", "chosen", "rejected"))
    asked = dialogue.turn(Role.USER, dialogue.without_placeholder(prompt))
    return (asked, dialogue.turn(Role.ASSISTANT, chosen)), (dialogue.turn(Role.ASSISTANT, rejected),)
