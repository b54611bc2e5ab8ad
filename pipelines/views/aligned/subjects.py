"""Words that single out one thing among those in view: its phrase alone, or with the one quality that sets it apart.

A phrase from pixels ("the red circle") may fit two things. Then the larger, the leftmost or the first of them is meant,
if it clearly is that; and if no quality is clear there is no name, and the question is refused.

>>> alike("the red circle", "the small red object"), alike("the red circle", "the blue circle")
(True, False)
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from reelmill.pipelines.views.phrasing import defused
from reelmill.schemas.detection import Detection
from reelmill.schemas.media import MediaRef, ShownFrame
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box, Tube

SAME_FRAME_S = 1e-4
"""Two times of one decode this near to each other are one frame: frames lie farther apart, rounding does not."""

_SIZES = ("larger", "largest", "smaller", "smallest")
_LEAST_RATIO = 1.5  # of areas: a fifth more in width and height, below which nobody says "larger" at a glance
_LEAST_APART = 0.1  # of the frame: things nearer than that stand side by side
_LEAST_WAIT_S = 0.5  # one stored frame: what appears within it appears at once to who sees the stored frames

VAGUE = frozenset(
    (
        *("the", "object", "thing", "shape", "large", "small", "dark", "light"),
        *("at", "in", "on", "left", "right", "top", "bottom", "middle", "centre"),
    )
)
"""Words that do not tell one thing from another for sure: phrases that differ only in these could be of one thing."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A tube, or what was detected in one frame, as a view sees it: `boxes` by the place of the shown frame that they
    lie in, in pixels of the medium; seen from `from_s` until `until_s`."""

    id: str
    phrase: str
    boxes: Mapping[int, Box]
    usual_px: float
    from_s: float
    until_s: float
    confidence: float
    method: str

    def within(self, span: Span) -> bool:
        """Whether it is there at any time of a span."""
        return self.from_s < span.end_s and span.start_s < self.until_s


def followed(tube: Tube, frames: Sequence[ShownFrame], media: MediaRef) -> Thing:
    """A tube with its boxes at the shown frames, found by time of presentation: no frame rate is used (D1, D4).

    A place that its phrase ends with ("on the left") is left out: it was true of most of the tube, not of each frame.
    """
    size = tube.frame_width_px, tube.frame_height_px
    found = {}
    for place, frame in enumerate(frames):
        box = _at(tube, frame.at_s)
        if box is not None and (scaled := _in_medium(box, size, media)).area_px > 0:
            found[place] = scaled
    usual_px = median(_in_medium(box, size, media).area_px for box in tube.boxes)
    span = tube.span
    phrase = re.sub(r" (?:on|at|in) the \w+$", "", defused(tube.phrase))
    return Thing(tube.tube_id, phrase, found, usual_px, span.start_s, span.end_s, tube.confidence, tube.method)


def detected(found: Detection, frames: Sequence[ShownFrame], media: MediaRef) -> Thing | None:
    """What was detected in one shown frame; None for a frame that is not among them, or a box outside of the medium.

    Two detections in two frames are two things: nobody has followed them.
    """
    place = next((i for i, f in enumerate(frames) if f.frame == found.frame), None)
    box = _in_medium(found.box, (found.frame_width_px, found.frame_height_px), media)
    if place is None or box.area_px <= 0:
        return None
    corners = (round(10 * c) for c in (box.x0_px, box.y0_px, box.x1_px, box.y1_px))
    identity = f"frame{found.frame}.{'.'.join(str(c) for c in corners)}.{found.phrase}"
    phrase = "the " + re.sub(r"^(?:the|an?) ", "", defused(found.phrase), flags=re.IGNORECASE)
    at_s = found.at_s
    return Thing(identity, phrase, {place: box}, box.area_px, at_s, at_s, found.score, found.method)


def _at(tube: Tube, at_s: float) -> Box | None:
    place = bisect.bisect_left(tube.at_s, at_s - SAME_FRAME_S)
    return tube.boxes[place] if place < len(tube.at_s) and tube.at_s[place] < at_s + SAME_FRAME_S else None


def _in_medium(box: Box, size: tuple[int, int], media: MediaRef) -> Box:
    x, y = media.width_px / size[0], media.height_px / size[1]
    scaled = Box(box.x0_px * x, box.y0_px * y, box.x1_px * x, box.y1_px * y)
    return scaled.clipped(media.width_px, media.height_px)


def alike(one: str, other: str) -> bool:
    """Whether two phrases could be said of one thing: what one says for sure, the other says too."""
    first, second = (set(phrase.split()) - VAGUE for phrase in (one, other))
    return first <= second or second <= first


def quality(subject: Thing, rivals: Sequence[Thing], places: Sequence[int], media: MediaRef) -> str | None:
    """What sets a thing apart from its rivals in the shown frames at `places`; None where nothing clearly does.

    It must be seen beside every rival: two tubes that are never seen together may be one thing whose tube broke.
    """
    beside = [[p for p in places if p in subject.boxes and p in rival.boxes] for rival in rivals]
    if not all(beside):
        return None
    sized = {"large", "small"} & set(subject.phrase.split())
    for name, holds in _qualities(subject, media, len(rivals) > 1):
        if sized and name in _SIZES:
            continue  # nobody says "the larger small thing"
        if all(holds(rival, shared) for rival, shared in zip(rivals, beside, strict=True)):
            return name
    return None


_Holds = Callable[[Thing, Sequence[int]], bool]


def _qualities(subject: Thing, media: MediaRef, many: bool) -> Iterator[tuple[str, _Holds]]:
    """Names of qualities, and whether the subject has each against one rival, in the order in which they are tried."""

    def area(one: Thing, places: Sequence[int]) -> float:
        return median(one.boxes[p].area_px for p in places)

    def apart(axis: int, sign: int, least_px: float) -> _Holds:
        return lambda rival, places: all(
            sign * (subject.boxes[p].centre_px[axis] - rival.boxes[p].centre_px[axis]) >= least_px for p in places
        )

    yield "largest" if many else "larger", lambda r, ps: area(subject, ps) >= _LEAST_RATIO * area(r, ps)
    yield "smallest" if many else "smaller", lambda r, ps: area(r, ps) >= _LEAST_RATIO * area(subject, ps)
    yield "leftmost", apart(0, -1, _LEAST_APART * media.width_px)
    yield "rightmost", apart(0, 1, _LEAST_APART * media.width_px)
    yield "uppermost", apart(1, -1, _LEAST_APART * media.height_px)
    yield "lowest", apart(1, 1, _LEAST_APART * media.height_px)
    yield "first", lambda r, _: r.from_s - subject.from_s >= _LEAST_WAIT_S
    yield "last", lambda r, _: subject.from_s - r.from_s >= _LEAST_WAIT_S
