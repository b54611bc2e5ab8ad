"""Scenes of one thing, faint or clear, drawn large for localisers and told to the smallest models as micro clips.

A thing passes through the frame, visits it and rests there, or glides from place to place. Its colour lies anywhere
between that of the ground and its own, so that a tracker loses it for a while, finds it late, or takes noise for it.
Localisers look at the file, models at its stored frames shrunk to the size of a micro clip.

>>> scene = compose_faint(0, 7)
>>> scene.num_frames, scene.shots[0].movers[0].subject
(96, 'the purple triangle')
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reelmill.pipelines.scenes import colours
from reelmill.pipelines.scenes.compose import nearest_edge, place_inside, place_outside, some_backdrop
from reelmill.pipelines.scenes.micro import MicroClip
from reelmill.pipelines.scenes.presets import MEDIUM, Preset
from reelmill.pipelines.scenes.render import finished, render
from reelmill.pipelines.scenes.scene import TICKS_PER_S, Mover, Scene, Shot, Waypoint
from reelmill.pipelines.scenes.shapes import SHAPES
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.keys import seed_for
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box, Tube
from reelmill.schemas.verdict import ACCEPTED, rejected

RENDERER = "faint-1"
FPS, DURATION_S = 12, 8.0
"""A whole number of frames between two stored ones, which are half a second apart; 16 of these are a micro clip."""
ACTS = ("pass", "visit", "glide")
CONTRAST = (3.0, 40.0)
"""Least and most CIE76 distance between thing and ground: just noticeable, and what micro clips have at least."""
LASTS_S = (1.0, 3.0)
"""How long a thing is on its way; that of micro clips is 2 to 5 half seconds."""
LEAST_CONFIDENCE = 0.5
"""Of a tube whose boxes are asked for among accepted labels; views name no other (`aligned.story.Rules`)."""
_MARGIN_S = 0.5
_NEAR = 1e-6

FAINT = replace(
    MEDIUM,
    name="faint",
    width_px=160,
    height_px=160,
    duration_s=(DURATION_S, DURATION_S),
    shots=(1, 1),
    movers=(1, 1),
    radius_px=(20, 33),
    backdrops=("gradient", "stripes", "checker", "blobs", "clutter"),
    contrast=0.0,
    noise=2.0,
    signs=(0, 0),
)
"""Radii are those of micro clips, 3 to 5 of 24 pixels."""


def compose_faint(seed: int, index: int, preset: Preset = FAINT) -> Scene:
    """Scene `index` of a seed, from (seed, index) alone."""
    own = seed_for(seed, str(index), preset.name)
    rng = random.Random(own)
    frames = round(DURATION_S * FPS)
    ticks = tuple(i * TICKS_PER_S // FPS for i in range(frames + 1))
    ground = some_backdrop(rng, preset, None)
    colour, radius = rng.choice(list(colours.THINGS)), rng.randint(*preset.radius_px)
    rgb = _faded(rng, colours.THINGS[colour], ground.rgb)
    path = _path(rng, preset, rng.choice(ACTS), math.ceil(radius * 1.15) + 2, np.array(ticks) / TICKS_PER_S)
    thing = Mover(rng.choice(SHAPES), colour, rgb, radius, path)
    return Scene(RENDERER, own, preset, ticks, (Shot(0, frames, ground, (), (thing,)),))


def _faded(rng: random.Random, full: colours.Rgb, ground: colours.Rgb) -> colours.Rgb:
    """The colour at a drawn contrast to the ground, on the line from the ground to it; it never goes beyond its own."""
    share = min(1.0, rng.uniform(*CONTRAST) / colours.distance(full, ground))
    return tuple(round(g + share * (c - g)) for c, g in zip(full, ground, strict=True))


def _path(rng: random.Random, preset: Preset, act: str, reach: int, edges_s: np.ndarray) -> tuple[Waypoint, ...]:
    lasts_s = rng.uniform(*LASTS_S)
    first_s = rng.uniform(_MARGIN_S, DURATION_S - _MARGIN_S - lasts_s)
    draw = place_inside if act == "glide" else place_outside
    apart_px = preset.width_px * (0.4 if act == "glide" else 0.8)
    start = goal = draw(rng, preset, reach)
    while math.dist(start, goal) < apart_px:
        start, goal = draw(rng, preset, reach), draw(rng, preset, reach)
    rest = place_inside(rng, preset, reach)
    stops = {"visit": ((0.0, start), (1 / 3, rest), (2 / 3, rest), (1.0, goal))}.get(act, ((0.0, start), (1.0, goal)))
    return tuple(Waypoint(nearest_edge(edges_s, first_s + share * lasts_s), *place) for share, place in stops)


def render_faint(folder: Path, count: int, seed: int) -> list[Path]:
    """Render scenes with their truth into a folder; finished files are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"faint_{index:06d}.mp4" for index in range(count)]
    for index, path in enumerate(paths):
        scene = compose_faint(seed, index)
        if not finished(path, scene.identity):
            render(scene, path)
    return paths


# ---- seen small ------------------------------------------------------------------------------------------------------


def shrunk(jpegs: Iterable[bytes], side_px: int) -> np.ndarray:
    """Stored frames as uint8 RGB [T, side, side, 3], each pixel the mean of what it covers."""
    from PIL import Image

    pictures = (Image.open(io.BytesIO(jpeg)).convert("RGB") for jpeg in jpegs)
    return np.stack([np.asarray(p.resize((side_px, side_px), Image.Resampling.BOX)) for p in pictures])


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What is said of a clip, by localisers or by its truth, in seconds and pixels of the clip."""

    tubes: tuple[Tube, ...]
    events: tuple[Event, ...]


def told_small(
    index: int, frames: np.ndarray, at_s: Sequence[float], duration_s: float, said: Evidence, *, accepted: bool
) -> MicroClip:
    """Evidence about a clip as that of a micro clip, whose frames [T, H, W, 3] are those stored at `at_s`.

    A thing is visible in the stored frames that its tube has a box in. Where it moves is asked if it moves once. With
    `accepted` what the pipeline refused is left out: a movement, the span of a thing of which an end is neither that of
    the clip nor that of an accepted entrance or exit, the boxes of a doubted tube.
    """
    edges_s = (*at_s, duration_s)
    tubes, events = [], []
    for tube in said.tubes:
        small = _small_tube(tube, edges_s, frames.shape[1])
        if small is None or (accepted and tube.confidence < LEAST_CONFIDENCE):
            continue
        tubes.append(small)
        own = [e for e in said.events if e.subject_id == tube.tube_id]
        found = [*_ends(small, edges_s, own), *_moves(own)]
        events += [e for e in found if e.verdict.accepted or not accepted]
    events.sort(key=lambda e: (e.span.start_s, e.span.end_s, e.subject_id))
    return MicroClip(index, frames, tuple(at_s), duration_s, tuple(tubes), tuple(events))


def _small_tube(tube: Tube, edges_s: Sequence[float], side_px: int) -> Tube | None:
    """The boxes of a tube in stored frames; None where there is none."""
    boxes = {round(t / _NEAR): box for t, box in zip(tube.at_s, tube.boxes, strict=True)}
    kept = [k for k, at_s in enumerate(edges_s[:-1]) if round(at_s / _NEAR) in boxes]
    if not kept:
        return None
    x, y = side_px / tube.frame_width_px, side_px / tube.frame_height_px
    large = [boxes[round(edges_s[k] / _NEAR)] for k in kept]
    return replace(
        tube,
        at_s=tuple(edges_s[k] for k in kept),
        boxes=tuple(Box(b.x0_px * x, b.y0_px * y, b.x1_px * x, b.y1_px * y) for b in large),
        frame_width_px=side_px,
        frame_height_px=side_px,
        end_s=edges_s[kept[-1] + 1],
    )


def _ends(tube: Tube, edges_s: Sequence[float], own: Sequence[Event]) -> list[Event]:
    """The first and last stored frame that show a thing, as micro clips have them: one verdict for both."""
    ends = []
    if tube.at_s[0] > 0:
        ends.append((EventKind.ENTERS, Span(tube.at_s[0], edges_s[edges_s.index(tube.at_s[0]) + 1])))
    if tube.end_s < edges_s[-1]:
        ends.append((EventKind.LEAVES, Span(tube.at_s[-1], tube.end_s)))
    sure = {e.kind for e in own if e.verdict.accepted}
    unseen = [str(kind) for kind, _ in ends if kind not in sure]
    verdict = rejected("told_small", "end_not_accepted", ", ".join(unseen)) if unseen else ACCEPTED
    return [
        Event("", "", kind, tube.tube_id, tube.phrase, f"{tube.phrase} {kind}", span, 1.0, (), tube.method, verdict)
        for kind, span in ends
    ]


def _moves(own: Sequence[Event]) -> list[Event]:
    moves = [e for e in own if e.kind is EventKind.MOVES]
    return moves if len(moves) == 1 else []
