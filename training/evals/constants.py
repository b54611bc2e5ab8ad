"""The best answer that is the same for every question: what a model must beat before it has looked at anything.

spans     the interval, in shares of the clip, with the greatest mean tIoU (or recall at a threshold) of a grid
boxes     the answer, in shares of the frame, with the greatest mean IoU with the others
tubes     such a box in all frames of such an interval, or of the one that the question gives
answer    the most frequent answer after normalising
caption   the answer nearest to the mean of all in its counts of words; of dense captions with its times
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from reelmill.schemas.metrics import dense
from reelmill.schemas.metrics.captions import tokens
from reelmill.schemas.metrics.grounding import Interval
from reelmill.schemas.sample import Tubelet
from reelmill.schemas.tube import Box
from reelmill.training.evals.questions import TIME, TUBE, Form, Item, Question, Reply, described, pairs
from reelmill.training.evals.scores import covered, normal

_GRID = 40
"""Edges of the grid lie a fortieth of the clip apart: a best interval is off by at most an eightieth at either end."""
_CANDIDATES = 200
"""At most so many answers are tried as the best box: sets of boxes vary less than words do."""
_ACCOUNTS, _JUDGES = 16, 64
"""At most so many accounts are tried, against so many: every pair of them costs a table of sentences."""

Corners = tuple[float, float, float, float]

EDGES = np.array(list(combinations(range(_GRID + 1), 2)), np.float64) / _GRID
"""All intervals of the grid, [candidates, 2]."""


@dataclass(frozen=True, slots=True)
class Constant:
    """An answer in shares: of the clip's duration, of the frame's width and height."""

    form: Form
    text: str
    spans: tuple[Interval, ...] = ()
    boxes: tuple[Corners, ...] = ()

    def reply(self, question: Question) -> Reply:
        """The answer in seconds and pixels of the question's medium."""
        media = question.media
        spans = tuple((a * media.duration_s, b * media.duration_s) for a, b in self.spans)
        sizes = (media.width_px, media.height_px, media.width_px, media.height_px)
        boxes = tuple(Box(*(c * size for c, size in zip(box, sizes, strict=True))) for box in self.boxes)
        if self.form is not Form.TUBES:
            return Reply(self.text, spans, boxes)
        is_asked, given = TIME in self.text, pairs(question.ask.src_s)
        start_s, end_s = spans[0] if is_asked or not given else given[0]
        inside = tuple(f.at_s for f in question.frames if start_s <= f.at_s < end_s)
        tube = Tubelet(inside, boxes[:1] * len(inside), end_s)
        return Reply(self.text, spans if is_asked else (), (), (tube,) if inside else ())


def best_constant(items: Sequence[Item], threshold: float | None = None) -> Constant:
    """The best constant answer to some questions, by their true answers. `threshold` asks for the interval with the
    greatest recall at that tIoU instead of the greatest mean.

    Raises ValueError without an item, or for answers of several forms.
    """
    forms = {item.truth.form for item in items}
    if len(forms) != 1:
        raise ValueError(f"best_constant: want items with answers of one form, seen {sorted(forms)}")
    (form,) = forms
    if form is Form.SPANS:
        return Constant(form, TIME, (best_span([spans_of(i) for i in items], threshold),))
    if form is Form.BOXES:
        boxes = _best_boxes([_shares(i.truth.boxes, i) for i in items])
        return Constant(form, " ".join(["<box>"] * len(boxes)), boxes=boxes)
    if form is Form.TUBES:
        return _tube(items, threshold)
    if form is Form.DENSE:
        return _account(items)
    if form is Form.CAPTION:
        return Constant(form, items[_middle([i.truth.text for i in items])].truth.text)
    return Constant(form, _most_frequent([i.truth.text for i in items]))


def spans_of(item: Item) -> tuple[Interval, ...]:
    """True times of an answer in shares of the clip."""
    duration_s = item.question.media.duration_s or 1.0
    return tuple((a / duration_s, b / duration_s) for a, b in item.truth.spans)


def best_span(true: Sequence[Sequence[Interval]], threshold: float | None) -> Interval:
    """The interval of the grid with the greatest mean tIoU with each of `true`, or the greatest share of tIoU at or
    above `threshold`; of equal ones that with the greater mean, then the earlier and shorter."""
    tiou = _tious([covered(spans) for spans in true])
    mean = tiou.mean(1)
    score = mean if threshold is None else (tiou >= threshold).mean(1) + mean / (2 * len(true) + 2)
    start, end = EDGES[int(score.argmax())]
    return float(start), float(end)


def _tious(true: Sequence[Sequence[Interval]]) -> np.ndarray:
    """tIoU [candidates, items] of each interval of the grid with sets of intervals without overlap."""
    most = max(len(spans) for spans in true)
    padded = np.array([[*spans, *[(0.0, 0.0)] * (most - len(spans))] for spans in true])
    shared = np.zeros((len(EDGES), len(true)))
    for place in range(most):
        low = np.maximum(EDGES[:, :1], padded[None, :, place, 0])
        shared += np.maximum(0.0, np.minimum(EDGES[:, 1:], padded[None, :, place, 1]) - low)
    either = (EDGES[:, 1:] - EDGES[:, :1]) + (padded[:, :, 1] - padded[:, :, 0]).sum(1)[None] - shared
    return np.asarray(shared / either)


def _shares(boxes: Sequence[Box], item: Item) -> tuple[Corners, ...]:
    media = item.question.media
    wide, high = media.width_px, media.height_px
    return tuple((b.x0_px / wide, b.y0_px / high, b.x1_px / wide, b.y1_px / high) for b in boxes)


def _best_boxes(true: Sequence[tuple[Corners, ...]]) -> tuple[Corners, ...]:
    """Boxes of the most frequent number, each the one at its place with the greatest mean IoU with all there."""
    numbers = Counter(map(len, true))
    count = min(numbers, key=lambda n: (-numbers[n], n))
    own = np.array([boxes for boxes in true if len(boxes) == count])
    return tuple(_medoid(own[:, place]) for place in range(count))


def _medoid(boxes: np.ndarray) -> Corners:
    tried = boxes[:_CANDIDATES]
    low = np.maximum(tried[:, None, :2], boxes[None, :, :2])
    sides = np.maximum(0.0, np.minimum(tried[:, None, 2:], boxes[None, :, 2:]) - low)
    shared = sides.prod(2)
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (tried, boxes)]
    either = areas[0][:, None] + areas[1][None] - shared
    iou = np.divide(shared, either, out=np.zeros_like(shared), where=either > 0)
    x0, y0, x1, y1 = map(float, tried[int(iou.mean(1).argmax())])
    return x0, y0, x1, y1


def _tube(items: Sequence[Item], threshold: float | None) -> Constant:
    """The interval of the first tube of each, and the box in the middle of it."""
    tubes = [item.truth.tubes[0] for item in items]
    lasting = [
        ((t.at_s[0] / i.question.media.duration_s, t.end_s / i.question.media.duration_s),)
        for t, i in zip(tubes, items, strict=True)
    ]
    boxes = [_shares(t.boxes[len(t.boxes) // 2 :][:1], i) for t, i in zip(tubes, items, strict=True)]
    text = f"{TIME} {TUBE}" if any(item.truth.spans for item in items) else TUBE
    return Constant(Form.TUBES, text, (best_span(lasting, threshold),), _best_boxes(boxes))


def _account(items: Sequence[Item]) -> Constant:
    """Of the first accounts (keys are hashes, so that is a draw) the one most like those that come first."""
    told = [(i.truth.text, spans_of(i)) for i in items[:_JUDGES]]
    events = [described(*one) or [] for one in told]
    likeness = [dense.soda_c([(own, other) for other in events if other]).macro for own in events[:_ACCOUNTS]]
    text, spans = told[int(np.argmax([0.0 if found is None else found.f1 for found in likeness]))]
    return Constant(Form.DENSE, text, spans)


def _most_frequent(texts: Sequence[str]) -> str:
    """The wording, first in the alphabet, of the most frequent normalised text."""
    counts = Counter(map(normal, texts))
    best = min(counts, key=lambda t: (-counts[t], t))
    return min(text for text in texts if normal(text) == best)


def _middle(texts: Sequence[str]) -> int:
    """The place of the text whose counts of words have the greatest cosine with the sum of all unit vectors."""
    words = [Counter(tokens(text)) for text in texts]
    place = {word: i for i, word in enumerate(sorted(set().union(*words)))}
    counts = np.zeros((len(texts), max(1, len(place))))
    for row, own in enumerate(words):
        for word, count in own.items():
            counts[row, place[word]] = count
    units = counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-12)
    return int((units @ units.sum(0)).round(12).argmax())
