"""The exact truth of a scene, in the schema of evidence, on the presentation times of the very frames of its file.

A tube lives in one shot and its boxes are those of the visible pixels (covered by half or more, inside the frame, not
under another thing). `stops` and `moves` share their edge: the first frame that equals the one before it is at rest.

>>> from reelmill.pipelines.scenes.compose import compose
>>> from reelmill.pipelines.scenes.presets import EASY
>>> exact = truth(compose(7, EASY))
>>> exact.shots[0].start_s, exact.tubes[0].tube_id
(0.0, 's0m0')
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reelmill.pipelines.scenes.fairness import shot_tracks
from reelmill.pipelines.scenes.motion import Track, phases, runs, visible
from reelmill.pipelines.scenes.scene import Scene, Shot
from reelmill.pipelines.scenes.signs import text_quad
from reelmill.schemas.event import Event
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box, Tube
from reelmill.schemas.verdict import ACCEPTED

METHOD = "truth"


@dataclass(frozen=True, slots=True)
class SceneTruth:
    """What happens in one file, in seconds of that file. A picture has no shots, one frame at 0 and duration 0.

    `texts` has one line per sign and shot, at the shot's first frame; it is readable for the whole shot. Keys of events
    are empty until a dataset gives them.
    """

    width_px: int
    height_px: int
    shots: tuple[Span, ...]
    cuts_s: tuple[float, ...]
    tubes: tuple[Tube, ...]
    events: tuple[Event, ...]
    texts: tuple[TextLine, ...]
    duration_s: float
    frame_times_s: tuple[float, ...]


def sidecar(media: Path) -> Path:
    """Where the truth of a rendered file lies: `scene_000017.mp4.truth.json`."""
    return media.with_name(media.name + ".truth.json")


def truth(scene: Scene) -> SceneTruth:
    """Exact shots, tubes, events and texts of a scene. Pure: the same scene gives the same truth."""
    edges = scene.edges_s
    tubes: list[Tube] = []
    events: list[Event] = []
    for number, shot in enumerate(scene.shots):
        tracks = shot_tracks(scene, shot)
        boxes, share = visible(tracks)
        for i, seen in enumerate(tracks):
            tube = _tube(scene, shot, seen, boxes[i], share[i], f"s{number}m{i}")
            tubes.append(tube)
            events += _events(seen, tube, scene.shot_edges_s(shot))
    return SceneTruth(
        width_px=scene.preset.width_px,
        height_px=scene.preset.height_px,
        shots=tuple(Span(float(edges[s.first]), float(edges[s.end])) for s in scene.shots),
        cuts_s=tuple(float(edges[s.first]) for s in scene.shots[1:]),
        tubes=tuple(tubes),
        events=tuple(sorted(events, key=lambda e: (e.span.start_s, e.span.end_s, e.subject_id, e.kind))),
        texts=tuple(line for s in scene.shots for line in _texts(s, float(edges[s.first]))),
        duration_s=float(edges[-1]),
        frame_times_s=tuple(float(t) for t in edges[:-1]),
    )


def _tube(scene: Scene, shot: Shot, seen: Track, boxes: np.ndarray, share: np.ndarray, tube_id: str) -> Tube:
    edges_s = scene.shot_edges_s(shot)
    first, end = runs(seen.in_view)[0]
    kept = [k for k in range(first, end) if share[k] > 0]
    return Tube(
        tube_id=tube_id,
        phrase=seen.mover.subject,
        at_s=tuple(float(edges_s[k]) for k in kept),
        boxes=tuple(Box(*(float(v) for v in boxes[k])) for k in kept),
        frame_width_px=scene.preset.width_px,
        frame_height_px=scene.preset.height_px,
        end_s=float(edges_s[kept[-1] + 1]),
        confidence=1.0,
        method=METHOD,
    )


def _events(seen: Track, tube: Tube, edges_s: np.ndarray) -> list[Event]:
    return [
        Event(
            key="",
            parent_key="",
            kind=phase.kind,
            subject_id=tube.tube_id,
            subject=tube.phrase,
            phrase=f"{tube.phrase} {phase.kind}",
            span=Span(float(edges_s[phase.first]), float(edges_s[phase.end])),
            confidence=1.0,
            proposals=(),
            method=METHOD,
            verdict=ACCEPTED,
        )
        for phase in phases(seen)
    ]


def _texts(shot: Shot, at_s: float) -> list[TextLine]:
    return [TextLine(s.text, text_quad(s), 1.0, i, shot.first, at_s, METHOD) for i, s in enumerate(shot.signs)]
