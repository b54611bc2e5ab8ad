"""Truth in the place of evidence: clips cut at the true cuts, and the true tubes and events of each, for any view.

What a view makes of true evidence must be right in every sample; what it makes of found evidence is measured by that.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row
from reelmill.annotators.cut import CutClips, Found, cut_video
from reelmill.annotators.decode.local import local_path
from reelmill.annotators.events import EVENTS
from reelmill.annotators.shown import MEDIA
from reelmill.annotators.tubes import TUBES, TUBES_NOTE
from reelmill.pipelines.scenes.render import load_truth
from reelmill.pipelines.scenes.truth import METHOD, SceneTruth
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import BadInput, Unusable
from reelmill.schemas.event import Event
from reelmill.schemas.keys import child_key, micros
from reelmill.schemas.media import MediaRef
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Tube

_EDGE_S = 1e-3


def truth_of(media: MediaRef) -> SceneTruth:
    """The truth beside a rendered file. Raises Unusable("no_truth") for media that nobody rendered."""
    try:
        return load_truth(Path(local_path(media.uri, media.digest)))
    except BadInput as error:
        raise Unusable("no_truth", str(error)) from error


def in_clip(event: Event, span: Span, duration_s: float) -> Event | None:
    """A true event in the time of a clip that covers `span` of the file; None where it is not wholly inside."""
    start_s, end_s = event.span.start_s - span.start_s, event.span.end_s - span.start_s
    if start_s < -_EDGE_S or end_s > duration_s + _EDGE_S:
        return None
    return dataclasses.replace(event, span=Span(max(0.0, start_s), min(end_s, duration_s)))


def tube_in_clip(tube: Tube, span: Span, duration_s: float) -> Tube | None:
    """The part of a true tube that lies in a clip, in the time of the clip; None where nothing does."""
    shifted = [(t - span.start_s, box) for t, box in zip(tube.at_s, tube.boxes, strict=True)]
    kept = [(max(0.0, t), box) for t, box in shifted if -_EDGE_S < t < duration_s - _EDGE_S]
    if not kept:
        return None
    at_s, boxes = zip(*kept, strict=True)
    return dataclasses.replace(tube, at_s=at_s, boxes=boxes, end_s=min(tube.end_s - span.start_s, duration_s))


@dataclass(frozen=True)
class CutAtTruth(CutClips):
    """Clips cut at the true cuts."""

    method: ClassVar[str] = METHOD

    def _video(self, path: str, media: MediaRef, expected: int | None) -> Found:
        cuts_s = truth_of(media).cuts_s
        return cut_video(path, media.span, expected, self.shots, self.shown, self.backend, cuts_s)


@dataclass(frozen=True)
class TrueEvents:
    """The true events of each clip, with the keys that a dataset gives them."""

    method: ClassVar[str] = METHOD
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA)
    gives: ClassVar[tuple[Column, ...]] = (EVENTS,)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=64)

    def setup(self) -> None: ...

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        media: MediaRef = arrow.typed(MediaRef, row["media"])
        if media.span is None:
            raise Unusable("no_time", "a picture has no events")
        inside = (in_clip(e, media.span, media.duration_s) for e in truth_of(media).events)
        return {"events": tuple(_keyed(e, row["key"]) for e in inside if e is not None)}


@dataclass(frozen=True)
class TrueTubes:
    """The true tubes of each clip."""

    method: ClassVar[str] = METHOD
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA)
    gives: ClassVar[tuple[Column, ...]] = (TUBES, TUBES_NOTE)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=64)

    def setup(self) -> None: ...

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        media: MediaRef = arrow.typed(MediaRef, row["media"])
        if media.span is None:
            raise Unusable("no_time", "nothing is followed in a picture")
        inside = (tube_in_clip(t, media.span, media.duration_s) for t in truth_of(media).tubes)
        return {"tubes": tuple(t for t in inside if t is not None), "tubes_note": ""}


def _keyed(event: Event, clip: str) -> Event:
    times = (micros(event.span.start_s), micros(event.span.end_s))
    key = child_key(clip, "event", str(event.kind), event.subject_id, *times)
    return dataclasses.replace(event, key=key, parent_key=clip)
