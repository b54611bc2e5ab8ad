"""What stands in one row of a set, checked: a field that is missing, of another type or impossible refuses its row, by
name. All readers share these, so that one fault has one name in every set.

each([{"id": 1}], make)                          gives an annotation per row, or Refused with what was wrong
corners(2, 3, 10, 10), span_of(3.0, 2.0)         a box of 10 by 10 px; Unusable("falling_times")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.schemas.annotation import Annotation, Region, Stated
from reelmill.schemas.errors import Unusable, UserError
from reelmill.schemas.media import Kind
from reelmill.schemas.provenance import UNMEASURED
from reelmill.schemas.sample import Turn
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box, Tube

HUMAN, IMPORTED = "human", "imported"
"""Methods: what persons said of a medium, and what a set holds, whoever made it."""
MISSHAPEN = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What code that expects one shape of row raises at another."""
_SHOWN = 80
_MOST_PX = 1 << 31


# ---- rows ------------------------------------------------------------------------------------------------------------


def each(
    rows: Iterable[Any], make: Callable[[dict[str, Any]], Annotation], *ids: str
) -> Iterator[Annotation | Refused]:
    """`make` of every row, or why it cannot be used, as `taken` has it; a row that is no object is Refused. `ids` are
    the fields that may hold a row's id, the first that does is named."""
    for row in rows:
        if isinstance(row, Refused):
            yield row
        else:
            yield taken(_named(row, ids), partial(_made, make, row))


def _made(make: Callable[[dict[str, Any]], Annotation], row: Any) -> Annotation:
    return make(as_object(row, "the row"))


def _named(row: Any, ids: Sequence[str]) -> str:
    held = [row.get(name) for name in ids] if isinstance(row, dict) else []
    return next((clean(str(v)) for v in held if isinstance(v, str | int) and not isinstance(v, bool)), "")


def taken(original_id: str, make: Callable[[], Annotation]) -> Annotation | Refused:
    """What `make` gives, or why it cannot be used: the reason it names, `malformed` for a row of another shape,
    `unreadable` where a file that belongs to the row is not there or broken."""
    try:
        return make()
    except Unusable as judgement:
        return Refused(original_id, judgement.reason, judgement.detail)
    except UserError as trouble:
        return Refused(original_id, "unreadable", str(trouble)[:300])
    except MISSHAPEN as error:
        return Refused(original_id, "malformed", f"{type(error).__name__}: {error}"[:300])


def each_stated(
    original_id: str, rows: Iterable[Any], make: Callable[[Any], Stated]
) -> tuple[tuple[Stated, ...], tuple[Refused, ...]]:
    """Every sentence of a medium on its own: those that can be used, and `ID#number` for each that cannot."""
    good: list[Stated] = []
    bad: list[Refused] = []
    for place, row in enumerate(rows):
        try:
            good.append(make(row))
        except Unusable as judgement:
            bad.append(Refused(f"{original_id}#{place}", judgement.reason, judgement.detail))
        except MISSHAPEN as error:
            bad.append(Refused(f"{original_id}#{place}", "malformed", f"{type(error).__name__}: {error}"[:300]))
    return tuple(good), tuple(bad)


def annotation(
    source_set: str,
    original_id: str,
    media_uri: str,
    kind: Kind = Kind.VIDEO,
    *,
    split: str = "",
    licence: str = "",
    size: tuple[int | None, int | None] = (None, None),
    duration_s: float | None = None,
    stated: Iterable[Stated] = (),
    regions: Iterable[Region] = (),
    tubes: Iterable[Tube] = (),
    texts: Iterable[TextLine] = (),
    turns: Iterable[Turn] = (),
) -> Annotation:
    """What a set says of a medium, with empty parts where it says nothing. `size` is (width, height) in pixels."""
    return Annotation(
        source_set=clean(source_set),
        original_id=original_id,
        split=split,
        licence=licence,
        media_uri=clean(media_uri),
        kind=kind,
        width_px=size[0],
        height_px=size[1],
        duration_s=duration_s,
        stated=tuple(stated),
        regions=tuple(regions),
        tubes=tuple(tubes),
        texts=tuple(texts),
        turns=tuple(turns),
        rejected=(),
    )


# ---- texts -----------------------------------------------------------------------------------------------------------


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


def _text(value: Any, what: str, reason: str) -> str:
    """A text with something in it, that Arrow can hold."""
    if not isinstance(value, str) or not value.strip():
        raise Unusable(reason, f"{what} is {shown(value)}")
    return clean(value)


def as_text(value: Any, what: str) -> str:
    """A text with something in it. Raises Unusable("no_text")."""
    return _text(value, what, "no_text")


def sentence(value: Any) -> str:
    """A text with its spaces tidied. Raises Unusable("empty_text")."""
    return " ".join(_text(value, "the text", "empty_text").split())


def identified(row: dict[str, Any], name: str) -> str:
    """An id: a text or a whole number, as text."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise Unusable("no_id", f"{name} is {shown(value)}")
    return clean(str(value))


# ---- numbers, times, sizes -------------------------------------------------------------------------------------------


def number(value: Any, what: str) -> float:
    """A finite number. Raises Unusable("not_a_number"), also for NaN, infinities, booleans and text."""
    try:
        found = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        found = math.inf  # JSON allows whole numbers of any length
    if not math.isfinite(found):
        raise Unusable("not_a_number", f"{what} is {str(value)[:60]!r}")
    return found


def span_of(start_s: Any, end_s: Any) -> Span:
    """Two times in seconds. Raises Unusable: not_a_number, negative_time, falling_times."""
    start, end = number(start_s, "the start"), number(end_s, "the end")
    if start < 0:
        raise Unusable("negative_time", f"from {start} s to {end} s")
    if end <= start:
        raise Unusable("falling_times", f"from {start} s to {end} s")
    return Span(start, end)


def frames_span(begin: Any, end: Any, fps: float) -> Span:
    """Frames `[begin, end)`, counted from 0, in seconds of a medium of constant rate. Raises Unusable as `span_of`."""
    return span_of(number(begin, "the first frame") / fps, number(end, "the last frame") / fps)


def rate(value: Any) -> float:
    """Frames a second. Raises Unusable("no_frame_rate") where frames cannot become seconds."""
    fps = number(value, "the frame rate")
    if fps <= 0:
        raise Unusable("no_frame_rate", f"{fps} frames a second")
    return fps


def size_of(width: Any, height: Any) -> tuple[int, int]:
    """Pixels of a frame. Raises Unusable: not_a_number, impossible_size (not above zero, or past 31 bits)."""
    size = (int(number(width, "the width")), int(number(height, "the height")))
    if not all(0 < side < _MOST_PX for side in size):
        raise Unusable("impossible_size", f"{size[0]:.3g} x {size[1]:.3g} px")
    return size


def size(value: Any, what: str) -> int | None:
    """A width or height in pixels; None where the set gives none. Raises Unusable as `size_of`."""
    return None if value is None else size_of(number(value, what), 1)[0]


# ---- places ----------------------------------------------------------------------------------------------------------


def corners(x: Any, y: Any, width: Any, height: Any) -> Box:
    """A box given by its upper left corner and its size. Raises Unusable: not_a_number, empty_box."""
    left, top = number(x, "x"), number(y, "y")
    return box_of(left, top, left + number(width, "the width"), top + number(height, "the height"))


def box_of(x0: Any, y0: Any, x1: Any, y1: Any) -> Box:
    """A box given by two corners, in pixels. Raises Unusable: not_a_number, empty_box."""
    box = Box(number(x0, "x0"), number(y0, "y0"), number(x1, "x1"), number(y1, "y1"))
    if box.x1_px <= box.x0_px or box.y1_px <= box.y0_px:
        raise Unusable("empty_box", f"from ({box.x0_px}, {box.y0_px}) to ({box.x1_px}, {box.y1_px})")
    return box


def numbers(value: Any, count: int, what: str) -> list[float]:
    """`count` numbers in a list, such as a picture can have. Raises Unusable("bad_box")."""
    try:
        held = [number(v, what) for v in value] if isinstance(value, list | tuple) else []
    except Unusable:
        held = []
    if len(held) != count or not all(abs(v) < _MOST_PX for v in held):
        raise Unusable("bad_box", f"{what} is {shown(value)}, want {count} finite numbers")
    return held


def xywh(value: Any, what: str = "bbox") -> Box:
    """A box given as a list of left, top, width, height: COCO, LVIS, RefCOCO, Visual Genome."""
    return corners(*numbers(value, 4, what))


def xyxy(value: Any, what: str = "bbox") -> Box:
    """A box given as a list of its corners: ms-swift."""
    return box_of(*numbers(value, 4, what))


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
    return TextLine(text, corners, UNMEASURED, order, 0, 0.0, IMPORTED)


def tube_of(
    tube_id: str, phrase: str, boxes: Mapping[float, Box], size: tuple[int | None, int | None], frame_s: float
) -> Tube:
    """One thing's boxes by the time of their frames; each frame lasts `frame_s`. `size` is (width, height), 0 unknown.

    Raises Unusable("empty_tube") where no frame has a box.
    """
    if not boxes:
        raise Unusable("empty_tube", f"no frame has a box of {tube_id!r}")
    at_s = tuple(sorted(boxes))
    width, height = size
    found = tuple(boxes[t] for t in at_s)
    return Tube(tube_id, phrase, at_s, found, width or 0, height or 0, at_s[-1] + frame_s, UNMEASURED, HUMAN)
