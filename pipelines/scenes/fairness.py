"""What makes a scene fair: only events that a person could see and time are published.

A prototype's scorer was misled by rests of no length, births under cover, moves that a cut swallowed and things that
stood for most of a shot. These rules refuse all of them; composition retries until none is broken, tests assert it.

>>> QUIET_S, STILL_MIN_S, MOVE_MIN_PX
(0.3, 0.4, 10.0)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reelmill.pipelines.scenes.backdrops import paint
from reelmill.pipelines.scenes.colours import distance
from reelmill.pipelines.scenes.motion import Track, overlap, phases, runs, track, visible
from reelmill.pipelines.scenes.scene import Backdrop, Mover, Scene, Shot, Sign
from reelmill.pipelines.scenes.shapes import QUARTERS
from reelmill.pipelines.scenes.signs import plate_box
from reelmill.schemas.event import EventKind

QUIET_S = 0.3  # nothing begins or ends this near to a cut or to an end of the film
STILL_MIN_S = 0.4
MOVE_MIN_S = 0.4
MOVE_MIN_PX = 10.0
WHOLE_MIN_S = 0.4  # time wholly in view between an entrance and an exit
BORDER_MIN_FRAMES = 3  # an entrance or exit shorter than this is a flicker
STAND_MAX_SHARE = 0.5  # a thing that stands for longer becomes the background, to a person too
VISIBLE_MIN = 0.25
CLEAR_S = 0.2  # nothing covers a thing this near to where one of its events begins or ends
APART_PX = 4
_SLACK_S = 1e-9


def mover_faults(seen: Track, edges_s: np.ndarray) -> list[str]:
    """Broken rules of one thing over its shot; `edges_s` [n + 1] are the shot's frame starts and its end."""
    view = runs(seen.in_view)
    if len(view) != 1:
        return [f"seen in {len(view)} stretches, want 1"]
    first, end = view[0]
    broken = []
    if (first == 0 and not seen.whole[0]) or (end == len(seen.in_view) and not seen.whole[-1]):
        broken.append("stands across the border at an end of the shot")
    if not seen.displaced[first:end].any():
        broken.append("never moves")
    whole_s = sum(edges_s[b] - edges_s[a] for a, b in runs(seen.whole))
    if whole_s < WHOLE_MIN_S:
        broken.append(f"wholly in view for {whole_s:.2f} s, want {WHOLE_MIN_S}")
    return broken + _rest_faults(seen, edges_s, first, end) + _move_faults(seen, edges_s) + _edge_faults(seen, edges_s)


def _rest_faults(seen: Track, edges_s: np.ndarray, first: int, end: int) -> list[str]:
    broken = []
    most_s = STAND_MAX_SHARE * (edges_s[-1] - edges_s[0])
    for a, b in runs(~seen.displaced[first:end]):
        rest_s = edges_s[first + b] - edges_s[first + a]
        if not STILL_MIN_S - _SLACK_S <= rest_s <= most_s:
            broken.append(f"rests for {rest_s:.2f} s, want {STILL_MIN_S} to {most_s:.2f}")
    return broken


def _move_faults(seen: Track, edges_s: np.ndarray) -> list[str]:
    broken = []
    in_view = int(np.argmax(seen.in_view))
    for phase in phases(seen):
        if phase.kind is not EventKind.MOVES:
            continue
        way = seen.quarters[phase.end - 1] - seen.quarters[max(phase.first - 1, in_view)]
        way_px = float(np.hypot(*way)) / QUARTERS
        move_s = edges_s[phase.end] - edges_s[phase.first]
        if way_px < MOVE_MIN_PX or move_s < MOVE_MIN_S - _SLACK_S:
            broken.append(f"moves {way_px:.1f} px in {move_s:.2f} s, want {MOVE_MIN_PX} px and {MOVE_MIN_S} s")
    return broken


def _edge_faults(seen: Track, edges_s: np.ndarray) -> list[str]:
    """Phases too near to an end of the shot or too short at the border. A rest may last until the shot ends."""
    broken = []
    frames = len(seen.in_view)
    for phase in phases(seen):
        held = phase.end == frames and phase.kind is EventKind.STOPS
        late_s = np.inf if held else edges_s[-1] - edges_s[phase.end]
        if min(late_s, edges_s[phase.first] - edges_s[0]) < QUIET_S - _SLACK_S:
            broken.append(f"{phase.kind} within {QUIET_S} s of an end of the shot")
        border = phase.kind in (EventKind.ENTERS, EventKind.LEAVES)
        if border and phase.end - phase.first < BORDER_MIN_FRAMES:
            broken.append(f"{phase.kind} in {phase.end - phase.first} frames, want {BORDER_MIN_FRAMES}")
    return broken


def cover_faults(tracks: Sequence[Track], edges_s: np.ndarray, crossing: bool) -> list[str]:
    """Broken rules between the things of a shot: no touching at all, or none near events and never nearly hidden."""
    broken = []
    for i, one in enumerate(tracks):
        for other in tracks[i + 1 :]:
            touch = overlap(one.seen + np.array([-APART_PX, -APART_PX, APART_PX, APART_PX]), other.seen)
            touch &= one.in_view & other.in_view
            barred = (_busy(one, edges_s) | _busy(other, edges_s)) if crossing else np.ones_like(touch)
            if (touch & barred).any():
                broken.append(f"{one.mover.subject} and {other.mover.subject} touch where they must be clear")
    if crossing and not broken and tracks:
        _, share = visible(tracks)
        hidden = [t.mover.subject for t, s in zip(tracks, share, strict=True) if (s[t.in_view] < VISIBLE_MIN).any()]
        broken += [f"{subject} is covered by more than {1 - VISIBLE_MIN:.0%}" for subject in hidden]
    return broken


def _busy(seen: Track, edges_s: np.ndarray) -> np.ndarray:
    """bool [n]: frames within CLEAR_S of where a phase or the tube begins or ends, and all of an entrance or exit."""
    middle_s = (edges_s[:-1] + edges_s[1:]) / 2
    busy = np.zeros(len(middle_s), bool)
    marks = {frame for run in runs(seen.in_view) for frame in run}
    for phase in phases(seen):
        marks |= {phase.first, phase.end}
        if phase.kind in (EventKind.ENTERS, EventKind.LEAVES):
            busy[phase.first : phase.end] = True
    for frame in marks:
        busy |= np.abs(middle_s - edges_s[frame]) < CLEAR_S
    return busy


def sign_faults(tracks: Sequence[Track], signs: Sequence[Sign]) -> list[str]:
    """Things that come over a sign: its text must be readable for the whole shot."""
    broken = []
    for sign in signs:
        x0, y0, x1, y1 = plate_box(sign)
        plate = np.array([[x0 - APART_PX, y0 - APART_PX, x1 + APART_PX, y1 + APART_PX]])
        broken += [
            f"{t.mover.subject} covers {sign.text!r}" for t in tracks if (overlap(t.seen, plate) & t.in_view).any()
        ]
    return broken


def contrast(mover: Mover, backdrop: Backdrop) -> float:
    """CIE76 distance between a thing and the nearer tone behind it."""
    return min(distance(mover.rgb, backdrop.rgb), distance(mover.rgb, backdrop.second))


def cut_luma(before: Backdrop, after: Backdrop, width_px: int, height_px: int) -> float:
    """Mean change in grey levels between two backgrounds."""
    one, other = (paint(b, width_px, height_px).astype(np.int16) for b in (before, after))
    return float(np.abs(one - other).mean())


def shot_tracks(scene: Scene, shot: Shot) -> list[Track]:
    """Every mover of a shot followed over its frames."""
    preset, edges_s = scene.preset, scene.shot_edges_s(shot)
    return [track(m, edges_s, preset.width_px, preset.height_px) for m in shot.movers]


def faults(scene: Scene) -> tuple[str, ...]:
    """Every broken rule of a scene, in words; empty for all that `compose` gives."""
    broken = []
    for i, shot in enumerate(scene.shots):
        edges_s, tracks = scene.shot_edges_s(shot), shot_tracks(scene, shot)
        found = [f"{t.mover.subject} {fault}" for t in tracks for fault in mover_faults(t, edges_s)]
        found += cover_faults(tracks, edges_s, scene.preset.crossing) + sign_faults(tracks, shot.signs)
        pale = [m.subject for m in shot.movers if contrast(m, shot.backdrop) < scene.preset.contrast]
        found += [f"{subject} is too like the background" for subject in pale]
        if len({m.colour for m in shot.movers}) < len(shot.movers):
            found.append("two things share a colour, so their names do not tell them apart")
        broken += [f"shot {i}: {fault}" for fault in found]
    for before, after in zip(scene.shots, scene.shots[1:], strict=False):
        change = cut_luma(before.backdrop, after.backdrop, scene.preset.width_px, scene.preset.height_px)
        if change < scene.preset.cut_luma:
            broken.append(f"cut at frame {after.first} changes {change:.1f} grey levels, want {scene.preset.cut_luma}")
    return tuple(broken)
