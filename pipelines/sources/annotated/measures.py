"""What the readers share: times, boxes, tubes and files of a set, taken into the house's units or refused by name.

Everything here raises `Unusable` with a short reason; `taken` turns that into the Refused of one row, so that a reader
is a loop over rows and never stops at a bad one.

>>> corners(10, 20, 30, 40)
Box(x0_px=10.0, y0_px=20.0, x1_px=40.0, y1_px=60.0)
>>> taken("7", lambda: annotation("demo", "7", "a.mp4", stated=(Stated("it rains", span_of(3, 1), ""),)))
Refused(original_id='7', reason='falling_times', detail='from 3.0 s to 1.0 s')
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reelmill.pipelines.sources.annotated.reading import Refused
from reelmill.schemas.annotation import Annotation, Region, Stated
from reelmill.schemas.errors import BadInput, NotFound, Unusable, UserError
from reelmill.schemas.media import Kind
from reelmill.schemas.sample import Turn
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box, Tube

METHOD = "human"
MISSHAPEN = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What code that expects one shape of row raises at another."""
UNMEASURED = 0.5
"""The confidence of a claim whose error nobody has measured, as in `captioned`."""


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


def size_of(width: Any, height: Any) -> tuple[int, int]:
    """Pixels of a frame. Raises Unusable: not_a_number, impossible_size (not above zero, or past 31 bits)."""
    size = (int(number(width, "the width")), int(number(height, "the height")))
    if not all(0 < side < 1 << 31 for side in size):
        raise Unusable("impossible_size", f"{size[0]:.3g} x {size[1]:.3g} px")
    return size


def frames_span(begin: Any, end: Any, fps: float) -> Span:
    """Frames `[begin, end)`, counted from 0, in seconds of a medium of constant rate. Raises Unusable as `span_of`."""
    return span_of(number(begin, "the first frame") / fps, number(end, "the last frame") / fps)


def rate(value: Any) -> float:
    """Frames a second. Raises Unusable("no_frame_rate") where frames cannot become seconds."""
    fps = number(value, "the frame rate")
    if fps <= 0:
        raise Unusable("no_frame_rate", f"{fps} frames a second")
    return fps


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
    return Tube(tube_id, phrase, at_s, found, width or 0, height or 0, at_s[-1] + frame_s, UNMEASURED, METHOD)


def sentence(value: Any) -> str:
    """A text with its spaces tidied. Raises Unusable("empty_text")."""
    if not isinstance(value, str) or not value.strip():
        raise Unusable("empty_text", f"the text is {value!r}"[:200])
    return " ".join(value.split())


def annotation(
    source_set: str,
    original_id: str,
    media_uri: str,
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
    """What a set says of a video, with empty parts where it says nothing. `size` is (width, height) in pixels."""
    return Annotation(
        source_set=source_set,
        original_id=original_id,
        split=split,
        licence=licence,
        media_uri=media_uri,
        kind=Kind.VIDEO,
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


def json_of(path: Path, kind: type[dict[Any, Any]] | type[list[Any]]) -> Any:
    """A whole JSON file (held in memory while it is read) whose top is a `kind`. Raises NotFound, BadInput."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise NotFound(f"annotations {str(path)!r}", seen=str(error.strerror), do="check the path") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"annotations {str(path)!r}", seen=f"no JSON: {error}", do="check the file") from error
    if not isinstance(found, kind):
        seen = f"{type(found).__name__} at the top, want {kind.__name__}"
        raise BadInput(f"annotations {str(path)!r}", seen=seen, do="name the file of this set, or another set")
    return found


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file with something on them, and their numbers from 1; undecodable bytes show as U+FFFD.

    Raises NotFound."""
    try:
        stream = path.open(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise NotFound(f"annotations {str(path)!r}", seen=str(error.strerror), do="check the path") from error
    with stream:
        for place, line in enumerate(stream, 1):
            if line.strip():
                yield place, line.rstrip("\r\n")


def files_of(path: Path, *patterns: str) -> list[Path]:
    """`path` itself where it is a file, else the files below it that fit a pattern, sorted. Raises NotFound."""
    if path.is_file():
        return [path]
    found = sorted({f for pattern in patterns for f in path.rglob(pattern) if f.is_file()})
    if not found:
        raise NotFound(f"annotations in {str(path)!r}", seen=f"no {' or '.join(patterns)}", do="check the path")
    return found


def split_of(path: Path) -> str:
    """The split that a file's name tells of, "" where it tells none.

    >>> split_of(Path("val_annotations.json")), split_of(Path("charades_sta_train.txt")), split_of(Path("x.json"))
    ('val', 'train', '')
    """
    words = path.stem.replace("-", "_").replace(".", "_").lower().split("_")
    return next((w for w in words if w in ("train", "val", "test", "validation", "valid", "trainval")), "")
