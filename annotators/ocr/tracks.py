"""Lines that were read in several frames as texts over time, with ends to within one stored frame.

First the lines of the frames that were read are linked: the same text in the same place, or anywhere where it stands
once in both. Then every other stored frame is asked whether it still shows the text: not by reading but by looking for
its edges, since letters keep theirs while the picture behind moves. A track is a run of such frames.

    read at 0.0 "TWO STAGES" (edges seen at 0.5, 1.0), read at 1.5 another line there, clip of 3 s
    -> TextTrack("TWO STAGES", span=[0.0, 1.5), start_after_s=None, seen_until_s=1.0, frames=(0, 12, 24))
"""

from __future__ import annotations

import difflib
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from reelmill.schemas.media import ShownFrame
from reelmill.schemas.script import script_of
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextLine, TextSighting, TextTrack
from reelmill.schemas.tube import Box

Grey = npt.NDArray[np.float32]
Lines = Mapping[int, Sequence[TextLine]]
"""Lines by the index of their frame; a frame that was read and shows none has an empty entry."""

_DIGITS = 4
_LEAST_PX = 4
_EDGE_SHARE = 0.3  # of a patch's pixels, those with the strongest edges are its letters
_FAINT = 0.04  # of its edges' energy: a text faded below a fifth of its contrast is gone
_NEAR_PX = 4


@dataclass(frozen=True, slots=True)
class TrackRules:
    """Two readings are one text where `difflib` finds them alike to `same_text` and their digits are equal, and one
    place where their boxes overlap by `same_place` (IoU). A frame shows a text where its edges are found again to
    `same_look` (correlation). A text that is back within `bridge_s` was covered, not gone."""

    same_text: float = 0.8
    same_place: float = 0.3
    same_look: float = 0.6
    bridge_s: float = 2.0


def text_tracks(
    frames: Sequence[ShownFrame],
    lines: Lines,
    grey: Callable[[int], Grey],
    end_s: float,
    rules: TrackRules,
    method: str,
) -> tuple[TextTrack, ...]:
    """Tracks of one clip, by their start, then from top to bottom. `grey(i)` is the luma (h, w) of stored frame i."""
    chains = linked(lines, rules)
    shows = _looked(chains, lines, grey, len(frames), rules)
    found = [
        _track(frames, chain, run, end_s, method)
        for chain, shown in zip(chains, shows, strict=True)
        for run in _runs(shown, [f.at_s for f in frames], rules.bridge_s)
        if any(i in chain.lines for i in run)
    ]
    return tuple(sorted(found, key=lambda t: (t.span.start_s, t.sightings[0].box.y0_px, t.sightings[0].box.x0_px)))


# ---- linking what was read -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Chain:
    """The line of one text in each frame in which it was read, by the frame's index."""

    lines: dict[int, TextLine] = field(default_factory=dict)

    @property
    def last(self) -> TextLine:
        return self.lines[max(self.lines)]

    def box_at(self, i: int) -> Box:
        """Where the text lies in frame i: between the readings before and after it, else as in the nearest."""
        before = max((k for k in self.lines if k <= i), default=None)
        after = min((k for k in self.lines if k >= i), default=None)
        if before is None or after is None or before == after:
            known = before if before is not None else after
            assert known is not None
            return self.lines[known].box
        way = (i - before) / (after - before)
        one, other = self.lines[before].box, self.lines[after].box
        return Box(*(a + (b - a) * way for a, b in zip(_sides(one), _sides(other), strict=True)))


def linked(lines: Lines, rules: TrackRules) -> list[Chain]:
    """Lines of several frames put together where they are one text; each line belongs to one chain at most."""
    chains: list[Chain] = []
    for i in sorted(lines):
        here, before = list(lines[i]), [chain.last for chain in chains]
        bonds = [(_bond(li, here, last, rules), -c, -n) for n, li in enumerate(here) for c, last in enumerate(before)]
        free, waiting = set(range(len(here))), set(range(len(chains)))
        for strength, c, n in sorted(bonds, reverse=True):
            if strength > 0 and -n in free and -c in waiting:
                free.remove(-n)
                waiting.remove(-c)
                chains[-c].lines[i] = here[-n]
        went_on = [last for chain, last in zip(chains, before, strict=True) if i in chain.lines]
        whole = [*went_on, *(here[n] for n in range(len(here)) if n not in free)]
        chains += [Chain({i: here[n]}) for n in sorted(free) if not any(_is_piece(here[n], x) for x in whole)]
    return chains


def _bond(line: TextLine, here: Sequence[TextLine], last: TextLine, rules: TrackRules) -> float:
    """How well a line goes on with the last of a chain; 0 where it is another text."""
    overlap = iou(line.box, last.box)
    if same_text(line.text, last.text, rules.same_text):
        if overlap >= rules.same_place:
            return 1.0 + overlap
        alone = sum(same_text(line.text, other.text, rules.same_text) for other in here) == 1
        long = len(plain(line.text)) >= 4
        tall = sorted((_height(line.box), _height(last.box)))
        return 0.5 if alone and long and tall[1] <= 2 * tall[0] else 0.0
    return 0.75 if _is_piece(line, last) or _is_piece(last, line) else 0.0


def same_text(one: str, other: str, least: float) -> bool:
    """True for two readings of one text: alike letter by letter, and equal in their digits, which a counter changes."""
    first, second = plain(one), plain(other)
    if [c for c in first if c.isdigit()] != [c for c in second if c.isdigit()]:
        return False
    return difflib.SequenceMatcher(None, first, second, autojunk=False).ratio() >= least


def plain(text: str) -> str:
    """A text's letters and digits alone (NFKC, case folded); signs where it has no others."""
    whole = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    return "".join(c for c in whole if c.isalnum()) or whole


def _is_piece(line: TextLine, whole: TextLine) -> bool:
    """True where a line is a part of another one, in its words and in its place: engines break a line now and then."""
    words, all_words = (f" {' '.join(map(plain, x.text.split()))} " for x in (line, whole))
    area = line.box.area_px
    return words in all_words and area > 0 and _shared(line.box, whole.box) >= 0.7 * area


def _sides(box: Box) -> tuple[float, float, float, float]:
    return box.x0_px, box.y0_px, box.x1_px, box.y1_px


def _height(box: Box) -> float:
    return box.y1_px - box.y0_px


def _shared(one: Box, other: Box) -> float:
    width = min(one.x1_px, other.x1_px) - max(one.x0_px, other.x0_px)
    height = min(one.y1_px, other.y1_px) - max(one.y0_px, other.y0_px)
    return max(0.0, width) * max(0.0, height)


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    shared = _shared(one, other)
    union = one.area_px + other.area_px - shared
    return shared / union if union > 0 else 0.0


# ---- looking for it in the frames between ----------------------------------------------------------------------------


def _looked(
    chains: Sequence[Chain], lines: Lines, grey: Callable[[int], Grey], count: int, rules: TrackRules
) -> list[list[bool]]:
    """For each chain and stored frame whether it shows the text. Every frame is decoded at most twice."""
    patches = _patches(chains, grey)
    shows = [[i in chain.lines for i in range(count)] for chain in chains]
    for i in range(count):
        wanted = [c for c, chain in enumerate(chains) if not shows[c][i] and not _replaced(chain, i, lines, rules)]
        slopes = edges(grey(i)) if wanted else np.empty(0, np.float32)
        found: dict[int, tuple[float, Box]] = {}
        for c in wanted:
            near, box = [patches[c][k] for k in _neighbours(chains[c], i)], chains[c].box_at(i)
            found[c] = max(likeness(slopes, patch, box) for patch in near), box
        for c in wanted:
            shows[c][i] = found[c][0] >= rules.same_look and not _outdone(c, found, rules)
    return shows


def _outdone(c: int, found: Mapping[int, tuple[float, Box]], rules: TrackRules) -> bool:
    """True where another text fits the same place of a frame better: "is open" begins as "is closed" did."""
    like, box = found[c]
    others = (one for k, one in found.items() if k != c)
    return any(other > like and iou(place, box) >= rules.same_place for other, place in others)


def _patches(chains: Sequence[Chain], grey: Callable[[int], Grey]) -> list[dict[int, Patch]]:
    found: list[dict[int, Patch]] = [{} for _ in chains]
    by_frame: dict[int, list[int]] = defaultdict(list)
    for c, chain in enumerate(chains):
        for i in chain.lines:
            by_frame[i].append(c)
    for i in sorted(by_frame):
        slopes = edges(grey(i))
        for c in by_frame[i]:
            found[c][i] = Patch.of(slopes, chains[c].lines[i].box)
    return found


def _neighbours(chain: Chain, i: int) -> list[int]:
    """The readings before and after a frame, those that there are."""
    before = max((k for k in chain.lines if k < i), default=None)
    after = min((k for k in chain.lines if k > i), default=None)
    return [k for k in (before, after) if k is not None]


def _replaced(chain: Chain, i: int, lines: Lines, rules: TrackRules) -> bool:
    """True where a frame was read and another text stands in the place."""
    box = chain.box_at(i)
    there = [line for line in lines.get(i, ()) if iou(line.box, box) >= rules.same_place]
    return any(not _is_piece(line, chain.last) for line in there)


def edges(grey: Grey) -> Grey:
    """Slopes of luma to the right and downwards, (h, w, 2)."""
    import cv2

    return np.stack([cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3)], axis=2)


@dataclass(frozen=True, slots=True)
class Patch:
    """The letters' edges of one reading: slopes (h, w, 2), 0 off the edges, and where the edges are (h, w, 2)."""

    slopes: Grey
    mask: Grey

    @classmethod
    def of(cls, slopes: Grey, box: Box) -> Patch:
        x0, y0, x1, y1 = _within(box, slopes.shape, 0)
        own = slopes[y0:y1, x0:x1]
        strength = np.hypot(own[..., 0], own[..., 1])
        on = (strength >= np.quantile(strength, 1 - _EDGE_SHARE)) & (strength > 0)
        mask = np.repeat(on[..., None], 2, axis=2).astype(np.float32)
        return cls(np.ascontiguousarray(own * mask), mask)


def likeness(slopes: Grey, patch: Patch, box: Box) -> float:
    """Correlation (-1 to 1) of a patch's edges with those of a frame around a box, where it fits best.

    Only where the patch has edges is the frame looked at, so a picture that moves behind the letters does not count.
    """
    import cv2

    height, width = patch.mask.shape[:2]
    x0, y0, x1, y1 = _within(box, slopes.shape, max(_NEAR_PX, height // 2))
    window = slopes[y0:y1, x0:x1]
    if window.shape[0] < height or window.shape[1] < width:
        return 0.0
    own = float((patch.slopes**2).sum())
    alike = cv2.matchTemplate(np.ascontiguousarray(window), patch.slopes, cv2.TM_CCORR)
    there = cv2.matchTemplate(np.ascontiguousarray(window**2), patch.mask, cv2.TM_CCORR)
    return float((alike / np.sqrt(own * np.maximum(there, _FAINT * own) + 1e-9)).max())


def _within(box: Box, shape: Sequence[int], more: int) -> tuple[int, int, int, int]:
    """A box in whole pixels, widened by `more` and cut at the picture's edges; at least a few pixels wide and high."""
    height, width = shape[:2]
    x0 = min(max(0, int(box.x0_px) - more), max(0, width - _LEAST_PX))
    y0 = min(max(0, int(box.y0_px) - more), max(0, height - _LEAST_PX))
    x1 = max(x0 + _LEAST_PX, min(width, round(box.x1_px) + more))
    y1 = max(y0 + _LEAST_PX, min(height, round(box.y1_px) + more))
    return x0, y0, min(x1, width), min(y1, height)


# ---- runs of frames --------------------------------------------------------------------------------------------------


def _runs(shown: Sequence[bool], at_s: Sequence[float], bridge_s: float) -> list[list[int]]:
    """Indices of the frames that show a text, in runs; one that is back within `bridge_s` goes on."""
    runs: list[list[int]] = []
    for i in (i for i, there in enumerate(shown) if there):
        if runs and (i == runs[-1][-1] + 1 or at_s[i] - at_s[runs[-1][-1]] <= bridge_s):
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def _track(frames: Sequence[ShownFrame], chain: Chain, run: Sequence[int], end_s: float, method: str) -> TextTrack:
    first, last = run[0], run[-1]
    read = [chain.lines[i] for i in run if i in chain.lines]
    text, confidence = _voted(read)
    end = frames[last + 1].at_s if last + 1 < len(frames) else end_s
    return TextTrack(
        text=text,
        script=script_of(text),
        span=Span(frames[first].at_s, max(end, frames[last].at_s + 1e-6)),
        start_after_s=frames[first - 1].at_s if first else None,
        seen_until_s=frames[last].at_s,
        confidence=confidence,
        frames=tuple(frames[i].frame for i in run),
        sightings=tuple(TextSighting(x.frame, x.at_s, x.quad_px, x.text, x.confidence) for x in read),
        method=method,
    )


def _voted(read: Sequence[TextLine]) -> tuple[str, float]:
    """The reading that most frames are surest of, long readings before pieces, and its mean confidence."""
    by_text: dict[str, list[float]] = defaultdict(list)
    for line in read:
        by_text[line.text].append(line.confidence)
    text = max(by_text, key=lambda t: (sum(by_text[t]) * len(plain(t)), t))
    return text, round(sum(by_text[text]) / len(by_text[text]), _DIGITS)
