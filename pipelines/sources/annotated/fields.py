"""What stands in one row of a set, checked: a field that is missing or of another type refuses its row, with a name.

each([{"id": 1}], make)      gives an annotation per row, or Refused with what was wrong
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.schemas.annotation import Annotation
from reelmill.schemas.errors import Unusable
from reelmill.schemas.media import Kind
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box

METHOD = "imported"
UNMEASURED = 0.5
"""Confidence of what a set claims: whoever made it, nobody measured it here."""
_SHOWN = 80


def each(
    rows: Iterable[Any], make: Callable[[dict[str, Any]], Annotation], *ids: str
) -> Iterator[Annotation | Refused]:
    """`make` of every row; what it raises as Unusable, and a row that is no object, is Refused. `ids` are the fields
    that may hold a row's id, the first that does is named."""
    for row in rows:
        if isinstance(row, Refused):
            yield row
            continue
        try:
            yield make(as_object(row, "the row"))
        except Unusable as no:
            yield Refused(_named(row, ids), no.reason, no.detail)


def _named(row: Any, ids: Sequence[str]) -> str:
    held = [row.get(name) for name in ids] if isinstance(row, dict) else []
    return next((clean(str(v)) for v in held if isinstance(v, str | int) and not isinstance(v, bool)), "")


def clean(text: str) -> str:
    """Text that Arrow can hold: a lone surrogate, which JSON can spell, becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def shown(value: Any) -> str:
    """A value as a refusal tells of it, cut."""
    return clean(repr(value))[:_SHOWN]


def as_object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unusable("wrong_type", f"{what} is {shown(value)}, want an object")
    return value


def as_list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise Unusable("wrong_type", f"{what} is {shown(value)}, want a list")
    return value


def as_text(value: Any, what: str) -> str:
    """A text with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise Unusable("no_text", f"{what} is {shown(value)}")
    return clean(value)


def identified(row: dict[str, Any], name: str) -> str:
    """An id: a text or a whole number, as text."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise Unusable("no_id", f"{name} is {shown(value)}")
    return clean(str(value))


def size(value: Any, what: str) -> int | None:
    """A width or height in pixels; None where the set gives none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or not 0 < value < 1e6:
        raise Unusable("bad_size", f"{what} is {shown(value)}")
    return round(value)


def numbers(value: Any, count: int, what: str) -> list[float]:
    """`count` finite numbers."""
    held = value if isinstance(value, list | tuple) else []
    good = [float(v) for v in held if isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e9]
    if len(held) != count or len(good) != count or not all(map(math.isfinite, good)):
        raise Unusable("bad_box", f"{what} is {shown(value)}, want {count} finite numbers")
    return good


def xywh(value: Any, what: str = "bbox") -> Box:
    """A box given as left, top, width, height: COCO, LVIS, RefCOCO, Visual Genome."""
    x, y, width, height = numbers(value, 4, what)
    return _filled(Box(x, y, x + width, y + height), what)


def xyxy(value: Any, what: str = "bbox") -> Box:
    """A box given as its corners: ms-swift."""
    return _filled(Box(*numbers(value, 4, what)), what)


def _filled(box: Box, what: str) -> Box:
    """Sides, not the area, are compared: the product of two tiny sides is 0 in floats."""
    if not (box.x1_px > box.x0_px and box.y1_px > box.y0_px):
        raise Unusable("empty_box", f"{what} is ({box.x0_px:g}, {box.y0_px:g}, {box.x1_px:g}, {box.y1_px:g})")
    return box


def quad(points: Any, what: str) -> tuple[float, ...]:
    """Four corners of a list of [x, y]; of a polygon of more, the corners of its upright box, from the top left."""
    pairs = [numbers(p, 2, what) for p in as_list(points, what)]
    if len(pairs) < 3:
        raise Unusable("bad_box", f"{what} has {len(pairs)} corners")
    if len(pairs) == 4:
        return tuple(v for pair in pairs for v in pair)
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    return (left, top, right, top, right, bottom, left, bottom)


def line(text: str, corners: tuple[float, ...], order: int) -> TextLine:
    """A text of a picture as the set transcribes it."""
    return TextLine(text, corners, UNMEASURED, order, 0, 0.0, METHOD)


def split_of(stem: str) -> str:
    """The split that a file's name tells of, "" where it tells of none.

    >>> split_of("instances_val2017"), split_of("TextVQA_0.5.1_train"), split_of("llava_665k")
    ('val', 'train', '')
    """
    found = re.findall(r"(?<![a-z])(train|val|test)(?![a-z])", stem.lower().replace("validation", "val"))
    return found[-1] if found else ""


def blank(source_set: str, original_id: str, media_uri: str, kind: Kind = Kind.IMAGE) -> Annotation:
    """An annotation that says nothing yet."""
    return Annotation(
        source_set=clean(source_set),
        original_id=original_id,
        split="",
        licence="",
        media_uri=clean(media_uri),
        kind=kind,
        width_px=None,
        height_px=None,
        duration_s=None,
        stated=(),
        regions=(),
        tubes=(),
        texts=(),
        turns=(),
        rejected=(),
    )
