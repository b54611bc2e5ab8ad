"""From raw tracks to what is published: broken ones stitched, flicker dropped, short gaps bridged, confidence stated.

A track that moves and may be no one thing is published as a doubt: no view names it, and all know that something was
there.

tracks of a red circle 0.0-1.2 s and 1.5-3.0 s, same colour, on one line  ->  one Path 0.0-3.0 s, seen in 90 %
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from reelmill.annotators.motion.blobs import Floats
from reelmill.annotators.motion.follow import FollowRules, Sighting, Track, translation

_FULL_CONTRAST_GREY = 40.0
_STITCH_COLOUR = 20.0
_STITCH_LOG_AREA = 0.8
_MOST_IN_DOUBT = 0.4
"""Confidence of a doubt at most: under the half from which on events and views name a thing."""
_DOUBTS = ("unsteady", "comes_and_goes_in_mid_frame")
"""Faults of what moves: something was there, and nobody knows what."""
_SWITCH_S, _SWITCH_LOG_AREA = 0.5, 1.5
"""No one thing wholly in view grows or shrinks to over four times its size in half a second: the track went over to
another. What comes straight at a camera from 5 m at 5 m/s doubles its width in that time."""


@dataclass(frozen=True, slots=True)
class Path:
    """A thing over the observed frames `first` .. `first + len(boxes) - 1`: boxes float64 [n, 4] in analysis pixels.

    `colour` CIE L*a*b* with `spread` (median distance of its pixels from it); `shape` [32, 32] share of views in which
    a cell of the thing's box was filled, None where it was never seen whole and alone; `area_px` its median area;
    `sides` its median width and height in those views, in all of them where there were none.
    """

    first: int
    boxes: Floats
    confidence: float
    colour: Floats
    spread: float
    shape: Floats | None
    area_px: float
    sides: Floats


def kept(
    tracks: list[Track], times: list[float], size: Floats, rules: FollowRules
) -> tuple[list[Path], dict[str, int]]:
    """Tracks worth publishing by first frame, and how many were dropped or doubted for which reason."""
    noted: dict[str, int] = {}
    paths = []
    whole = _stitched(tracks, times, size, rules)
    for track in whole:
        reason = _fault(track, whole, times, size, rules)
        path = _path(track, times, size)
        doubt = reason if reason in _DOUBTS else "" if reason else _doubt(track, times, size)
        if doubt:
            reason, path = f"doubted {doubt}", replace(path, confidence=min(path.confidence, _MOST_IN_DOUBT))
        elif reason or path.confidence < rules.min_confidence:
            reason = f"dropped {reason or 'low_confidence'}"
        if reason:
            noted[reason] = noted.get(reason, 0) + 1
        if doubt or not reason:
            paths.append(path)
    return paths, noted


def _doubt(track: Track, times: list[float], size: Floats) -> str:
    """Why a track that could be published may be no one thing; empty where nothing speaks for that."""
    if _pops(track.sightings, len(times), size):
        return "comes_or_goes_in_mid_frame"
    return "switches" if _switches(track.sightings, times, size) else ""


def _switches(seen: list[Sighting], times: list[float], size: Floats) -> bool:
    """Does its area jump, between sightings wholly in view and of a blob of its own?"""
    own = [s for s in seen if not s.shared and not _touches(s.box, size)]
    at_s = np.array([times[s.frame] for s in own])
    area = np.log([s.area_px for s in own])
    ends = np.searchsorted(at_s, at_s + _SWITCH_S, side="right")
    return any(np.ptp(area[first:end]) > _SWITCH_LOG_AREA for first, end in enumerate(ends))


def _stitched(tracks: list[Track], times: list[float], size: Floats, rules: FollowRules) -> list[Track]:
    """Join tracks end to start, cheapest pair first, each end and each start once."""
    pairs = sorted(
        (cost, a.number, b.number)
        for a in tracks
        for b in tracks
        if (cost := _stitch_cost(a, b, times, size, rules)) is not None
    )
    after: dict[int, int] = {}
    taken: set[int] = set()
    for _, a, b in pairs:
        if a not in after and b not in taken:
            after[a] = b
            taken.add(b)
    by_number = {t.number: t for t in tracks}
    whole = []
    for track in tracks:
        if track.number in taken:
            continue
        chain = [track]
        while chain[-1].number in after:
            chain.append(by_number[after[chain[-1].number]])
        whole.append(_joined(chain))
    return whole


def _stitch_cost(a: Track, b: Track, times: list[float], size: Floats, rules: FollowRules) -> float | None:
    """How unlike one thing two tracks are; None where they cannot be one."""
    end, start = a.last, b.sightings[0]
    gap_s = times[start.frame] - times[end.frame]
    if not 0 < gap_s <= rules.stitch_s or min(len(a.sightings), len(b.sightings)) < 3:
        return None
    scale = size.min() / 240
    if _touches(end.box, size) or _touches(start.box, size):
        return None
    colour = float(np.linalg.norm(a.colour - b.colour))
    grown = abs(float(np.log(a.area_px / b.area_px)))
    ahead = (end.box + np.tile(a.velocity * gap_s, 2), end.box)
    centre = (start.box[:2] + start.box[2:]) / 2
    far_px = min(float(np.hypot(*((box[:2] + box[2:]) / 2 - centre))) for box in ahead)
    reach_px = 2 * rules.gate_px * scale + float(np.hypot(*(end.box[2:] - end.box[:2])))
    if colour > _STITCH_COLOUR or grown > _STITCH_LOG_AREA or far_px > reach_px:
        return None
    return float(colour / _STITCH_COLOUR + grown + far_px / reach_px + gap_s)


def _touches(box: Floats, size: Floats) -> bool:
    return bool((box[:2] <= 1).any() or (box[2:] >= size - 1).any())


def _joined(chain: list[Track]) -> Track:
    """One track of several that follow each other."""
    biggest = max(chain, key=lambda t: t.area_px)
    return Track(
        number=chain[0].number,
        sightings=[s for track in chain for s in track.sightings],
        velocity=chain[-1].velocity,
        colour=biggest.colour,
        area_px=biggest.area_px,
        shape=np.sum([t.shape for t in chain], axis=0),
        views=sum(t.views for t in chain),
    )


def _fault(track: Track, others: list[Track], times: list[float], size: Floats, rules: FollowRules) -> str:
    """Why a track is not published; empty where it is."""
    seen = track.sightings
    scale = size.min() / 240
    boxes = np.stack([s.box for s in seen])
    # Places apart in the 90th percentile: one wild box does not make a mover.
    shifted = np.percentile(np.hypot(*translation(boxes, size).T), 90)
    if times[seen[-1].frame] - times[seen[0].frame] < rules.min_seen_s or len(seen) < 4:
        return "too_brief"
    if np.median([s.area_px for s in seen]) < rules.min_area_px * scale**2:
        return "too_small"
    if shifted < rules.min_shift_px * scale:
        return "does_not_move"
    if all(_touches(box, size) for box in boxes):
        return "never_whole"
    if len(seen) < rules.min_seen_share * (seen[-1].frame - seen[0].frame + 1):
        return "flickers"
    if _jumps(seen, size) > rules.most_jump:
        return "unsteady"
    if _pops(seen, len(times), size) == 2:
        return "comes_and_goes_in_mid_frame"
    return "part_of_another" if any(_inside(track, other) for other in others if other is not track) else ""


def _jumps(seen: list[Sighting], size: Floats) -> float:
    """90th percentile of the change of log area between neighbouring sightings; uncut by the border if possible."""
    boxes = np.stack([s.box for s in seen])
    area = np.log((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    free = np.array([not _touches(box, size) for box in boxes])
    pairs = free[1:] & free[:-1]
    changes = np.abs(np.diff(area))
    return float(np.percentile(changes[pairs] if pairs.sum() >= 4 else changes, 90))


def _pops(seen: list[Sighting], frames: int, size: Floats) -> int:
    """How many ends of a track lie in mid-frame and in mid-clip: things do not come from nowhere."""
    begins = seen[0].frame > 0 and not _touches(seen[0].box, size)
    ends = seen[-1].frame < frames - 1 and not _touches(seen[-1].box, size)
    return int(begins) + int(ends)


def _inside(part: Track, whole: Track) -> bool:
    """Does a track lie inside a larger one for most of its time?"""
    if part.area_px > 0.6 * whole.area_px:
        return False
    boxes = {s.frame: s.box for s in whole.sightings}
    within = [s.frame in boxes and _share_inside(s.box, boxes[s.frame]) > 0.8 for s in part.sightings]
    return float(np.mean(within)) > 0.7


def _share_inside(box: Floats, other: Floats) -> float:
    shared = np.clip(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0, None).prod()
    return float(shared / (box[2:] - box[:2]).prod())


def _path(track: Track, times: list[float], size: Floats) -> Path:
    seen = track.sightings
    first, last = seen[0].frame, seen[-1].frame
    own = [s for s in seen if not s.shared] or seen
    boxes = np.stack([s.box for s in own if not _touches(s.box, size)] or [s.box for s in own])
    return Path(
        first=first,
        boxes=_bridged(seen, np.array(times[first : last + 1])),
        confidence=_confidence(seen, times, _pops(seen, len(times), size)),
        colour=np.median([s.colour for s in own], axis=0),
        spread=float(np.median([s.spread for s in own])),
        shape=track.shape / track.views if track.views else None,
        area_px=float(np.median([s.area_px for s in own])),
        sides=np.median(boxes[:, 2:] - boxes[:, :2], axis=0),
    )


def _bridged(seen: list[Sighting], at_s: Floats) -> Floats:
    """Boxes of every observed frame; where none was seen, on the straight line in time between its neighbours."""
    known_s = np.array([at_s[s.frame - seen[0].frame] for s in seen])
    boxes = np.stack([s.box for s in seen])
    return np.stack([np.interp(at_s, known_s, boxes[:, side]) for side in range(4)], axis=1)


def _confidence(seen: list[Sighting], times: list[float], pops: int) -> float:
    """In [0, 1]: geometric mean of length, contrast, share of frames seen, cost of association, steadiness of size, and
    of whether it came and went over the border.

    An order, not a probability: nobody has calibrated it.
    """
    area = np.log([s.area_px for s in seen if not s.shared] or [1])
    jumps = float(np.median(np.abs(np.diff(area)))) if len(area) > 1 else 0.0
    parts: tuple[float, ...] = (
        1.0 - float(np.exp((times[seen[0].frame] - times[seen[-1].frame]) / 0.4)),
        min(1.0, float(np.median([s.contrast for s in seen])) / _FULL_CONTRAST_GREY),
        len(seen) / (seen[-1].frame - seen[0].frame + 1),
        1 - float(np.mean([s.cost for s in seen])),
        1.0 / (1 + 6 * jumps),
        1.0 - 0.8 * pops,
    )
    return float(np.prod(np.maximum(np.array(parts), 1e-6)) ** (1 / len(parts)))
