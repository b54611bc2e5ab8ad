"""Tiny clips with exact truth, drawn straight into arrays: what the smallest training runs and their tests learn from.

Shapes pop in and out at whole frames or glide by whole pixels, never over one another, so the truth has no rounding. An
appearance is `enters` for one frame and `leaves` for the last frame in view, as schemas/event.py says.

>>> clip = next(micro(seed=0, count=1))
>>> clip.frames.shape, len(clip.at_s), clip.duration_s
((16, 24, 24, 3), 16, 8.0)
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from reelmill.pipelines.scenes import colours
from reelmill.pipelines.scenes.motion import runs
from reelmill.pipelines.scenes.shapes import QUARTERS, SHAPES, stamp
from reelmill.pipelines.scenes.truth import METHOD
from reelmill.schemas.errors import BadInput
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.keys import seed_for
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box, Tube
from reelmill.schemas.verdict import ACCEPTED

_TRIES = 40
_CONTRAST = 40.0
_MIDDLE = QUARTERS // 2  # centres lie in the middle of a pixel


@dataclass(frozen=True, slots=True)
class MicroPreset:
    """`acts`: `appear` is there for some frames, `arrive` from some frame on, `depart` until some frame, `move` all the
    time and glides at least `move_px` during some frames, `stay` all the time and does nothing: with one frame, a
    picture. `span_frames` are the least and most frames of an appearance or a glide; ranges are (least, most). Two
    frames per second is the rate at which real clips are shown."""

    name: str = "micro"
    frames: int = 16
    size_px: int = 24
    fps: float = 2.0
    objects: tuple[int, ...] = (1, 2)
    acts: tuple[str, ...] = ("appear", "arrive", "depart", "move")
    span_frames: tuple[int, ...] = (2, 5)
    radius_px: tuple[int, ...] = (3, 5)
    move_px: int = 12


@dataclass(frozen=True, slots=True, eq=False)
class MicroClip:
    """`frames` uint8 RGB [T, H, W, 3]; `at_s` the start of each; events are sorted by start."""

    index: int
    frames: np.ndarray
    at_s: tuple[float, ...]
    duration_s: float
    tubes: tuple[Tube, ...]
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class _Thing:
    """One shape over T frames: centres int64 [T, 2] in pixels, where it is shown, and the frames of its act."""

    shape: str
    colour: str
    radius_px: int
    act: str
    first: int
    end: int
    centre: np.ndarray
    shown: np.ndarray


def micro(seed: int, count: int, preset: MicroPreset | None = None) -> Iterator[MicroClip]:
    """`count` clips; clip i depends on (seed, i, preset) alone, so any part can be drawn again without the rest."""
    for index in range(count):
        yield micro_clip(seed, index, preset)


def micro_clip(seed: int, index: int, preset: MicroPreset | None = None) -> MicroClip:
    """Clip `index` of a seed."""
    preset = preset or MicroPreset()
    rng = random.Random(seed_for(seed, str(index), preset.name))
    ground = rng.choice(colours.MUTED)
    things: list[_Thing] = []
    for _ in range(rng.randint(*preset.objects)):
        thing = _free_thing(rng, preset, ground, things)
        if thing is not None:
            things.append(thing)
    at_s = tuple(i / preset.fps for i in range(preset.frames + 1))
    tubes = tuple(_tube(thing, i, at_s, preset) for i, thing in enumerate(things))
    events = [e for thing, tube in zip(things, tubes, strict=True) for e in _events(thing, tube, at_s)]
    events.sort(key=lambda e: (e.span.start_s, e.span.end_s, e.subject_id))
    return MicroClip(index, _draw(things, ground, preset), at_s[:-1], at_s[-1], tubes, tuple(events))


def _free_thing(rng: random.Random, preset: MicroPreset, ground: colours.Rgb, others: list[_Thing]) -> _Thing | None:
    """A thing of a free colour that covers no other in any frame, or None after some tries. The first always fits."""
    taken = {o.colour for o in others}
    seen = [c for c, rgb in colours.THINGS.items() if c not in taken and _far(rgb, ground)]
    act = rng.choice(preset.acts)  # before the tries: acts that fit less often are not drawn less often
    for _ in range(_TRIES):
        thing = _thing(rng, preset, act, rng.choice(seen))
        if not any(_touch(thing, o) for o in others):
            return thing
    return None


@lru_cache(maxsize=256)
def _far(rgb: colours.Rgb, ground: colours.Rgb) -> bool:
    return colours.distance(rgb, ground) >= _CONTRAST


def _thing(rng: random.Random, preset: MicroPreset, act: str, colour: str) -> _Thing:
    radius = rng.randint(*preset.radius_px)
    first, end = (0, preset.frames) if act == "stay" else _span(rng, preset)
    low, high = radius + 1, preset.size_px - radius - 2
    start = np.array([rng.randint(low, high), rng.randint(low, high)])
    centre = np.tile(start, (preset.frames, 1))
    if act == "move":
        start, target = _glide(rng, low, high, preset)
        share = np.clip((np.arange(preset.frames) - first + 1) / (end - first), 0, 1)[:, None]
        centre = np.rint(start + (target - start) * share).astype(np.int64)
    return _Thing(rng.choice(SHAPES), colour, radius, act, first, end, centre, _shown(act, first, end, preset.frames))


def _span(rng: random.Random, preset: MicroPreset) -> tuple[int, int]:
    """Drawn first frame and end of an act, neither at an end of the clip."""
    lasts = rng.randint(*preset.span_frames)
    first = rng.randint(1, preset.frames - lasts - 1)
    return first, first + lasts


def _glide(rng: random.Random, low: int, high: int, preset: MicroPreset) -> tuple[np.ndarray, np.ndarray]:
    """Two places in [low, high]² at least `move_px` apart. Raises BadInput where none are."""
    if math.dist((low, low), (high, high)) < preset.move_px:
        raise BadInput(
            f"micro preset {preset.name!r} cannot move {preset.move_px} px",
            seen=f"{high - low} px of room in a frame of {preset.size_px} px",
            do="enlarge size_px or lower move_px or radius_px",
        )
    while True:
        x0, y0, x1, y1 = (rng.randint(low, high) for _ in range(4))
        if math.dist((x0, y0), (x1, y1)) >= preset.move_px:
            return np.array([x0, y0]), np.array([x1, y1])


def _shown(act: str, first: int, end: int, frames: int) -> np.ndarray:
    """bool [T]. Raises KeyError for an unknown act."""
    whole = (0, frames)
    shows = {"appear": (first, end), "arrive": (first, frames), "depart": (0, end), "move": whole, "stay": whole}
    start, stop = shows[act]
    shown = np.zeros(frames, bool)
    shown[start:stop] = True
    return shown


def _touch(one: _Thing, other: _Thing) -> bool:
    """Do two things come nearer than the sum of their radii and a pixel in a frame that shows both?"""
    near = np.abs(one.centre - other.centre).max(axis=1) <= one.radius_px + other.radius_px + 1
    return bool((near & one.shown & other.shown).any())


def _tube(thing: _Thing, number: int, edges_s: tuple[float, ...], preset: MicroPreset) -> Tube:
    mark = stamp(thing.shape, thing.radius_px, _MIDDLE, _MIDDLE)
    kept = np.flatnonzero(thing.shown).tolist()
    corners = (np.tile(thing.centre, 2) + np.array(mark.box) - mark.origin_px).astype(float).tolist()
    return Tube(
        tube_id=f"m{number}",
        phrase=f"the {thing.colour} {thing.shape}",
        at_s=tuple(edges_s[k] for k in kept),
        boxes=tuple(Box(*corners[k]) for k in kept),
        frame_width_px=preset.size_px,
        frame_height_px=preset.size_px,
        end_s=edges_s[kept[-1] + 1],
        confidence=1.0,
        method=METHOD,
    )


def _events(thing: _Thing, tube: Tube, edges_s: tuple[float, ...]) -> list[Event]:
    first, end, last = thing.first, thing.end, len(edges_s) - 1
    spells = {
        "appear": [(EventKind.ENTERS, first, first + 1), (EventKind.LEAVES, end - 1, end)],
        "arrive": [(EventKind.ENTERS, first, first + 1)],
        "depart": [(EventKind.LEAVES, end - 1, end)],
        "move": [(EventKind.MOVES, first, end), (EventKind.STOPS, end, last)],
        "stay": [],
    }[thing.act]
    return [_event(tube, kind, Span(edges_s[a], edges_s[b])) for kind, a, b in spells]


def _event(tube: Tube, kind: EventKind, span: Span) -> Event:
    clause = f"{tube.phrase} {kind}"
    return Event("", "", kind, tube.tube_id, tube.phrase, clause, span, 1.0, (), METHOD, ACCEPTED)


def _draw(things: list[_Thing], ground: colours.Rgb, preset: MicroPreset) -> np.ndarray:
    frames = np.empty((preset.frames, preset.size_px, preset.size_px, 3), np.uint8)
    frames[:] = ground
    for thing in things:
        mark = stamp(thing.shape, thing.radius_px, _MIDDLE, _MIDDLE)
        cover = mark.coverage[..., None]
        rgb = np.array(colours.THINGS[thing.colour], np.float32)
        patch = np.rint(np.array(ground, np.float32) * (1 - cover) + rgb * cover).astype(np.uint8)
        for start, stop in _stays(thing):
            _paste(frames[start:stop], patch, mark.solid.shape[0], thing.centre[start] - mark.origin_px, cover > 0)
    return frames


def _stays(thing: _Thing) -> list[tuple[int, int]]:
    """Runs of shown frames at one place, so that a still thing is pasted once."""
    found = []
    for start, stop in runs(thing.shown):
        turns = (
            np.flatnonzero((thing.centre[start + 1 : stop] != thing.centre[start : stop - 1]).any(axis=1)) + start + 1
        )
        marks = [start, *turns.tolist(), stop]
        found += list(itertools.pairwise(marks))
    return found


def _paste(frames: np.ndarray, patch: np.ndarray, side: int, corner: np.ndarray, cover: np.ndarray) -> None:
    """Paste a patch into frames [n, H, W, 3] where `cover` says, clipped to the frame. Things never lie on things."""
    left, top = int(corner[0]), int(corner[1])
    size = frames.shape[1]
    x0, y0, x1, y1 = max(0, left), max(0, top), min(size, left + side), min(size, top + side)
    inner = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    window = frames[:, y0:y1, x0:x1]
    np.copyto(window, patch[inner], where=cover[inner])
