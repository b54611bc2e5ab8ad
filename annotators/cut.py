"""From a unit of work to its clips: shots found, judged, described, and their shown frames stored, in one decode.

A clip is one shot, in source time, with its own decoded duration; its time 0 is its first presented frame. Whatever is
no use is a clip too, rejected with its reason, so that the clips of a unit cover it without gap. A picture is a clip of
one frame. A clip in which nothing moves is kept and marked `still`: slides are where text is read.

    unit [0, 10.2) s -> clips [0, 3.0) [3.0, 5.4) [5.4, 7.48) [7.48, 9.0) rejected: transition, [9.0, 10.2)
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from reelmill.annotators.annotator import Resources, step_name
from reelmill.annotators.cutting.shots import Cuts, Piece, ShotRules, What, pieces
from reelmill.annotators.cutting.shown import Shown, ShownRules, frames_of, jpeg
from reelmill.annotators.cutting.stats import Facts, Timeline, describe, peak_change
from reelmill.annotators.decode.local import local_path
from reelmill.annotators.decode.with_child import WithChild
from reelmill.annotators.shown import MEDIA
from reelmill.schemas import arrow
from reelmill.schemas.clip import ClipStats, NewClip
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.keys import child_key, micros
from reelmill.schemas.media import DecodeStatus, Kind, MediaRef, NewFrame
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

EXPECTED = Column.of("expected_frames", int | None)
CUTS = Column.of("cuts_s", tuple[float, ...])
SHOTS = Column.of("shots", tuple[Span, ...])
CLIPS = Column.of("clips", tuple[NewClip, ...])

# Wall-clock limits end a decode that hangs; they are far from what any medium needs and so are no part of identity.
_WALL_S = 90.0
_WALL_S_PER_S = 40.0
_TIME_DIGITS = 9
_EDGE_S = 1e-9


@dataclass(frozen=True, slots=True)
class JudgeRules:
    """When a clip is of no use. `missing_share`: frames of a unit that may fail to come; `still_peak`: no cell of 32x32
    changes by more (of 1) within half a second; `flat_*`: below both, a frame shows nothing at all."""

    missing_share: float = 0.05
    min_clip_s: float = 0.5
    still_peak: float = 0.03
    still_motion: float = 0.002
    flat_spread: float = 3.0
    flat_sharpness: float = 10.0
    min_side_px: int = 16


@dataclass(frozen=True, slots=True)
class Shot:
    """What one decode found out about one piece of a unit. Spans in unit and in source time."""

    what: What
    span: Span
    source: Span
    num_frames: int
    stats: ClipStats
    peak: float
    frames: tuple[NewFrame, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What one decode found out about a whole unit."""

    status: DecodeStatus
    width_px: int
    height_px: int
    cuts_s: tuple[float, ...]
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class CutClips(WithChild):
    """Units in, clips out."""

    shots: ShotRules = field(default_factory=ShotRules)
    shown: ShownRules = field(default_factory=ShownRules)
    judge: JudgeRules = field(default_factory=JudgeRules)
    backend: str = "pyav"
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, EXPECTED)
    gives: ClassVar[tuple[Column, ...]] = (CUTS, SHOTS, CLIPS)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=4)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        media: MediaRef = arrow.typed(MediaRef, row["media"])
        path = str(Path(local_path(media.uri, media.digest)).absolute())
        found = self._picture(path) if media.kind is Kind.IMAGE else self._video(path, media, row["expected_frames"])
        check_complete(found.status, self.judge)
        clips = tuple(self._clip(row["key"], media, found, shot) for shot in found.shots)
        spans = () if media.kind is Kind.IMAGE else tuple(shot.span for shot in found.shots)
        return {"cuts_s": found.cuts_s, "shots": spans, "clips": clips}

    def _picture(self, path: str) -> Found:
        found: Found = self.child.call(f"{__name__}:cut_picture", path, self.shots, self.shown, wall_s=_WALL_S)
        return found

    def _video(self, path: str, media: MediaRef, expected: int | None) -> Found:
        seconds = media.span.duration_s if media.span else media.duration_s
        rules = (self.shots, self.shown, self.backend)
        found: Found = self.child.call(
            f"{__name__}:cut_video", path, media.span, expected, *rules, wall_s=_WALL_S + _WALL_S_PER_S * seconds
        )
        return found

    def _clip(self, parent: str, unit: MediaRef, found: Found, shot: Shot) -> NewClip:
        picture = unit.kind is Kind.IMAGE
        media = dataclasses.replace(
            unit,
            width_px=found.width_px,
            height_px=found.height_px,
            duration_s=0.0 if picture else round(shot.span.duration_s, _TIME_DIGITS),
            span=None if picture else shot.source,
        )
        times = (0, 0) if picture else (micros(shot.source.start_s), micros(shot.source.end_s))
        return NewClip(
            key=child_key(parent, "clip", *times),
            parent_key=parent,
            media=media,
            num_frames=shot.num_frames,
            still=picture or is_still(shot, self.judge),
            stats=shot.stats,
            frames=shot.frames,
            status=found.status,
            verdict=judged(shot, media, self.shots, self.judge, step_name(self)),
        )


def check_complete(status: DecodeStatus, rules: JudgeRules) -> None:
    """Raises Unusable("truncated") where the container breaks off, else "frames_missing", over the share allowed."""
    expected = status.frames_expected
    if not expected or status.frames_got >= (1 - rules.missing_share) * expected:
        return
    cut_short = "breaks off" in status.note or not status.note
    note = f"; {status.note}" if status.note else ""
    raise Unusable(
        "truncated" if cut_short else "frames_missing",
        f"decoded {status.frames_got} of {expected} frames, {rules.missing_share:.0%} may be missing{note}",
    )


def is_still(shot: Shot, rules: JudgeRules) -> bool:
    """True where nothing moves: neither the picture as a whole nor any small part of it."""
    return shot.peak <= rules.still_peak and shot.stats.motion <= rules.still_motion


def judged(shot: Shot, media: MediaRef, shots: ShotRules, rules: JudgeRules, step: str) -> Verdict:
    """The verdict on one clip; the first reason that holds is given."""
    stats = shot.stats
    seen = f"mean luma {stats.luma:.1f} of 255, spread {stats.luma_spread:.1f}, sharpness {stats.sharpness:.1f}"
    if min(media.width_px, media.height_px) < rules.min_side_px:
        return rejected(step, "too_small", f"{media.width_px}x{media.height_px} px; sides under {rules.min_side_px} px")
    if shot.what is What.BLACK or shots.black(stats.luma, stats.luma_spread):
        return rejected(step, "black", seen)
    if shot.what is What.TRANSITION:
        return rejected(step, "transition", f"a dissolve of {shot.span.duration_s:.2f} s: frames mix two shots")
    if media.kind is Kind.VIDEO and shot.span.duration_s < rules.min_clip_s - _EDGE_S:
        return rejected(step, "too_short", f"{shot.span.duration_s:.3f} s, under {rules.min_clip_s:g} s")
    if stats.luma_spread < rules.flat_spread and stats.sharpness < rules.flat_sharpness:
        return rejected(step, "no_detail", seen)
    if not shot.frames:
        return rejected(
            step, "no_shown_frame", f"none of {shot.num_frames} frames is stored: too many cuts in the unit"
        )
    return ACCEPTED


# ---- in the isolated child -------------------------------------------------------------------------------------------


def cut_video(
    path: str,
    span: Span | None,
    expected: int | None,
    shots: ShotRules,
    shown: ShownRules,
    backend: str,
    known_cuts_s: tuple[float, ...] | None = None,
) -> Found:
    """One decode of a unit with all consumers. Raises Unusable as `frames.watch` does.

    `known_cuts_s` (source time) are taken as they are, in place of what the detectors find: truth, or a person's.
    """
    from reelmill.annotators.decode.frames import watch

    facts, cuts = Facts(shots.side_px), Cuts(shots)
    watched = watch(path, span, (facts, cuts, Shown(shown, facts, cuts)), backend=backend, expected=expected)
    timeline, proposed, kept = watched.results
    found = tuple(
        _shot(timeline, piece, frames_of(kept, timeline, piece.start, piece.stop, shown.every_s))
        for piece in (
            pieces(timeline, proposed, shots, kept.grid)
            if known_cuts_s is None
            else cut_where_known(timeline, known_cuts_s)
        )
    )
    cuts_s = tuple(float(timeline.at_s[c]) for c in proposed)
    return Found(watched.status, watched.width_px, watched.height_px, cuts_s, found)


def cut_where_known(timeline: Timeline, cuts_s: tuple[float, ...]) -> tuple[Piece, ...]:
    """Shots between known cuts, each cut at the frame presented nearest to it."""
    inside = [c for c in cuts_s if timeline.source_s[0] < c <= timeline.source_s[-1]]
    edges = sorted({0, timeline.num_frames, *(int(abs(timeline.source_s - c).argmin()) for c in inside)})
    return tuple(Piece(start, stop, What.SHOT) for start, stop in pairwise(edges))


def _shot(timeline: Timeline, piece: Piece, frames: tuple[NewFrame, ...]) -> Shot:
    start, stop = piece.start, piece.stop
    start_s, end_s = float(timeline.at_s[start]), float(timeline.end_s[stop - 1])
    source_s = float(timeline.source_s[start])
    return Shot(
        what=piece.what,
        span=Span(start_s, round(end_s, _TIME_DIGITS)),
        source=Span(source_s, round(source_s + end_s - start_s, _TIME_DIGITS)),
        num_frames=stop - start,
        stats=describe(timeline, start, stop),
        peak=peak_change(timeline, start, stop),
        frames=frames,
    )


def cut_picture(path: str, shots: ShotRules, shown: ShownRules) -> Found:
    """A picture as one shot of one frame of no length. Raises Unusable as `load_picture` does."""
    from reelmill.annotators.decode.frames import fitted
    from reelmill.annotators.decode.picture import load_picture
    from reelmill.annotators.decode.scale import scaled

    rgb = load_picture(path)
    height, width = rgb.shape[:2]
    facts = Facts(shots.side_px)
    facts.measure(scaled(rgb, *fitted(width, height, shots.side_px)), 0.0, 0.0, 0.0)
    timeline: Timeline = facts.done()
    share = min(1.0, shown.picture_px / max(width, height))
    small = scaled(rgb, max(1, round(width * share)), max(1, round(height * share)))
    data = jpeg(small, shown.picture_quality, full_colour=True)
    frame = NewFrame(0, 0.0, small.shape[1], small.shape[0], data)
    no_time = Span(0.0, 1.0)  # a span has a length; that of a picture is never stored
    shot = Shot(What.SHOT, no_time, no_time, 1, describe(timeline, 0, 1), 0.0, (frame,))
    return Found(DecodeStatus(True, 1, 1, ""), width, height, (), (shot,))
