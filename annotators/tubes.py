"""Tubes by rules: what moves before a camera that stands still, with a box in every observed frame.

A clip is decoded once, in a child process; the change map for the second localiser comes from the same decode. Where
the camera or everything moves, there are no tubes, and `tubes_note` says why: a false tube is worse than none.

    clip of 3 s, a red square crosses  ->  tubes=(Tube(phrase="the red square", 40 boxes, ...),), tubes_note=""
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from reelmill.annotators.annotator import Resources
from reelmill.annotators.decode.frames import Frame, fitted, watch
from reelmill.annotators.decode.local import local_path
from reelmill.annotators.decode.with_child import WithChild
from reelmill.annotators.motion.backdrop import background, camera
from reelmill.annotators.motion.blobs import blobs
from reelmill.annotators.motion.changes import CHANGES, ChangeMap, Changes
from reelmill.annotators.motion.follow import Follower, FollowRules
from reelmill.annotators.motion.phrase import Look, phrases
from reelmill.annotators.motion.tracks import Path, kept
from reelmill.annotators.shown import MEDIA
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Fault
from reelmill.schemas.keys import child_key, micros, seed_for
from reelmill.schemas.media import DecodeStatus, MediaRef
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box, Tube

NUM_FRAMES = Column.of("num_frames", int)
TUBES = Column.of("tubes", tuple[Tube, ...])
DECODE = Column.of("decode", DecodeStatus)
TUBES_NOTE = Column.of("tubes_note", str)

METHOD = "rules"
_WALL_S = 300.0
_SLACK_S = 1e-3


@dataclass(frozen=True, slots=True)
class TubeRules:
    """`short_side_px` of analysis frames, less where a clip's frames would not fit into `frames_mb`; frames less than
    1 / `most_fps` after the last observed one are passed over. Where more than `busy_share` of a frame differs there is
    nothing to follow in it; above a share `busy_frames` of such frames, or `busy_blobs` blobs in the median frame, in
    none of the clip."""

    short_side_px: int = 240
    least_short_side_px: int = 96
    frames_mb: int = 256
    most_fps: float = 61.0
    busy_share: float = 0.5
    busy_frames: float = 0.15
    busy_blobs: int = 15
    follow: FollowRules = field(default_factory=FollowRules)


@dataclass(frozen=True, slots=True)
class Followed:
    """What one clip gave."""

    tubes: tuple[Tube, ...]
    changes: Changes
    decode: DecodeStatus
    tubes_note: str


@dataclass(frozen=True)
class FollowTubes(WithChild):
    """Adds the tubes of a clip, its change map, how its decode went, and why there are no tubes if there are none."""

    rules: TubeRules = field(default_factory=TubeRules)
    seed: int = 0
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, NUM_FRAMES)
    gives: ClassVar[tuple[Column, ...]] = (TUBES, CHANGES, DECODE, TUBES_NOTE)
    revision: ClassVar[str] = "3"
    resources: ClassVar[Resources] = Resources()

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        media = arrow.typed(MediaRef, row["media"])
        path = local_path(media.uri, media.digest)
        seed = seed_for(self.seed, row["key"], "follow_tubes")
        place = "reelmill.annotators.tubes:followed"
        found = self.child.call(
            place, path, media.span, row["num_frames"], row["key"], self.rules, seed, wall_s=_WALL_S
        )
        return {"tubes": found.tubes, "changes": found.changes, "decode": found.decode, "tubes_note": found.tubes_note}


def followed(path: str, span: Span | None, num_frames: int, key: str, rules: TubeRules, seed: int) -> Followed:
    """Decode a span of a local file and follow what moves. Runs in the child. Raises Unusable as `watch` does."""
    import cv2

    cv2.setNumThreads(1)
    cv2.setRNGSeed(seed % (1 << 31))
    eyes = Eyes(num_frames, rules)
    seen = watch(path, span, [eyes], expected=num_frames)
    shown = (seen.width_px, seen.height_px)
    tubes, note = eyes.tubes(key, shown, seen.duration_s)
    return Followed(tubes, eyes.changes.done(seen.duration_s), seen.status, note)


class Eyes:
    """Consumer of a decode: keeps the clip's analysis frames, at most `frames_mb` of them, and feeds the change map.

    The background needs the whole clip before the first blob can be found; keeping small frames costs less than
    decoding twice.
    """

    def __init__(self, num_frames: int, rules: TubeRules) -> None:
        self.num_frames, self.rules = num_frames, rules
        self.changes = ChangeMap()
        self.times: list[float] = []
        self._frames: npt.NDArray[np.uint8] | None = None
        self._short_side_px = rules.short_side_px

    def see(self, frame: Frame) -> None:
        """Raises Fault where more frames come than the clip was said to have: the memory was sized by that number."""
        if self.times and frame.at_s < self.times[-1] + 1 / self.rules.most_fps - _SLACK_S:
            return
        if self._frames is None:
            self._short_side_px = self._fitting(frame.width_px, frame.height_px)
            first = frame.rgb(self._short_side_px)
            self._frames = np.empty((self.num_frames, *first.shape), np.uint8)
        if len(self.times) == self.num_frames:
            seen = f"another frame at {frame.at_s:.3f} s"
            raise Fault(f"a clip of {self.num_frames} frames", seen=seen, do="make the clips again")
        picture = frame.rgb(self._short_side_px)
        self._frames[len(self.times)] = picture
        self.changes.see(frame.at_s, picture)
        self.times.append(frame.at_s)

    def done(self) -> None:
        """Nothing to hand over: the child reads `tubes` and `changes` itself."""

    def _fitting(self, width_px: int, height_px: int) -> int:
        """The largest short side at which all frames fit into the memory; 0 below the least useful one."""
        for short_side_px in range(self.rules.short_side_px, 0, -4):
            width, height = fitted(width_px, height_px, short_side_px)
            if 3 * width * height * self.num_frames <= self.rules.frames_mb << 20:
                return short_side_px
        return 4

    def tubes(self, key: str, shown: tuple[int, int], end_s: float) -> tuple[tuple[Tube, ...], str]:
        """Tubes in shown pixels by first time, and why there are none (empty where nothing was in the way)."""
        if self._frames is None or len(self.times) < 2:
            return (), f"too_short: {len(self.times)} frame"
        frames = self._frames[: len(self.times)]
        least = min(self.rules.least_short_side_px, *shown)
        if min(frames.shape[1:3]) < least:
            return (), f"too_many_frames: {len(frames)} frames leave {min(frames.shape[1:3])} px of short side"
        moves = camera(frames, np.array(self.times))
        if moves.moves:
            seen = f"{moves.moved} of {moves.steps} steps shift the frame, by {moves.shift_px:.1f} px (median)"
            return (), f"camera_moves: {seen}"
        paths, note = _paths(frames, self.times, self.rules)
        return _tubes(paths, key, frames.shape, shown, [*self.times, end_s]), note


def _paths(frames: npt.NDArray[np.uint8], times: list[float], rules: TubeRules) -> tuple[list[Path], str]:
    """Followed things in analysis pixels, and a note."""
    still = background(frames)
    height, width = frames.shape[1:3]
    follower = Follower(width, height, rules.follow)
    busy, counts = 0, []
    for at_s, frame in zip(times, frames, strict=True):
        found, share = blobs(frame, still)
        busy += share > rules.busy_share
        counts.append(len(found))
        follower.see(at_s, [] if share > rules.busy_share else found)
    if busy > rules.busy_frames * len(frames):
        return [], f"all_changes: in {busy} of {len(frames)} frames more than {rules.busy_share:.0%} differs"
    if np.median(counts) > rules.busy_blobs:
        return [], f"restless: {np.median(counts):.0f} blobs in the median frame, at most {rules.busy_blobs}"
    size = np.array([width, height], np.float64)
    paths, noted = kept(follower.finished(), times, size, rules.follow)
    return paths, ", ".join(f"{what}: {count}" for what, count in sorted(noted.items(), reverse=True))


def _tubes(
    paths: list[Path], key: str, shape: tuple[int, ...], shown: tuple[int, int], edges_s: list[float]
) -> tuple[Tube, ...]:
    scale = np.tile([shown[0] / shape[2], shown[1] / shape[1]], 2)
    names = phrases([_look(path, shape) for path in paths])
    return tuple(
        _tube(path, name, key, np.round(path.boxes * scale, 2), shown, edges_s)
        for path, name in zip(paths, names, strict=True)
    )


def _tube(
    path: Path, name: str, key: str, boxes: npt.NDArray[np.float64], shown: tuple[int, int], edges_s: list[float]
) -> Tube:
    at_s = edges_s[path.first : path.first + len(boxes)]
    return Tube(
        tube_id=child_key(key, "tube", micros(at_s[0]), *(round(v) for v in boxes[0])),
        phrase=name,
        at_s=tuple(at_s),
        boxes=tuple(Box(*(float(v) for v in box)) for box in boxes),
        frame_width_px=shown[0],
        frame_height_px=shown[1],
        end_s=edges_s[path.first + len(boxes)],
        confidence=round(path.confidence, 4),
        method=METHOD,
    )


def _look(path: Path, shape: tuple[int, ...]) -> Look:
    height, width = shape[1:3]
    centres = (path.boxes[:, :2] + path.boxes[:, 2:]) / 2 / np.array([width, height])
    sides = (float(path.sides[0]), float(path.sides[1]))
    return Look(path.colour, path.spread, path.shape, path.area_px / (width * height), centres, sides)
