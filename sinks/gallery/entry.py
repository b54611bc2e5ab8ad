"""What an article shows of a sample: a few frames with their boxes, the time-line, the words, and both sides of a pair.

>>> [f for f in evenly(range(9), 3)]
[0, 4, 8]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from reelmill.schemas.media import FrameRef
from reelmill.schemas.sample import GroundedSample, PreferenceSample, Sample, StreamSample, Turn
from reelmill.schemas.tube import Box
from reelmill.sinks.gallery.evidence import Evidence, near
from reelmill.sinks.gallery.sides import Side, perturbed, sides
from reelmill.sinks.gallery.timeline import Track, percent, spans, tracks
from reelmill.sinks.gallery.words import Marks, Said, box_marks, pixels, said
from reelmill.sinks.publishing.frames import StoredFrames
from reelmill.sinks.publishing.packed import MadeBy, made_by
from reelmill.sinks.publishing.view import split_of

FRAMES_SHOWN = 8
_TAGS = 40
"""So many boxes of a frame carry their mark; more would hide the frame."""
_MARGIN, _MARGIN_ALONE = 0.15, 0.07
"""A mark stands beside its box where the box leaves this share of the frame free for it, else over its corner: frames
of a film are some 150 pixels wide, a picture alone 340 on a phone, and a mark 20."""
_NAME_SIGNS = 80
_CLOSE_UPS = 4
_SMALL = 0.15
"""A box of at most this share of its picture is shown enlarged as well."""
_ROOM = 0.35
"""Around a close-up stays this share of the box's height."""
_BADGE = {
    MadeBy.RULES: "rule-made label",
    MadeBy.MODEL: "model-made label",
    MadeBy.TRUTH: "exact truth",
    MadeBy.HUMAN: "label by a person",
    MadeBy.IMPORTED: "label of an existing set",
}
_NAMED = {
    "user": "box of the question, Q",
    "assistant": "box of the answer, A",
    "rejected": "box of the rejected side, R",
    "said": "tube of the sample, T",
    "tube": "tube of the evidence",
    "line": "another line that was read",
}
Item = TypeVar("Item")


class PictureSource(Protocol):
    """Makes a stored frame available to a page and names it as the page's `src` does."""

    frames: StoredFrames

    def src(self, ref: FrameRef) -> str: ...


@dataclass(frozen=True, slots=True)
class Drawn:
    """A box on a frame, in shown pixels, with what it is. `mark` is written at `place`, in percent of the frame."""

    box: Box
    name: str
    kind: str
    mark: str = ""
    place: str = ""
    left_pc: float = 0.0
    top_pc: float = 0.0


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame as it is shown. `inside` and `asked` say that its time lies in a span of an answer, of a question."""

    src: str
    at_s: float
    width_px: int
    height_px: int
    inside: bool
    asked: bool
    boxes: tuple[Drawn, ...]

    @property
    def alt(self) -> str:
        """The picture in words: its time, and what is boxed in it."""
        named = [f"{d.mark} {pixels(d.box)}" for d in self.boxes if d.mark]
        return f"frame at {self.at_s:.2f} s" + (f" with {'; '.join(named[:_TAGS])}" if named else "")


@dataclass(frozen=True, slots=True)
class CloseUp:
    """A part of a picture, to be shown enlarged: its size in pixels, the whole picture's width in percent of its own,
    and its corner in percent of the whole picture."""

    mark: str
    src: str
    width_px: float
    height_px: float
    scale_pc: float
    left_pc: float
    top_pc: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample with all that its article shows. `kinds` are the sorts of boxes on its frames, with their names."""

    sample: Sample
    split: str
    badge: str
    shots: tuple[Shot, ...]
    num_frames: int
    kinds: tuple[tuple[str, str], ...]
    close_ups: tuple[CloseUp, ...]
    tracks: tuple[Track, ...]
    ticks: tuple[float, ...]
    turns: tuple[Said, ...]
    sides: tuple[Side, ...]
    made_wrong: str

    @property
    def reads(self) -> bool:
        """One picture alone, which is shown at a size at which its words can be read."""
        return len(self.shots) == 1

    @property
    def heads(self) -> int:
        """How many events the evidence tells of."""
        return sum(bool(t.head) for t in self.tracks)


def entry_of(sample: Sample, evidence: Evidence, pictures: PictureSource, most: int = FRAMES_SHOWN) -> Entry:
    """What an article shows of a sample, with at most so many of its frames."""
    told = [e for e in evidence.events.get(sample.parent_key, ()) if _told(e, sample)]
    events = sorted(told, key=lambda e: (str(e["verdict"]["state"]), e["span"]["start_s"], e["key"]))
    subjects = {e["subject_id"] for e in events if e["key"] in sample.evidence}
    shots = tuple(_shot(sample, ref, evidence, subjects, pictures) for ref in chosen_frames(sample, most))
    moving = sample.media.duration_s > 0
    pair = sample if isinstance(sample, PreferenceSample) else None
    drawn = {d.kind for shot in shots for d in shot.boxes}
    return Entry(
        sample=sample,
        split=split_of(sample.media.digest),
        badge=_BADGE[made_by(sample.method, (p.method for p in sample.provenance))],
        shots=shots,
        num_frames=len(sample.frames),
        kinds=tuple((kind, name) for kind, name in _NAMED.items() if kind in drawn),
        close_ups=tuple(_close_ups(shots[0])) if len(shots) == 1 else (),
        tracks=tracks(sample, events) if moving else (),
        ticks=tuple(percent(f.at_s, sample) for f in sample.frames) if moving else (),
        turns=said(sample, sample.turns[: len(sample.turns) - len(pair.rejected)] if pair else sample.turns),
        sides=sides(pair) if pair else (),
        made_wrong=perturbed(pair.perturbation) if pair else "",
    )


def _told(event: dict[str, Any], sample: Sample) -> bool:
    """Events that the answer rests on, and the refused ones of the same clip."""
    return event["key"] in sample.evidence or event["verdict"]["state"] == "rejected"


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many, first and last among them, at even distances; of one, the middle."""
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[len(items) // 2]]
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def chosen_frames(sample: Sample, most: int) -> list[FrameRef]:
    """At most so many frames in order. Up to half are those that show what is said (edges of spans, boxes of tubes,
    when a turn is said), the rest even ones: a short span between two even frames would be seen nowhere."""
    frames = sample.frames
    if len(frames) <= most:
        return list(frames)
    telling = sorted({min(range(len(frames)), key=lambda i: abs(frames[i].at_s - t)) for t in _telling(sample)})
    chosen = set(evenly(telling, most // 2))
    even = evenly(range(len(frames)), most)
    while len(chosen) < most:
        chosen.add(max(even, key=lambda i: min((abs(i - c) for c in chosen), default=0)))
        even = [i for i in even if i not in chosen] or [i for i in range(len(frames)) if i not in chosen]
    return [frames[i] for i in sorted(chosen)]


def _telling(sample: Sample) -> Iterator[float]:
    """Times that a sample says something of, in seconds: of spans just inside their edges."""
    for turn in sample.turns:
        for span in spans((*turn.src_s, *turn.tgt_s)):
            inset_s = min(0.25, span.duration_s / 2)  # half the usual distance of two shown frames
            yield from (span.start_s + inset_s, span.end_s - inset_s)
    if isinstance(sample, GroundedSample):
        yield from (t for tube in sample.tubes for t in tube.at_s)
    if isinstance(sample, StreamSample):
        yield from sample.turns_at_s


def _shot(sample: Sample, ref: FrameRef, evidence: Evidence, subjects: set[str], pictures: PictureSource) -> Shot:
    media = sample.media
    size_px = (media.width_px, media.height_px)
    margin = _MARGIN_ALONE if len(sample.frames) == 1 else _MARGIN
    boxes = [_marked(d, size_px, margin) for d in _own_boxes(sample, ref)]
    drawn = _proven(sample, ref, evidence, subjects, pictures) + boxes[:_TAGS]
    drawn += [Drawn(d.box, d.name, d.kind) for d in boxes[_TAGS:]]
    inside, asked = (_within(sample, ref.at_s, side) for side in ("tgt_s", "src_s"))
    return Shot(pictures.src(ref), ref.at_s, *size_px, inside, asked, tuple(drawn))


def _within(sample: Sample, at_s: float, side: str) -> bool:
    return any(s.start_s <= at_s < s.end_s for turn in sample.turns for s in spans(getattr(turn, side)))


def _proven(
    sample: Sample, ref: FrameRef, evidence: Evidence, subjects: set[str], pictures: PictureSource
) -> list[Drawn]:
    """What the evidence boxed in a frame; of lines of text those that the sample does not box itself."""
    size_px = (sample.media.width_px, sample.media.height_px)
    tubes = evidence.boxes(sample.parent_key, ref.at_s, subjects, size_px)
    lines: list[tuple[str, Box]] = []
    if sample.parent_key in evidence.texts:
        stored = pictures.frames.find(ref)
        lines = evidence.lines(sample.parent_key, ref.frame, (stored.width_px, stored.height_px), size_px)
    own = [box for turn in sample.turns for box in turn.boxes]
    others = [(text, box) for text, box in lines if all(box.iou(o) < 0.9 for o in own)]
    return [*(Drawn(b, phrase, "tube") for phrase, b in tubes), *(Drawn(b, text, "line") for text, b in others)]


def _own_boxes(sample: Sample, ref: FrameRef) -> Iterator[Drawn]:
    """The boxes and tubes that a sample's own words stand for, on one of its frames."""
    marks = Marks()
    for turn in sample.turns:
        marked = box_marks(turn, marks)
        if _on(turn, ref, sample):
            yield from (Drawn(b, _short(turn.text), str(turn.role), mark) for mark, b in marked)
    if isinstance(sample, PreferenceSample):
        marks = Marks(rejected=True)
        for turn in sample.rejected:
            marked = box_marks(turn, marks)
            if _on(turn, ref, sample):
                yield from (Drawn(b, _short(turn.text), "rejected", mark) for mark, b in marked)
    if isinstance(sample, GroundedSample):
        for n, tube in enumerate(sample.tubes, 1):
            yield from (Drawn(tube.boxes[i], f"tube {n}", "said", f"T{n}") for i in near(tube.at_s, ref.at_s))


def _short(text: str) -> str:
    """A page of a hundred lines would else carry its whole text a hundred times."""
    return text if len(text) <= _NAME_SIGNS else text[: _NAME_SIGNS - 1] + "…"


def _on(turn: Turn, ref: FrameRef, sample: Sample) -> bool:
    """Whether a turn's boxes belong on a frame: those in its spans, or every frame where it names none."""
    named = spans((*turn.src_s, *turn.tgt_s))
    return not named or len(sample.frames) == 1 or any(s.start_s <= ref.at_s < s.end_s for s in named)


def _marked(drawn: Drawn, size_px: tuple[int, int], margin: float) -> Drawn:
    """With the place of its mark: left of the box, above it, or in its corner, where there is room."""
    box, (width_px, height_px) = drawn.box, size_px
    place = "beside" if box.x0_px >= margin * width_px else "above" if box.y0_px >= margin * height_px else "within"
    left, top = box.x0_px / width_px * 100, box.y0_px / height_px * 100
    return Drawn(box, drawn.name, drawn.kind, drawn.mark, place, round(left, 3), round(top, 3))


def _close_ups(shot: Shot) -> Iterator[CloseUp]:
    """The sample's own boxes enlarged, where they are few and small."""
    own = [d for d in shot.boxes if d.mark]
    small = [d for d in own if 0 < d.box.area_px <= _SMALL * shot.width_px * shot.height_px]
    for drawn in small if len(own) <= _CLOSE_UPS else ():
        room = (drawn.box.y1_px - drawn.box.y0_px) * _ROOM
        x0, y0, x1, y1 = drawn.box.x0_px - room, drawn.box.y0_px - room, drawn.box.x1_px + room, drawn.box.y1_px + room
        part = Box(x0, y0, x1, y1).clipped(shot.width_px, shot.height_px)
        width, height = part.x1_px - part.x0_px, part.y1_px - part.y0_px
        yield CloseUp(
            mark=drawn.mark,
            src=shot.src,
            width_px=width,
            height_px=height,
            scale_pc=round(shot.width_px / width * 100, 3),
            left_pc=round(part.x0_px / shot.width_px * 100, 3),
            top_pc=round(part.y0_px / shot.height_px * 100, 3),
        )
