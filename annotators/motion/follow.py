"""From blobs in single frames to tracks: one optimal assignment per frame, and honest gaps where blobs merge.

Where two followed things share a blob, its pixels go to the thing whose colour they have; where the colours are too
alike nobody gets a box, and the gap is bridged from both sides. Frames are seen once and not kept.

    Follower(25 fps): red square at frame 0..40, covered 41..44, seen again 45..80  ->  one Track, 4 bridged boxes
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from reelmill.annotators.motion.blobs import MIN_AREA_PX, Blob, Floats, cut, united

SHAPE_CELLS = 32
_RECENT = 6
_IMPOSSIBLE = 1e6


@dataclass(frozen=True, slots=True)
class FollowRules:
    """Distances in pixels of an analysis frame with a short side of 240; colours in CIE76.

    coast_s: a lost thing is waited for; stitch_s: two tracks with this gap may be one; young_s: a younger track that
    merges with one of its colour (within `piece_colour`) was a part of it. Dropped is a track briefer than
    `min_seen_s`, smaller than `min_area_px`, moved by less than `min_shift_px`, seen in less than `min_seen_share` of
    its frames, or of a confidence below `min_confidence`. One whose box changes its area by a factor of more than
    e ** `most_jump` from frame to frame in a tenth of them is a loose part of something: it is doubted.
    """

    coast_s: float = 0.6
    stitch_s: float = 1.5
    gate_px: float = 14.0
    gate_colour: float = 55.0
    claim_share: float = 0.35
    apart_colour: float = 14.0
    young_s: float = 0.4
    piece_colour: float = 35.0
    min_seen_s: float = 0.3
    min_area_px: float = 45.0
    min_shift_px: float = 5.0
    min_seen_share: float = 0.6
    min_confidence: float = 0.35
    most_jump: float = 0.25


@dataclass(frozen=True, slots=True)
class Sighting:
    """A thing in one observed frame. `shared`: its blob was cut out of one that it shared with another thing."""

    frame: int
    box: Floats
    area_px: int
    colour: Floats
    spread: float
    contrast: float
    cost: float
    shared: bool


@dataclass(slots=True)
class Track:
    """Sightings in rising frame order. `shape` sums masks of whole views scaled to 32 x 32; `views` counts them.
    `absorbed`: it turned out to be a piece of another."""

    number: int
    sightings: list[Sighting] = field(default_factory=list)
    velocity: Floats = field(default_factory=lambda: np.zeros(2))
    colour: Floats = field(default_factory=lambda: np.zeros(3))
    area_px: float = 0.0
    shape: Floats = field(default_factory=lambda: np.zeros((SHAPE_CELLS, SHAPE_CELLS)))
    views: int = 0
    absorbed: bool = False

    @property
    def last(self) -> Sighting:
        return self.sightings[-1]

    def predicted(self, at_s: float, times: list[float]) -> Floats:
        """Box at `at_s` at the last known velocity, from where it was last seen alone: a part has another size."""
        alone = next((s for s in reversed(self.sightings) if not s.shared), self.last)
        return np.asarray(alone.box + np.tile(self.velocity * (at_s - times[alone.frame]), 2))


class Follower:
    """Feed it the blobs of every frame in order; `finished()` gives all tracks by their first frame."""

    def __init__(self, width_px: int, height_px: int, rules: FollowRules) -> None:
        self.size = np.array([width_px, height_px], np.float64)
        self.scale = min(width_px, height_px) / 240
        self.rules = rules
        self.live: list[Track] = []
        self.ended: list[Track] = []
        self.times: list[float] = []

    def see(self, at_s: float, found: list[Blob]) -> None:
        """The blobs of the next frame, at clip time `at_s`."""
        self.times.append(at_s)
        boxes = [track.predicted(at_s, self.times) for track in self.live]
        shared, rest = self._shared(boxes, found)
        for index, part in shared.items():
            if part is not None and not self.live[index].absorbed:
                self._add(self.live[index], part, 0.3, shared=True)
        free = [i for i in range(len(self.live)) if i not in shared]
        left = self._assigned(free, boxes, rest)
        for blob in self._reunited(left, found=rest, boxes=boxes, free=free):
            self._born(blob)
        self._let_go(at_s)

    def finished(self) -> list[Track]:
        """All tracks, also those still in view."""
        return sorted(self.ended + self.live, key=lambda t: (t.sightings[0].frame, t.number))

    # -- things that share a blob

    def _shared(self, boxes: list[Floats], found: list[Blob]) -> tuple[dict[int, Blob | None], list[Blob]]:
        """Parts of blobs that several tracks claim (None: covered), and the blobs that are left."""
        claims: dict[int, list[int]] = {}
        for index, (track, box) in enumerate(zip(self.live, boxes, strict=True)):
            inside = [_pixels_inside(blob, box) for blob in found]
            best = int(np.argmax(inside)) if inside else -1
            if best >= 0 and inside[best] >= self.rules.claim_share * track.area_px:
                claims.setdefault(best, []).append(index)
        parts: dict[int, Blob | None] = {}
        taken, grown = set(), set()
        for place, indices in claims.items():
            grown |= self._pieces(indices)
            indices = [i for i in indices if i not in grown]
            if len(indices) > 1:
                parts |= self._split(found[place], indices, boxes)
                taken.add(place)
        for index in grown:
            self.live[index].absorbed = True
            parts[index] = None
        return parts, [blob for place, blob in enumerate(found) if place not in taken]

    def _pieces(self, indices: list[int]) -> set[int]:
        """Of tracks that claim one blob, the young ones of the eldest's colour: its parts came into view one by one."""
        eldest, *others = sorted((self.live[i] for i in indices), key=lambda t: (t.sightings[0].frame, t.number))
        return {
            i
            for i in indices
            for track in others
            if self.live[i] is track
            and self.times[-1] - self.times[track.sightings[0].frame] < self.rules.young_s
            and float(np.linalg.norm(track.colour - eldest.colour)) < self.rules.piece_colour
        }

    def _split(self, blob: Blob, indices: list[int], boxes: list[Floats]) -> dict[int, Blob | None]:
        """Every pixel of a blob goes to the track of the nearest colour, if it lies where that track may be."""
        colours = np.array([self.live[i].colour for i in indices])
        nearest = np.linalg.norm(blob.lab[:, :, None, :] - colours, axis=3).argmin(axis=2)
        parts: dict[int, Blob | None] = {}
        for number, index in enumerate(indices):
            others = np.delete(colours, number, axis=0)
            alike = np.linalg.norm(others - colours[number], axis=1).min() < self.rules.apart_colour
            mask = blob.mask & (nearest == number) & _window(blob, boxes[index], 0.2, 3 * self.scale)
            mask = _solid(mask)
            enough = mask.sum() >= max(MIN_AREA_PX, 0.06 * self.live[index].area_px)
            parts[index] = cut(blob.lab, mask, blob.left, blob.top, blob.contrast) if enough and not alike else None
        return parts

    # -- things that have a blob of their own

    def _assigned(self, free: list[int], boxes: list[Floats], found: list[Blob]) -> list[Blob]:
        """Match tracks and blobs at least total cost; gives the blobs that nobody took."""
        from scipy.optimize import linear_sum_assignment

        if not free or not found:
            return found
        costs = np.array([[self._cost(self.live[i], boxes[i], blob) for blob in found] for i in free])
        taken = set()
        for row, column in zip(*linear_sum_assignment(costs), strict=True):
            if costs[row, column] < _IMPOSSIBLE:
                self._add(self.live[free[row]], found[column], float(costs[row, column]), shared=False)
                taken.add(int(column))
        return [blob for place, blob in enumerate(found) if place not in taken]

    def _cost(self, track: Track, box: Floats, blob: Blob) -> float:
        """0 where place, size and colour are as expected, about 1 at the gates, and impossible beyond them."""
        far_px = float(np.hypot(*(_centre(box) - _centre(blob.box))))
        reach_px = self.rules.gate_px * self.scale + 0.35 * float(np.hypot(*_sides(box)))
        overlap = _iou(box, blob.box)
        small = min(track.area_px, blob.area_px) < self.rules.min_area_px * self.scale**2
        colour = 0.0 if small else float(np.linalg.norm(track.colour - blob.colour))
        if (far_px > reach_px and overlap == 0) or colour > self.rules.gate_colour:
            return _IMPOSSIBLE
        grown = abs(np.log((blob.area_px + 20) / (track.last.area_px + 20)))
        return float(
            0.4 * (1 - overlap) + 0.2 * min(1.0, far_px / reach_px) + 0.3 * colour / 60 + 0.1 * min(1.0, grown)
        )

    def _reunited(self, left: list[Blob], found: list[Blob], boxes: list[Floats], free: list[int]) -> list[Blob]:
        """Give loose pieces that lie inside a track's expected box back to it; the others are new things."""
        now = len(self.times) - 1
        new = []
        for blob in left:
            homes = [i for i in free if self.live[i].last.frame == now and self._is_piece(self.live[i], boxes[i], blob)]
            if not homes:
                new.append(blob)
                continue
            track = self.live[homes[0]]
            own = next(b for b in found if b.box is track.last.box)
            whole = united(own, blob)
            found.append(whole)
            cost = track.last.cost
            track.sightings.pop()
            self._add(track, whole, cost, shared=False)
        return new

    def _is_piece(self, track: Track, box: Floats, blob: Blob) -> bool:
        missing = track.area_px - track.last.area_px
        inside = _pixels_inside(blob, box) / blob.area_px
        return len(track.sightings) > 3 and inside > 0.7 and blob.area_px < 1.3 * missing

    # -- life of a track

    def _born(self, blob: Blob) -> None:
        track = Track(number=len(self.live) + len(self.ended), colour=blob.colour, area_px=blob.area_px)
        self._add(track, blob, 0.0, shared=False)
        self.live.append(track)

    def _add(self, track: Track, blob: Blob, cost: float, *, shared: bool) -> None:
        sighting = Sighting(
            frame=len(self.times) - 1,
            box=blob.box,
            area_px=blob.area_px,
            colour=blob.colour,
            spread=blob.spread,
            contrast=blob.contrast,
            cost=min(1.0, cost),
            shared=shared,
        )
        track.sightings.append(sighting)
        if shared:
            return
        track.velocity = self._velocity(track)
        weight = 0.5 if blob.area_px > 1.15 * track.area_px else 0.15
        track.colour = (1 - weight) * track.colour + weight * blob.colour
        track.area_px = (1 - weight) * track.area_px + weight * blob.area_px
        if not self._at_border(blob.box):
            track.shape += _scaled(blob.mask)
            track.views += 1

    def _velocity(self, track: Track) -> Floats:
        """Mean velocity in px/s of the last few sightings; of a free edge where the box is cut by the border."""
        recent = track.sightings[-_RECENT:]
        first, last = recent[0], recent[-1]
        gap_s = self.times[last.frame] - self.times[first.frame]
        if gap_s <= 0:
            return np.zeros(2)
        moved = translation(np.stack([first.box, last.box]), self.size)[-1]
        return np.asarray(moved / gap_s)

    def _at_border(self, box: Floats) -> bool:
        return bool((box[:2] <= 1).any() or (box[2:] >= self.size - 1).any())

    def _let_go(self, at_s: float) -> None:
        """End tracks that were lost for too long or whose expected place is out of view."""
        stay: list[Track] = []
        for track in self.live:
            gap_s = at_s - self.times[track.last.frame]
            box = track.predicted(at_s, self.times)
            out = gap_s > 0 and ((box[2:] <= 0).any() or (box[:2] >= self.size).any())
            if not track.absorbed:
                (self.ended if out or gap_s > self.rules.coast_s else stay).append(track)
        self.live = stay


def translation(boxes: Floats, size: Floats) -> Floats:
    """How far a thing has moved, in pixels [n, 2], since the first of its boxes [n, 4] in frames of `size` (w, h).

    Per axis both edges must move the same way, and the lesser of the two counts: a thing that is being covered, or that
    grows or shrinks, does not move. Where an edge lies on the border of the frame, the other edge speaks alone.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    moved_low, moved_high = low - low[0], high - high[0]
    both = np.where(np.abs(moved_low) < np.abs(moved_high), moved_low, moved_high)
    both[moved_low * moved_high < 0] = 0.0
    cut_low = (low <= 1) | (low[0] <= 1)
    cut_high = (high >= size - 1) | (high[0] >= size - 1)
    moved = np.where(cut_low & ~cut_high, moved_high, np.where(cut_high & ~cut_low, moved_low, both))
    return np.asarray(moved)


def _centre(box: Floats) -> Floats:
    return np.asarray((box[:2] + box[2:]) / 2)


def _sides(box: Floats) -> Floats:
    return np.asarray(box[2:] - box[:2])


def _iou(one: Floats, other: Floats) -> float:
    shared = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None).prod()
    return float(shared / (_sides(one).prod() + _sides(other).prod() - shared))


def _pixels_inside(blob: Blob, box: Floats) -> int:
    return int((blob.mask & _window(blob, box, 0.0, 0.0)).sum())


def _window(blob: Blob, box: Floats, grow: float, margin_px: float) -> npt.NDArray[np.bool_]:
    """Pixels of a blob's window that lie in a box, grown on each side by a share of it and a margin."""
    margin = grow * _sides(box) + margin_px
    low = np.round(box[:2] - margin - (blob.left, blob.top)).astype(int).clip(0)
    high = np.round(box[2:] + margin - (blob.left, blob.top)).astype(int).clip(0)
    inside = np.zeros(blob.mask.shape, bool)
    inside[low[1] : high[1], low[0] : high[0]] = True
    return inside


def _solid(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The mask's largest connected part and any other of at least a fifth of it: no stray pixels of mixed colour."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count < 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.asarray(np.isin(labels, np.flatnonzero(areas >= 0.2 * areas.max())))


def _scaled(mask: npt.NDArray[np.bool_]) -> Floats:
    import cv2

    small = cv2.resize(mask.astype(np.float32), (SHAPE_CELLS, SHAPE_CELLS), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float64)
