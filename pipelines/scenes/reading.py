"""How well text was read: words found, character errors and lines that are not there.

A sign stands for a whole shot and is read in several frames. The best frame counts for each line and word, so the
figures say whether it *was read*, not how often. Case is ignored; a line read in pieces counts as read.

>>> edits("GATE 24", "GATE Z4")
1
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reelmill.pipelines.scenes.truth import SceneTruth
from reelmill.schemas.text import TextLine

_Frame = list[TextLine]


@dataclass(frozen=True, slots=True)
class Reading:
    """Counts of one video: words shown and words read, characters shown and edits needed, invented lines."""

    words: int
    words_read: int
    characters: int
    edits: int
    invented: int


def edits(want: str, seen: str) -> int:
    """Levenshtein distance (1966): insertions, deletions and substitutions that turn `seen` into `want`."""
    row = list(range(len(seen) + 1))
    for i, a in enumerate(want, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(seen, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def read(exact: SceneTruth, lines: Sequence[TextLine]) -> Reading:
    """Compare predicted lines with the truth of one video or picture."""
    bounds = [(s.start_s, s.end_s) for s in exact.shots] or [(0.0, float("inf"))]
    parts = [
        _stretch([t for t in exact.texts if a <= t.at_s < b], _frames([t for t in lines if a <= t.at_s < b]))
        for a, b in bounds
    ]
    return Reading(
        words=sum(p.words for p in parts),
        words_read=sum(p.words_read for p in parts),
        characters=sum(p.characters for p in parts),
        edits=sum(p.edits for p in parts),
        invented=sum(p.invented for p in parts),
    )


def _frames(lines: Sequence[TextLine]) -> list[_Frame]:
    frames: dict[int, _Frame] = {}
    for line in lines:
        frames.setdefault(round(line.at_s * 1e6), []).append(line)
    return list(frames.values())


def _stretch(truth: Sequence[TextLine], frames: Sequence[_Frame]) -> Reading:
    """One shot: each truth line against the best of the frames."""
    want = _words(truth)
    best: Counter[str] = Counter()
    for frame in frames:
        best |= _words(frame)
    strays = {p.text.casefold() for frame in frames for p in frame if not any(_inside(p, t) for t in truth)}
    return Reading(
        words=want.total(),
        words_read=(want & best).total(),
        characters=sum(len(t.text) for t in truth),
        edits=sum(_line_edits(t, frames) for t in truth),
        invented=len(strays),
    )


def _words(lines: Sequence[TextLine]) -> Counter[str]:
    return Counter(word for line in lines for word in line.text.casefold().split())


def _line_edits(truth: TextLine, frames: Sequence[_Frame]) -> int:
    """Fewest edits over frames; a line that no frame has costs all its characters."""
    want = truth.text.casefold()
    found = []
    for frame in frames:
        pieces = sorted((p for p in frame if _inside(p, truth)), key=lambda p: p.box.x0_px)
        if pieces:
            found.append(edits(want, " ".join(p.text.casefold() for p in pieces)))
    return min(found, default=len(want))


def _inside(piece: TextLine, truth: TextLine) -> bool:
    (x, y), box = piece.box.centre_px, truth.box
    return box.x0_px <= x <= box.x1_px and box.y0_px <= y <= box.y1_px
