"""What of an annotation can be used: each sentence, box, tube, text and dialogue is judged, and the bad ones named.

A set with one wrong end in ten sentences is worth its nine others. So parts are left out one by one, each with its
reason, and a row is rejected where nothing of it is left (with the reason of its first part), or where it is wrong as a
whole. Reasons:

    duplicate_id          the same id stood before in this set
    no_medium             it names no medium
    impossible_size       a declared size or duration is not above zero
    says_nothing          it has no part at all
    span_beyond_duration  a time lies beyond the declared end (defect D3 of the recipes' register)
    falling_times         an end that is not after its start
    times_and_places      a turn whose `<time>` and times, or `<box>` and boxes, are not as many
    empty_text            a text without a letter or sign
    empty_box             a box or mask without area (defect D12)
    box_outside_frame     a box beyond the declared frame
    answer_is_no_option   an answer to a question with options that is none of them (defect D13; see `choices`)
    answer_differs_from_its_option    its letter and its words name two
    options_alike         two options of a question are the same

What the set declares too little for is not judged and stands in `unchecked`: duration, frame_size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row
from reelmill.pipelines.sources.annotated.choices import choice_fault
from reelmill.pipelines.sources.annotated.source import AGAIN, ORIGINAL
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation, LeftOut, Region, Stated
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.sample import Role, Turn
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box, Tube

ANNOTATION = Column.of("annotation", Annotation)
LEFT_OUT = Column.of("left_out", tuple[LeftOut, ...])
UNCHECKED = Column.of("unchecked", tuple[str, ...])

PARTS = ("stated", "regions", "tubes", "texts", "turns", "rejected")
_SLACK_S = 1e-6
_ROUNDING_PX = 1.0
"""How far a box of a picture may pass the edge: sets write corners and sizes that were rounded each for itself."""

Fault = tuple[str, str]


@dataclass(frozen=True)
class ValidateAnnotation:
    """Adds the annotation without its bad parts, those parts with their reasons, and what could not be judged."""

    needs: ClassVar[tuple[Column, ...]] = (KEY, ORIGINAL, AGAIN)
    gives: ClassVar[tuple[Column, ...]] = (ANNOTATION, LEFT_OUT, UNCHECKED)
    revision: ClassVar[str] = "2"
    resources: ClassVar[Resources] = Resources(rows_per_commit=256)

    def setup(self) -> None: ...

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        original: Annotation = arrow.typed(Annotation, row["original"])
        if row["again"]:
            raise Unusable("duplicate_id", f"{original.original_id!r} stood {row['again']} times before")
        sound, left_out = judged(original)
        return {"annotation": sound, "left_out": left_out, "unchecked": unchecked(original)}


def judged(one: Annotation) -> tuple[Annotation, tuple[LeftOut, ...]]:
    """An annotation without its bad parts, and those parts. Raises Unusable where nothing can be used."""
    _require_whole(one)
    left_out = tuple(_left_out(one))
    bad = {(out.part, out.number) for out in left_out}
    kept: dict[str, Any] = {
        part: tuple(item for n, item in enumerate(getattr(one, part)) if (part, n) not in bad) for part in PARTS
    }
    if any(part in ("turns", "rejected") for part, _ in bad):  # a dialogue with a hole in it is another dialogue
        kept |= {"turns": (), "rejected": ()}
    if not any(kept.values()):
        first = left_out[0]
        raise Unusable(first.reason, f"{one.original_id}: {first.part}[{first.number}]: {first.detail}")
    tubes = {tube.tube_id for tube in kept["tubes"]}
    kept["stated"] = tuple(s if s.tube_id in tubes else replace(s, tube_id="") for s in kept["stated"])
    return replace(one, **kept), left_out


def _require_whole(one: Annotation) -> None:
    if not one.media_uri.strip():
        raise Unusable("no_medium", f"{one.original_id!r} names no medium")
    declared = {"width_px": one.width_px, "height_px": one.height_px, "duration_s": one.duration_s}
    wrong = [f"{name} = {value}" for name, value in declared.items() if value is not None and not value > 0]
    if wrong:
        raise Unusable("impossible_size", f"{one.original_id}: {', '.join(wrong)}")
    if not any(getattr(one, part) for part in PARTS):
        raise Unusable("says_nothing", f"{one.original_id!r} has no sentence, box, tube, text or dialogue")


def unchecked(one: Annotation) -> tuple[str, ...]:
    """What could not be judged, since the set declares no duration or no frame size."""
    timed = any(s.span for s in one.stated) or any(t.src_s or t.tgt_s for t in (*one.turns, *one.rejected))
    placed = one.regions or one.texts or any(t.boxes for t in (*one.turns, *one.rejected))
    followed = any(not tube.frame_width_px for tube in one.tubes)
    missing = {
        "duration": one.duration_s is None and (timed or bool(one.tubes)),
        "frame_size": bool(one.width_px is None and placed) or followed,
    }
    return tuple(name for name, is_so in missing.items() if is_so)


def _left_out(one: Annotation) -> Iterator[LeftOut]:
    judges: dict[str, Callable[[Annotation, Any], Iterator[Fault]]] = {
        "stated": _stated_faults,
        "regions": _region_faults,
        "tubes": _tube_faults,
        "texts": _text_faults,
        "turns": _turn_faults,
        "rejected": _turn_faults,
    }
    for part, judge in judges.items():
        for number, item in enumerate(getattr(one, part)):
            fault = next(judge(one, item), None)
            if fault is not None:
                yield LeftOut(one.original_id, part, number, *fault)
    for number, (question, answer) in enumerate(pairwise(one.turns), 1):
        if (question.role, answer.role) == (Role.USER, Role.ASSISTANT):
            fault = choice_fault(question.text, answer.text)
            if fault is not None:
                yield LeftOut(one.original_id, "turns", number, *fault)


def _stated_faults(one: Annotation, stated: Stated) -> Iterator[Fault]:
    yield from _wordless(stated.text)
    if stated.span is not None:
        yield from _late(one, stated.span.end_s)


def _region_faults(one: Annotation, region: Region) -> Iterator[Fault]:
    if not region.phrase.strip() and not region.category.strip():
        yield "empty_text", "neither phrase nor category"
    yield from _misplaced(region.box, one.width_px, one.height_px)


def _text_faults(one: Annotation, text: TextLine) -> Iterator[Fault]:
    yield from _wordless(text.text)
    yield from _misplaced(text.box, one.width_px, one.height_px)


def _tube_faults(one: Annotation, tube: Tube) -> Iterator[Fault]:
    """Boxes of a tube may hang over the edge (MOTChallenge's do, by its rules), but must have a part inside."""
    width, height = tube.frame_width_px or one.width_px, tube.frame_height_px or one.height_px
    for at_s, box in zip(tube.at_s, tube.boxes, strict=True):
        if box.area_px <= 0:
            yield "empty_box", f"{_said(box)} at {at_s} s"
        elif width and height and box.clipped(width, height).area_px <= 0:
            yield "box_outside_frame", f"{_said(box)} at {at_s} s in a frame of {width} x {height}"
    yield from _late(one, tube.at_s[-1])


def _turn_faults(one: Annotation, turn: Turn) -> Iterator[Fault]:
    yield from _wordless(turn.text)
    times_s = (*turn.src_s, *turn.tgt_s)
    if len(times_s) != 2 * turn.text.count("<time>") or turn.text.count("<box>") not in (0, len(turn.boxes)):
        yield "times_and_places", f"{len(times_s)} times, {len(turn.boxes)} boxes for {turn.text[:80]!r}"
    for start_s, end_s in zip(times_s[0::2], times_s[1::2], strict=False):
        if not 0.0 <= start_s < end_s:
            yield "falling_times", f"from {start_s} s to {end_s} s"
        yield from _late(one, end_s)
    for box in turn.boxes:
        yield from _misplaced(box, one.width_px, one.height_px)


def _wordless(text: str) -> Iterator[Fault]:
    if not text.strip():
        yield "empty_text", f"the text is {text!r}"


def _late(one: Annotation, at_s: float) -> Iterator[Fault]:
    if one.duration_s is not None and at_s > one.duration_s + _SLACK_S:
        yield "span_beyond_duration", f"{at_s} s in a medium of {one.duration_s} s"


def _misplaced(box: Box, width_px: int | None, height_px: int | None) -> Iterator[Fault]:
    if box.area_px <= 0:
        yield "empty_box", _said(box)
    if width_px is None or height_px is None:
        return
    over = (-box.x0_px, -box.y0_px, box.x1_px - width_px, box.y1_px - height_px)
    if max(over) > _ROUNDING_PX:
        yield "box_outside_frame", f"{_said(box)} in a frame of {width_px} x {height_px}"


def _said(box: Box) -> str:
    return f"({box.x0_px:g}, {box.y0_px:g}) to ({box.x1_px:g}, {box.y1_px:g})"


def reasons(left_out: Iterable[LeftOut], part: str) -> dict[int, LeftOut]:
    """The bad ones of one part, by their place in it."""
    return {out.number: out for out in left_out if out.part == part}
