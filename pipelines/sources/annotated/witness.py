"""What a set says of a clip: its sentences as stated events and its boxes as tubes, in the time and pixels of the clip.

A set speaks of whole files and a clip is a piece of one between two cuts. A sentence counts where its time lies wholly
inside the clip; one that goes on over a cut is kept as a rejected event (`crosses_a_cut`), and one that validation left
out with the reason it gave. A sentence without a time says nothing about when and makes no event. Of a tube, the boxes
of frames inside the clip are taken: each is a claim about its own frame.

    the set   "a child leans on a bicycle" [15.3, 17.0) of talk.mp4
    the clip  talk.mp4 [12.0, 20.0)   ->   stated event [3.3, 5.0), method "human", proposal of "human:vidstg:val:2"
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row, step_name
from reelmill.annotators.events import EVENTS
from reelmill.annotators.shown import MEDIA
from reelmill.annotators.tubes import TUBES
from reelmill.pipelines.sources.annotated.fields import HUMAN
from reelmill.pipelines.sources.annotated.naming import Mentions, last_part
from reelmill.pipelines.sources.annotated.set_file import SetFile
from reelmill.pipelines.sources.annotated.source import placed
from reelmill.pipelines.sources.annotated.spool import Spool
from reelmill.pipelines.sources.annotated.validating import LEFT_OUT, judged, reasons
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation, LeftOut, Stated
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.event import Event, EventKind, Proposal
from reelmill.schemas.keys import child_key, micros
from reelmill.schemas.media import MediaRef
from reelmill.schemas.provenance import UNMEASURED
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Tube
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

_SAME_SHAPE = 0.02
"""Two frame sizes are one picture at two scales where their aspect ratios differ by less than this share."""


@dataclass(frozen=True)
class WitnessAnnotations:
    """Adds the stated events and tubes of a clip, and the parts that were left out.

    `set_name` and `digest` say which file was read by which reader (`reader_revision`); `path` is where it lies here.
    An edge may be `slack_s` outside the clip and is then set to the clip's own: half of the 0.1 s to which Charades-STA
    writes its times, the coarsest of these sets but for whole seconds.
    """

    set_name: str
    digest: str
    reader_revision: str
    path: str = field(metadata={"identity": False})
    slack_s: float = 0.05
    method: ClassVar[str] = HUMAN
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA)
    gives: ClassVar[tuple[Column, ...]] = (EVENTS, TUBES, LEFT_OUT)
    revision: ClassVar[str] = "2"
    resources: ClassVar[Resources] = Resources(rows_per_commit=64)

    @classmethod
    def of(cls, owner: SetFile) -> WitnessAnnotations:
        return cls(owner.name, owner.digest, owner.revision, str(owner.path))

    @property
    def observed(self) -> str:
        """For provenance: which file of which set."""
        return f"annotations of {self.set_name}, sha256 {self.digest[:16]}"

    def setup(self) -> None:
        """Read the set once per worker. Raises what its reader raises, BadInput where the file is another by now."""
        _ = self._said

    def close(self) -> None:
        if "_said" in self.__dict__:
            self._said.close()

    @cached_property
    def _said(self) -> Said:
        return Said(SetFile(self.set_name, Path(self.path), self.digest))

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        media: MediaRef = arrow.typed(MediaRef, row["media"])
        if media.span is None:
            raise Unusable("no_time", "a picture has no events")
        found = self._said.about(media)
        if not found:
            raise Unusable("not_annotated", f"{self.set_name} says nothing of {last_part(media.uri)!r}")
        clip = _Clip(self, row["key"], media, media.span)
        said = [clip.of(one) for one in found]
        return {
            "events": sorted((e for s in said for e in s.events), key=lambda e: (e.span.start_s, e.span.end_s, e.key)),
            "tubes": [tube for s in said for tube in s.tubes],
            "left_out": [out for s in said for out in s.left_out],
        }


@dataclass(frozen=True, slots=True)
class _OfClip:
    events: tuple[Event, ...]
    tubes: tuple[Tube, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class _Clip:
    """One clip, and what an annotation says of it. `span` is its place in the file."""

    step: WitnessAnnotations
    key: str
    media: MediaRef
    span: Span

    @property
    def length_s(self) -> float:
        """Of a damaged file fewer frames may have come than its span promised."""
        return min(self.media.duration_s, self.span.duration_s)

    def of(self, one: Annotation) -> _OfClip:
        try:
            _, left_out = judged(one)
        except Unusable as judgement:
            return _OfClip((), (), (LeftOut(one.original_id, "", 0, judgement.reason, judgement.detail),))
        bad = reasons(left_out, "tubes")
        resized = {n: _fitted(t, self.media) for n, t in enumerate(one.tubes) if n not in bad}
        cut = {n: found for n, t in resized.items() if t is not None and (found := self._cut(one, t)) is not None}
        odd = [
            LeftOut(one.original_id, "tubes", n, "frame_size_differs", _sizes(one.tubes[n], self.media))
            for n, t in resized.items()
            if t is None
        ]
        named = {one.tubes[n].tube_id: tube for n, tube in cut.items()}
        events = tuple(self._events(one, named, reasons(left_out, "stated")))
        return _OfClip(events, tuple(cut.values()), (*left_out, *odd))

    def _cut(self, one: Annotation, tube: Tube) -> Tube | None:
        """The boxes of frames inside the clip, in its time and frame; None where there are none."""
        clipped = {
            at_s - self.span.start_s: box.clipped(self.media.width_px, self.media.height_px)
            for at_s, box in zip(tube.at_s, tube.boxes, strict=True)
            if 0.0 <= at_s - self.span.start_s < self.length_s
        }
        if not clipped:
            return None
        end_s = min(tube.end_s - self.span.start_s, self.length_s)
        name = f"{one.original_id}/{tube.tube_id}"
        return replace(tube, tube_id=name, at_s=tuple(clipped), boxes=tuple(clipped.values()), end_s=end_s)

    def _events(self, one: Annotation, tubes: dict[str, Tube], bad: dict[int, LeftOut]) -> Iterator[Event]:
        here = Span(self.span.start_s, self.span.start_s + self.length_s)
        for number, stated in enumerate(one.stated):
            if stated.span is None or stated.span.overlap_s(here) <= self.step.slack_s:
                continue
            verdict = self._verdict(stated.span, bad.get(number))
            yield self._event(one, number, stated, tubes.get(stated.tube_id), verdict)

    def _verdict(self, said: Span, left_out: LeftOut | None) -> Verdict:
        if left_out is not None:
            return rejected(step_name(self.step), left_out.reason, left_out.detail)
        before_s, after_s = self.span.start_s - said.start_s, said.end_s - self.span.start_s - self.length_s
        if max(before_s, after_s) <= self.step.slack_s:
            return ACCEPTED
        seen = f"[{said.start_s:.3f}, {said.end_s:.3f}) in a clip of [{self.span.start_s:.3f}, {self.span.end_s:.3f})"
        return rejected(step_name(self.step), "crosses_a_cut", seen)

    def _event(self, one: Annotation, number: int, stated: Stated, tube: Tube | None, verdict: Verdict) -> Event:
        assert stated.span is not None
        start_s = max(0.0, stated.span.start_s - self.span.start_s)
        span = Span(start_s, min(stated.span.end_s - self.span.start_s, self.length_s))
        place = (one.source_set, one.original_id, number, micros(stated.span.start_s), micros(stated.span.end_s))
        return Event(
            key=child_key(self.key, "event", str(EventKind.STATED), *place),
            parent_key=self.key,
            kind=EventKind.STATED,
            subject_id=tube.tube_id if tube else "",
            subject=tube.phrase if tube else "",
            phrase=stated.text,
            span=span,
            confidence=UNMEASURED,
            proposals=(Proposal(f"{HUMAN}:{one.source_set}:{one.original_id}", span, UNMEASURED),),
            method=HUMAN,
            verdict=verdict,
        )


def _fitted(tube: Tube, media: MediaRef) -> Tube | None:
    """A tube in the pixels of the medium: scaled where the set had it at another size, None where at another shape."""
    width, height = tube.frame_width_px or media.width_px, tube.frame_height_px or media.height_px
    if abs(width * media.height_px / (height * media.width_px) - 1) > _SAME_SHAPE:
        return None
    x, y = media.width_px / width, media.height_px / height
    boxes = tuple(
        replace(b, x0_px=b.x0_px * x, y0_px=b.y0_px * y, x1_px=b.x1_px * x, y1_px=b.y1_px * y) for b in tube.boxes
    )
    return replace(tube, boxes=boxes, frame_width_px=media.width_px, frame_height_px=media.height_px)


def _sizes(tube: Tube, media: MediaRef) -> str:
    return f"{tube.frame_width_px} x {tube.frame_height_px} in the set, {media.width_px} x {media.height_px} here"


class Said:
    """A set read once into a folder of its own, its annotations by the medium they are about."""

    def __init__(self, owner: SetFile) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.spool = Spool(Path(self.folder.name) / "rows.sqlite", lambda: placed(owner))
        try:
            self.mentions = Mentions((row.key, row.media) for row in self.spool.listed() if row.media)
        except BaseException:
            self.close()
            raise

    def about(self, media: MediaRef) -> list[Annotation]:
        """Annotations of a medium, each id once. Raises Unusable("media_ambiguous") as `Mentions.of`."""
        rows = (json.loads(text) for _, text in self.spool.of(self.mentions.of(media.uri, media.digest)))
        return [arrow.typed(Annotation, row["annotation"]) for row in rows if not row["again"]]

    def close(self) -> None:
        self.folder.cleanup()
