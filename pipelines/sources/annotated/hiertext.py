"""HierText: paragraphs, lines and words of pictures full of text; its lines are read.

After Long et al. 2022 (arXiv 2203.15143) and the README of google-research-datasets/hiertext: `train.jsonl` is, despite
its name, one JSON object whose `annotations` are pictures. A line's `vertices` are four corners in pixels. Lines
that are not legible are left out. The makers say that lines of a paragraph may not be in reading order: `order` is
their place in the file. A file with one picture a line is read as well.

    {"image_id": "a", "paragraphs": [{"lines": [{"text": "EXIT", "vertices": [[1, 2], ...], "legible": true}]}]}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated.fields import (
    annotation,
    as_list,
    as_object,
    as_text,
    each,
    identified,
    line,
    quad,
    size,
)
from reelmill.pipelines.sources.annotated.json_stream import elements, lines
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import split_of
from reelmill.schemas.annotation import Annotation
from reelmill.schemas.media import Kind
from reelmill.schemas.text import TextLine

LICENCE = "CC-BY-SA-4.0"
EXPECTS = "train.jsonl or validation.jsonl of HierText, unzipped, or JSONL with a picture a line"


def read(path: Path) -> Iterator[Annotation | Refused]:
    """An annotation per picture."""

    def make(row: dict[str, Any]) -> Annotation:
        original_id = identified(row, "image_id")
        paragraphs = [as_object(p, "a paragraph") for p in as_list(row.get("paragraphs"), "paragraphs")]
        found = [as_object(one, "a line") for p in paragraphs for one in as_list(p.get("lines"), "lines")]
        return dataclasses.replace(
            annotation(f"hiertext:{path.stem}", original_id, f"{original_id}.jpg", Kind.IMAGE),
            split=split_of(path.stem),
            licence=LICENCE,
            width_px=size(row.get("image_width"), "image_width"),
            height_px=size(row.get("image_height"), "image_height"),
            texts=tuple(_line(one, i) for i, one in enumerate(found) if one.get("legible", True)),
        )

    return each(_pictures(path), make, "image_id")


def _pictures(path: Path) -> Iterator[Any]:
    first = next(lines(path), None)
    single = isinstance(first, dict) and "annotations" not in first
    return lines(path) if single else elements(path, "annotations")


def _line(found: dict[str, Any], order: int) -> TextLine:
    return line(as_text(found.get("text"), "text"), quad(found.get("vertices"), "vertices"), order)
