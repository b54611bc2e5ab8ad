"""From a film's clips and their evidence to its scenes: which films are told of, and what each of their scenes shows.

TEMPLE's rules for whole videos (`choosing`) applied to a row of `sources.films`. A cut is a clip that shows something
(TEMPLE, too, leaves out blank and very short ones); neighbouring cuts that look alike are one scene. Everything is in
the time of the film. A film that is not told of is refused with TEMPLE's reason, or with one of these:

    no_vector        a cut could not be compared: its frames were not embedded
    too_few_told     of fewer than four scenes is anything known
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reelmill.annotators.caption import CAPTION
from reelmill.annotators.embed import CLIP_EMBEDDING
from reelmill.annotators.events import EVENTS
from reelmill.annotators.sharpness import FRAME_SHARPNESS
from reelmill.pipelines.sources.films import FILM_CLIPS, FilmClip, of_film
from reelmill.pipelines.views.choosing import LEAST_CLIPS, clips_fault, cuts_fault, grouped, key_frames, runs_of
from reelmill.pipelines.views.evidenced import Evidence, Said
from reelmill.pipelines.views.happenings import by_clause, clipped
from reelmill.schemas import arrow
from reelmill.schemas.errors import Unusable
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.media import FrameRef
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import ACCEPTED

FILM_EVENTS, FILM_CAPTION = of_film(EVENTS), of_film(CAPTION)
FILM_VECTORS, FILM_SHARPNESS = of_film(CLIP_EMBEDDING), of_film(FRAME_SHARPNESS)

SHOWS_NOTHING = frozenset({"black", "transition", "too_short", "no_detail"})
"""Clips refused for these reasons are no cuts: nothing of the film is missing where they are left out."""
UNMEASURED = 0.5
"""Confidence of a caption that nobody has measured."""
_TOUCH_S = 1e-3


@dataclass(frozen=True, slots=True)
class Scene:
    """Neighbouring cuts that look alike. `said` is what is told of it, `named` the events that bear it out; `key_at_s`
    are the times of its key frames. `whole` is False where a cut of it has no evidence, or an open one."""

    number: int
    span: Span
    said: tuple[Said, ...]
    named: tuple[Event, ...]
    key_at_s: tuple[float, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class Film:
    """Scenes in order of time, all events (refused ones too) with the scene that each lies in, and the shown frames."""

    scenes: tuple[Scene, ...]
    evidence: Evidence
    scene_of: Mapping[str, int]
    frames: tuple[FrameRef, ...]

    @property
    def told(self) -> tuple[Scene, ...]:
        return tuple(scene for scene in self.scenes if scene.said)


@dataclass(frozen=True, slots=True)
class Rules:
    """`over`: cosine above which two cuts look alike; `order_s` as in `Evidence`; with `key_frames_only` a sample shows
    two frames of each cut, in place of all that are stored. With `captioned` captions are told, else events."""

    over: float
    order_s: float
    key_frames_only: bool
    near: Mapping[str, Sequence[str]]
    vague: Sequence[str]
    captioned: bool = False


def film_of(row: Mapping[str, Any], rules: Rules) -> Film:
    """Raises Unusable where a film is not to be told of."""
    clips = arrow.typed(FILM_CLIPS.hint, row["film_clips"])
    events = list(_events(row, clips, captioned=rules.captioned))
    places = [i for i, clip in enumerate(clips) if clip.verdict.reason not in SHOWS_NOTHING]
    runs = _runs(row, clips, places, rules.over)
    evidence = Evidence([e for own in events for e in own], rules.near, rules.vague, rules.order_s)
    keys = [_key_at_s(clip, sharp) for clip, sharp in zip(clips, row["film_frame_sharpness"], strict=True)]
    scenes = tuple(_scene(n, run, clips, events, keys, evidence) for n, run in enumerate(runs))
    told = sum(bool(scene.said) for scene in scenes)
    if told < LEAST_CLIPS:
        raise Unusable("too_few_told", f"something is known of {told} of {len(scenes)} scenes, want {LEAST_CLIPS}")
    scene_of = {e.key: n for n, run in enumerate(runs) for i in run for e in events[i]}
    used = [i for run in runs for i in run]
    frames = [f for i in used for f in _frames(row, clips[i], keys[i] if rules.key_frames_only else ())]
    return Film(scenes, evidence, scene_of, tuple(frames))


def _events(row: Mapping[str, Any], clips: Sequence[FilmClip], *, captioned: bool) -> Iterator[list[Event]]:
    """Events of each clip in the film's time; a caption is one event that fills its clip, in its own words."""
    for i, clip in enumerate(clips):
        if captioned:
            caption = row[FILM_CAPTION.name][i]
            yield [_captioned(clip, caption)] if caption and clip.verdict.accepted else []
        else:
            found = arrow.typed(tuple[Event, ...], row[FILM_EVENTS.name][i] or ())
            yield [_in_film(by_clause(clipped(e, clip.media.duration_s)), clip) for e in found]


def _captioned(clip: FilmClip, caption: str) -> Event:
    name, kind = f"caption of {clip.key}", EventKind.STATED
    return Event(name, clip.key, kind, name, caption, caption, clip.span, UNMEASURED, (), "model", ACCEPTED)


def _in_film(event: Event, clip: FilmClip) -> Event:
    """Its times moved, and its thing known for one of this clip: no tracker follows a thing over a cut."""
    proposals = tuple(
        replace(p, span=None if p.span is None else p.span.shifted(clip.starts_s)) for p in event.proposals
    )
    who = f"{clip.key}/{event.subject_id}"
    return replace(event, span=event.span.shifted(clip.starts_s), subject_id=who, proposals=proposals)


def _runs(
    row: Mapping[str, Any], clips: Sequence[FilmClip], places: Sequence[int], over: float
) -> list[tuple[int, ...]]:
    """The places of the clips of each scene. Raises Unusable with the reason of the rule that a film breaks."""
    vectors = [row["film_clip_embedding"][i] for i in places]
    without = [clips[i].verdict.reason for i, vector in zip(places, vectors, strict=True) if vector is None]
    if without:
        raise Unusable("no_vector", f"{len(without)} of {len(places)} cuts have none: {without[0] or 'not embedded'}")
    likeness = np.array(vectors, np.float64) @ np.array(vectors, np.float64).T if vectors else np.zeros((0, 0))
    fault = cuts_fault(list(_cut_lengths([clips[i] for i in places], likeness, over)))
    if fault is None:
        groups = grouped(likeness, over)
        runs = runs_of(groups)
        fault = clips_fault([groups[first] for first, _ in runs])
    if fault is not None:
        raise Unusable(*fault)
    return [tuple(places[first:end]) for first, end in runs]


def _cut_lengths(clips: Sequence[FilmClip], likeness: np.ndarray, over: float) -> Iterator[float]:
    """Seconds of each cut. Work is split every 60 s, where there need be no cut: alike on both sides, it is one."""
    length_s = 0.0
    for i, clip in enumerate(clips):
        before = clips[i - 1] if i else None
        split = before is not None and before.unit_key != clip.unit_key
        goes_on = split and before is not None and abs(before.span.end_s - clip.starts_s) < _TOUCH_S
        if before is not None and not (goes_on and likeness[i - 1, i] > over):
            yield length_s
            length_s = 0.0
        length_s += clip.span.duration_s
    if clips:
        yield length_s


def _key_at_s(clip: FilmClip, sharpness: Sequence[float] | None) -> tuple[float, ...]:
    """Film times of a clip's key frames; the first shown one where none lies near a third of it."""
    at_s = [f.at_s for f in clip.frames]
    places = key_frames(at_s, sharpness or [1.0] * len(at_s), Span(0.0, clip.span.duration_s))
    return tuple(clip.starts_s + at_s[i] for i in places or range(min(1, len(at_s))))


def _scene(
    number: int,
    run: Sequence[int],
    clips: Sequence[FilmClip],
    events: Sequence[Sequence[Event]],
    keys: Sequence[tuple[float, ...]],
    evidence: Evidence,
) -> Scene:
    own = sorted((e for i in run for e in events[i]), key=lambda e: (e.span.start_s, e.subject, e.kind))
    named = tuple(e for e in own if e.verdict.accepted and not evidence.implied(e))
    said = tuple(dict.fromkeys((e.subject, e.kind) for e in named))
    whole = all(clips[i].verdict.accepted for i in run) and all(e.verdict.accepted for e in own)
    span = Span(clips[run[0]].starts_s, clips[run[-1]].span.end_s)
    return Scene(number, span, said, named, tuple(t for i in run for t in keys[i]), whole)


def _frames(row: Mapping[str, Any], clip: FilmClip, only_s: Sequence[float]) -> Iterator[FrameRef]:
    for frame in clip.frames:
        at_s = clip.starts_s + frame.at_s
        if not only_s or at_s in only_s:
            yield FrameRef(row["clips_dataset"], clip.key, frame.frame, at_s, frame.sha256)
