"""TextOCR: every word of a picture with its polygon, on the pictures of TextVQA.

After Singh et al. 2021 (arXiv 2105.05486): `imgs` and `anns` are objects by id; an annotation has `utf8_string` and
`points` (x, y, x, y, ...), in pixels. A word that could not be read is "." and is left out. Words point at their
pictures, so all of them are held until the file has been read. A word's place in the list stands for its order.

    {"id": "a_1", "image_id": "a", "utf8_string": "EXIT", "points": [1, 2, 9, 2, 9, 5, 1, 5]}
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated.fields import (
    annotation,
    as_list,
    as_text,
    clean,
    each,
    identified,
    line,
    quad,
    size,
)
from reelmill.pipelines.sources.annotated.json_stream import elements
from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.pipelines.sources.annotated.release_files import split_of
from reelmill.schemas.annotation import Annotation
from reelmill.schemas.errors import Unusable
from reelmill.schemas.media import Kind
from reelmill.schemas.text import TextLine

LICENCE = "CC-BY-4.0"
EXPECTS = "TextOCR_0.1_train.json or TextOCR_0.1_val.json"
UNREADABLE = "."


def read(path: Path) -> Iterator[Annotation | Refused]:
    """An annotation per picture of `imgs`; a picture with a word that cannot be understood is refused."""
    words: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
    for word in _values(path, "anns"):
        if isinstance(word, dict):
            words[str(word.get("image_id"))].append((word.get("utf8_string"), word.get("points")))

    def make(row: dict[str, Any]) -> Annotation:
        original_id = identified(row, "id")
        name = row.get("file_name", row.get("filename"))  # the file says the first, its description the second
        return dataclasses.replace(
            annotation(f"textocr:{path.stem}", original_id, as_text(name, "file_name"), Kind.IMAGE),
            split=clean(str(row.get("set") or split_of(path.stem))),
            licence=LICENCE,
            width_px=size(row.get("width"), "width"),
            height_px=size(row.get("height"), "height"),
            texts=tuple(_line(word, i) for i, word in enumerate(words[original_id]) if word[0] != UNREADABLE),
        )

    return each(_values(path, "imgs"), make, "id")


def _values(path: Path, section: str) -> Iterator[Any]:
    """Values of an object by id."""
    return (pair[1] if isinstance(pair, tuple) else pair for pair in elements(path, section))


def _line(word: tuple[Any, Any], order: int) -> TextLine:
    flat = as_list(word[1], "points")
    if len(flat) % 2:
        raise Unusable("bad_box", f"points are {len(flat)} numbers, want pairs")
    corners = quad([flat[i : i + 2] for i in range(0, len(flat), 2)], "points")
    return line(as_text(word[0], "utf8_string"), corners, order)
