"""Truth in the place of evidence: clips cut at the true cuts, and their true tubes, events and texts, for any view.

What a view makes of true evidence must be right in every sample; what it makes of found evidence is measured by that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pyarrow as pa

from reelmill.annotators.annotator import Annotator, Resources, each_row
from reelmill.annotators.cut import CutClips, Found, cut_video
from reelmill.annotators.decode.local import local_path
from reelmill.annotators.events import EVENTS
from reelmill.annotators.ocr.order import in_reading_order
from reelmill.annotators.read_second import AGREED, SECOND_ENGINE, SECOND_TEXTS
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.annotators.text import ENGINE, READ, TEXTS, TRACKS, UNSURE
from reelmill.annotators.tubes import TUBES, TUBES_NOTE
from reelmill.pipelines.scenes.render import load_truth
from reelmill.pipelines.scenes.truth import METHOD, SceneTruth
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import BadInput, Unusable
from reelmill.schemas.event import Event
from reelmill.schemas.keys import child_key, micros
from reelmill.schemas.media import Kind, MediaRef, ShownFrame
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextLine, TextSighting, TextTrack
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


class OfTruth:
    """What every step that reads the truth beside a file has in common; for a frozen dataclass with a method `_row`."""

    _row: Callable[[dict[str, Any]], dict[str, Any]]
    method: ClassVar[str] = METHOD
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=64)

    def setup(self) -> None:
        """Nothing to make ready."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(cast(Annotator, self), batch, self._row)


@dataclass(frozen=True)
class TrueEvents(OfTruth):
    """The true events of each clip, with the keys that a dataset gives them."""

    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA)
    gives: ClassVar[tuple[Column, ...]] = (EVENTS,)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        media: MediaRef = arrow.typed(MediaRef, row["media"])
        if media.span is None:
            raise Unusable("no_time", "a picture has no events")
        inside = (in_clip(e, media.span, media.duration_s) for e in truth_of(media).events)
        return {"events": tuple(_keyed(e, row["key"]) for e in inside if e is not None)}


@dataclass(frozen=True)
class TrueTubes(OfTruth):
    """The true tubes of each clip."""

    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA)
    gives: ClassVar[tuple[Column, ...]] = (TUBES, TUBES_NOTE)

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


@dataclass(frozen=True)
class TrueTexts(OfTruth):
    """The signs of a rendered picture, or of a clip's shots, as lines of each stored frame and as texts over time.

    Both engines are given the truth, so they agree on all of it. Lines are in pixels of the stored frame, times in
    seconds of the clip; a track ends where its shot does, to the frame of the file.
    """

    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES)
    gives: ClassVar[tuple[Column, ...]] = (TEXTS, TRACKS, ENGINE, READ, UNSURE, SECOND_TEXTS, SECOND_ENGINE, AGREED)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        media: MediaRef = arrow.typed(MediaRef, row["media"])
        frames = arrow.typed(tuple[ShownFrame, ...], row["frames"])
        exact = truth_of(media)
        lines = tuple(line for frame in frames for line in true_lines(exact, media, frame))
        return {
            **dict.fromkeys(("texts", "second_texts", "agreed_texts"), lines),
            **dict.fromkeys(("text_engine", "second_engine"), METHOD),
            "text_tracks": () if media.kind is Kind.IMAGE else true_tracks(exact, media, frames),
            "text_frames": tuple(f.frame for f in frames),
            "text_unsure": 0,
        }


def true_lines(exact: SceneTruth, media: MediaRef, frame: ShownFrame) -> list[TextLine]:
    """The signs that stand in one stored frame, in reading order."""
    at_s = frame.at_s + _start_s(media)
    shot = next((s for s in exact.shots if s.start_s - _EDGE_S <= at_s < s.end_s - _EDGE_S), None)
    if exact.shots and shot is None:
        return []
    signs = [t for t in exact.texts if shot is None or shot.start_s <= t.at_s < shot.end_s]
    scale = np.array([frame.width_px / exact.width_px, frame.height_px / exact.height_px])
    quads = [np.array(t.quad_px).reshape(4, 2) * scale for t in signs]
    return [
        TextLine(signs[i].text, tuple(quads[i].ravel().tolist()), 1.0, n, frame.frame, frame.at_s, METHOD)
        for n, i in enumerate(in_reading_order(quads))
    ]


def true_tracks(exact: SceneTruth, media: MediaRef, frames: tuple[ShownFrame, ...]) -> tuple[TextTrack, ...]:
    """One track per sign and shot that some stored frame of the clip shows, by start, then from top to bottom."""
    found = [
        _track(sign, lines, span, frames)
        for shot in exact.shots
        if (span := _within(shot, media)) is not None
        if (lines := [t for f in frames if _holds(span, f.at_s) for t in true_lines(exact, media, f)])
        for sign in exact.texts
        if shot.start_s <= sign.at_s < shot.end_s
    ]
    return tuple(sorted(found, key=lambda t: (t.span.start_s, t.sightings[0].box.y0_px, t.sightings[0].box.x0_px)))


def true_spans(exact: SceneTruth, media: MediaRef) -> list[tuple[str, Span]]:
    """Every text of a clip and when it is shown, in seconds of the clip, whether a stored frame shows it or not."""
    shots = [(shot, span) for shot in exact.shots if (span := _within(shot, media)) is not None]
    return [(t.text, span) for shot, span in shots for t in exact.texts if shot.start_s <= t.at_s < shot.end_s]


def _track(sign: TextLine, lines: list[TextLine], span: Span, frames: tuple[ShownFrame, ...]) -> TextTrack:
    own = [t for t in lines if t.text == sign.text]
    before = [f.at_s for f in frames if f.at_s < span.start_s - _EDGE_S]
    return TextTrack(
        text=sign.text,
        script=sign.script,
        span=span,
        start_after_s=before[-1] if before else None,
        seen_until_s=own[-1].at_s,
        confidence=1.0,
        frames=tuple(dict.fromkeys(t.frame for t in own)),
        sightings=tuple(TextSighting(t.frame, t.at_s, t.quad_px, t.text, 1.0) for t in own),
        method=METHOD,
    )


def _start_s(media: MediaRef) -> float:
    return media.span.start_s if media.span else 0.0


def _holds(span: Span, at_s: float) -> bool:
    return span.start_s - _EDGE_S <= at_s < span.end_s - _EDGE_S


def _within(shot: Span, media: MediaRef) -> Span | None:
    """The part of a shot that a clip covers, in seconds of the clip; None where it covers none of it."""
    start_s, end_s = shot.start_s - _start_s(media), shot.end_s - _start_s(media)
    start_s, end_s = max(0.0, start_s), min(end_s, media.duration_s)
    return Span(start_s, end_s) if end_s - start_s > _EDGE_S else None
