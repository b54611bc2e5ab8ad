"""From (seed, preset) to a scene: draw at random, refuse what is unfair, draw again.

The standard library's generator decides everything (its stream is the same in every Python 3); pixels come later.

>>> from reelmill.pipelines.scenes.presets import EASY
>>> compose(7, EASY) == compose(7, EASY), compose(7, EASY) == compose(8, EASY)
(True, False)
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Sequence

import numpy as np

from reelmill.pipelines.scenes import colours, fairness
from reelmill.pipelines.scenes.motion import Track, track
from reelmill.pipelines.scenes.presets import Preset, Timing
from reelmill.pipelines.scenes.scene import RENDERER, TICKS_PER_S, Backdrop, Mover, Scene, Shot, Sign, Waypoint
from reelmill.pipelines.scenes.shapes import SHAPES
from reelmill.pipelines.scenes.signs import phrase, plate_box, plate_size
from reelmill.schemas.errors import BadInput

SHOT_MIN_S = 1.95
SHORT_S = (2.0, 2.4)
_SHOT_TRIES = 60
_MOVER_TRIES = 100
_SIGN_TRIES = 40
_BACKDROP_TRIES = 60
_REST_MIN_S = 0.45
_OFFSTAGE_MIN_S = 0.34
_OFFSTAGE_SHARE = 0.4  # spare time goes to rests in view rather than to an empty stage
_GAP_TICKS = {Timing.FPS_25: (3600, 3600), Timing.NTSC: (3003, 3003), Timing.VFR: (1500, 6000)}
_PLATES = (((24, 24, 28), (238, 236, 228)), ((245, 245, 240), (28, 62, 120)), ((250, 250, 245), (20, 92, 60)))


def compose(seed: int, preset: Preset) -> Scene:
    """The scene of a seed. Raises BadInput where a preset leaves no fair scene."""
    rng = random.Random(f"{RENDERER} {seed} {preset.name}")
    ticks = _ticks(rng, preset)
    bounds = _bounds(rng, preset, ticks)
    shots: list[Shot] = []
    for first, end in itertools.pairwise(bounds):
        shots.append(_shot(rng, preset, ticks, first, end, shots))
    return Scene(RENDERER, seed, preset, ticks, tuple(shots))


def _ticks(rng: random.Random, preset: Preset) -> tuple[int, ...]:
    short = rng.random() < preset.short_share
    length = int(rng.uniform(*(SHORT_S if short else preset.duration_s)) * TICKS_PER_S)
    least, most = _GAP_TICKS[rng.choice(preset.timings)]
    ticks = [0]
    while ticks[-1] < length:
        ticks.append(ticks[-1] + rng.randint(least, most))
    return tuple(ticks)


def _bounds(rng: random.Random, preset: Preset, ticks: tuple[int, ...]) -> list[int]:
    """Frame numbers where shots begin, and the number of frames: each shot lasts SHOT_MIN_S or longer."""
    total_s = ticks[-1] / TICKS_PER_S
    shots = min(rng.randint(*preset.shots), int(total_s / SHOT_MIN_S))
    spare_s = total_s - shots * SHOT_MIN_S
    cuts = sorted(rng.uniform(0, spare_s) for _ in range(shots - 1))
    starts = [(i + 1) * SHOT_MIN_S + cut for i, cut in enumerate(cuts)]
    return [0, *(_frame_at(ticks, s) for s in starts), len(ticks) - 1]


def _frame_at(ticks: Sequence[int], at_s: float) -> int:
    """The first frame at or after a time."""
    return bisect.bisect_left(ticks, round(at_s * TICKS_PER_S))


def _shot(
    rng: random.Random, preset: Preset, ticks: tuple[int, ...], first: int, end: int, before: Sequence[Shot]
) -> Shot:
    edges_s = np.array(ticks[first : end + 1], dtype=np.float64) / TICKS_PER_S
    for _ in range(_SHOT_TRIES):
        backdrop = _backdrop(rng, preset, before)
        signs = _signs(rng, preset, backdrop)
        movers = _movers(rng, preset, backdrop, signs, edges_s)
        if movers:
            return Shot(first, end, backdrop, signs, movers)
    raise BadInput(
        f"preset {preset.name!r} leaves no fair shot",
        seen=f"{_SHOT_TRIES} shots of {edges_s[-1] - edges_s[0]:.2f} s refused",
        do="widen its speeds, radii or contrast",
    )


def _backdrop(rng: random.Random, preset: Preset, before: Sequence[Shot]) -> Backdrop:
    for _ in range(_BACKDROP_TRIES):
        backdrop = some_backdrop(rng, preset, before[-1].backdrop if before else None)
        if not before:
            return backdrop
        change = fairness.cut_luma(before[-1].backdrop, backdrop, preset.width_px, preset.height_px)
        if change >= preset.cut_luma:
            return backdrop
    raise BadInput(
        f"preset {preset.name!r} leaves no visible cut",
        seen=f"{_BACKDROP_TRIES} backgrounds within {preset.cut_luma} grey levels of the one before",
        do="lower cut_luma or name more backdrops",
    )


def some_backdrop(rng: random.Random, preset: Preset, before: Backdrop | None) -> Backdrop:
    kind, seed = rng.choice(preset.backdrops), rng.getrandbits(32)
    rgb = colours.shifted(rng.choice(colours.MUTED), *(rng.randint(-8, 8) for _ in range(3)))
    second = colours.shifted(rgb, rng.choice((-1, 1)) * rng.randint(14, 34))
    if before is not None and rng.random() < preset.same_palette:
        rgb, second = before.second, before.rgb
    return Backdrop(kind, rgb, rgb if kind == "plain" else second, seed)


def _signs(rng: random.Random, preset: Preset, backdrop: Backdrop) -> tuple[Sign, ...]:
    """Signs in the upper or lower part of the frame, not over each other; one that finds no place is left out."""
    signs: list[Sign] = []
    for _ in range(rng.randint(*preset.signs)):
        for _ in range(_SIGN_TRIES):
            sign = _sign(rng, preset)
            if colours.distance(sign.plate, backdrop.rgb) >= preset.contrast / 2 and _fits(sign, signs, preset):
                signs.append(sign)
                break
    return tuple(sorted(signs, key=lambda s: (s.y_px, s.x_px)))


def _sign(rng: random.Random, preset: Preset) -> Sign:
    text, text_px = phrase(rng), rng.randint(*preset.sign_px)
    ink, plate = rng.choice(_PLATES)
    width, height = plate_size(text, text_px)
    # Whole pixels for the plate's corner: an upright text is then drawn without blur.
    left = rng.randint(4, max(4, preset.width_px - width - 4))
    room = preset.height_px // 3
    top = rng.randint(4, max(4, room - height)) + rng.choice((0, preset.height_px - room - 8))
    tilt = rng.uniform(-preset.tilt_deg, preset.tilt_deg)
    return Sign(text, left + width / 2, top + height / 2, text_px, tilt, ink, plate)


def _fits(sign: Sign, others: Sequence[Sign], preset: Preset) -> bool:
    x0, y0, x1, y1 = plate_box(sign)
    if x0 < 2 or y0 < 2 or x1 > preset.width_px - 2 or y1 > preset.height_px - 2 or x1 - x0 > 0.7 * preset.width_px:
        return False
    rest = [plate_box(s) for s in others]
    return all(x1 + 6 < a0 or a1 + 6 < x0 or y1 + 6 < b0 or b1 + 6 < y0 for a0, b0, a1, b1 in rest)


def _movers(
    rng: random.Random, preset: Preset, backdrop: Backdrop, signs: Sequence[Sign], edges_s: np.ndarray
) -> tuple[Mover, ...]:
    tracks: list[Track] = []
    for _ in range(rng.randint(*preset.movers)):
        for _ in range(_MOVER_TRIES):
            mover = _mover(rng, preset, backdrop, tracks, edges_s)
            if mover is None:
                continue
            seen = track(mover, edges_s, preset.width_px, preset.height_px)
            if not _unfair(seen, tracks, signs, preset, edges_s):
                tracks.append(seen)
                break
    return tuple(t.mover for t in tracks)


def _unfair(
    seen: Track, others: Sequence[Track], signs: Sequence[Sign], preset: Preset, edges_s: np.ndarray
) -> list[str]:
    return (
        fairness.mover_faults(seen, edges_s)
        or fairness.sign_faults([seen], signs)
        or fairness.cover_faults([*others, seen], edges_s, preset.crossing)
    )


def _mover(
    rng: random.Random, preset: Preset, backdrop: Backdrop, others: Sequence[Track], edges_s: np.ndarray
) -> Mover | None:
    """One thing drawn at random, or None where it is too pale or its path does not fit the shot."""
    taken = {t.mover.colour for t in others}
    colour = rng.choice([c for c in colours.THINGS if c not in taken])
    rgb = colours.shifted(colours.THINGS[colour], *(rng.randint(-9, 9) for _ in range(3)))
    radius = rng.randint(*preset.radius_px)
    path = _path(rng, preset, radius, edges_s)
    mover = Mover(rng.choice(SHAPES), colour, rgb, radius, path)
    return mover if path and fairness.contrast(mover, backdrop) >= preset.contrast else None


def _path(rng: random.Random, preset: Preset, radius_px: int, edges_s: np.ndarray) -> tuple[Waypoint, ...]:
    """Straight legs between rests; empty where they do not fit into the shot. Every turn lies on a frame."""
    places = _places(rng, preset, math.ceil(radius_px * 1.15) + 2, edges_s[-1] - edges_s[0])
    legs_s = [math.dist(a, b) / rng.uniform(*preset.speed_px_s) for a, b in itertools.pairwise(places)]
    inside = [0 <= x <= preset.width_px and 0 <= y <= preset.height_px for x, y in places]
    rests_s = [_REST_MIN_S if seen else _OFFSTAGE_MIN_S for seen in inside]
    spare_s = edges_s[-1] - edges_s[0] - sum(legs_s) - sum(rests_s)
    if not legs_s or spare_s < 0:
        return ()
    weights = [rng.random() * (1.0 if seen else _OFFSTAGE_SHARE) for seen in inside]
    rests_s = [rest + spare_s * weight / sum(weights) for rest, weight in zip(rests_s, weights, strict=True)]
    return _timed(places, legs_s, rests_s, edges_s)


def _places(rng: random.Random, preset: Preset, reach: int, shot_s: float) -> list[tuple[float, float]]:
    """Where a thing goes, in order: more places in longer shots, so that no shot is a long wait for one event."""
    born, stays = rng.random() < 0.35, rng.random() < 0.3
    places = [place_inside(rng, preset, reach) for _ in range(rng.randint(0, 1 + int(shot_s / 2)) + born + stays)]
    before = [] if born else [place_outside(rng, preset, reach)]
    after = [] if stays else [place_outside(rng, preset, reach)]
    return before + places + after


def _timed(
    places: Sequence[tuple[float, float]], legs_s: Sequence[float], rests_s: Sequence[float], edges_s: np.ndarray
) -> tuple[Waypoint, ...]:
    """Waypoints: leave place i after rest i, reach place i + 1 a leg later, both on the nearest frame."""
    way, now_s = [], float(edges_s[0])
    for i, leg_s in enumerate(legs_s):
        now_s += rests_s[i]
        way.append(Waypoint(nearest_edge(edges_s, now_s), *places[i]))
        now_s += leg_s
        way.append(Waypoint(nearest_edge(edges_s, now_s), *places[i + 1]))
    return tuple(way)


def nearest_edge(edges_s: np.ndarray, at_s: float) -> float:
    return float(edges_s[np.abs(edges_s - at_s).argmin()])


def place_inside(rng: random.Random, preset: Preset, reach: int) -> tuple[float, float]:
    return rng.uniform(reach, preset.width_px - reach), rng.uniform(reach, preset.height_px - reach)


def place_outside(rng: random.Random, preset: Preset, reach: int) -> tuple[float, float]:
    """A place just out of view behind one of the four borders; left and right twice as often."""
    x, y = place_inside(rng, preset, reach)
    border = rng.choice(("left", "left", "right", "right", "top", "bottom"))
    return {
        "left": (-float(reach), y),
        "right": (float(preset.width_px + reach), y),
        "top": (x, -float(reach)),
        "bottom": (x, float(preset.height_px + reach)),
    }[border]
