"""Metrics of grounding in time and space: tIoU and recall, sIoU, vIoU and coverage, and accuracy of boxes.

Defined as in VidSTG (Zhang et al. 2020, section 5) and in the evaluation of LLaVA-ST (Li et al. 2025), with its known
faults left out: a prediction that could not be read counts as wrong and is counted (there, boxes that did not parse
left the denominator); every threshold is "at least" (there, TVG took "more than"); and coverage stands beside sIoU,
which looks only at frames that both have and so rewards whoever predicts few.

>>> temporal([((0.0, 1.0), (0.0, 2.0)), (None, (1.0, 2.0))])
Temporal(m_tiou=0.25, recall=(0.5, 0.5, 0.0), unread=1, count=2)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reelmill.schemas.tube import Box

THRESHOLDS = (0.3, 0.5, 0.7)

Interval = tuple[float, float]
Boxes = Mapping[int, Box]
"""Boxes by frame, in any one unit."""


@dataclass(frozen=True, slots=True)
class Temporal:
    """Mean tIoU, and the share of items with at least each threshold (R@1). None where there was no item."""

    m_tiou: float | None
    recall: tuple[float | None, ...]
    unread: int
    count: int


@dataclass(frozen=True, slots=True)
class Referring:
    """The share of boxes with an IoU of at least 0.5, and their mean IoU."""

    accuracy: float | None
    m_iou: float | None
    unread: int
    count: int


@dataclass(frozen=True, slots=True)
class TubeAnswer:
    """A prediction and its truth. `frames` are those of which the truth is known: predictions elsewhere are left out,
    since nobody can say whether they are right. `interval` and `true_interval` are None where none was asked for;
    `read` is False where any part of the answer did not parse."""

    interval: Interval | None
    tube: Boxes | None
    true_interval: Interval | None
    true_tube: Boxes
    frames: frozenset[int]
    read: bool


@dataclass(frozen=True, slots=True)
class SpatioTemporal:
    """STVG's figures. `coverage` is the mean share of true frames that have a predicted box: an sIoU over few frames is
    no merit. `viou_at` has one share per threshold."""

    temporal: Temporal
    m_siou: float | None
    m_viou: float | None
    viou_at: tuple[float | None, ...]
    coverage: float | None
    unread: int
    count: int


def tiou(one: Interval, other: Interval) -> float:
    """Intersection over union of two intervals in [0, 1]; one without length shares nothing."""
    shared = min(one[1], other[1]) - max(one[0], other[0])
    return shared / ((one[1] - one[0]) + (other[1] - other[0]) - shared) if shared > 0 else 0.0


def temporal(pairs: Sequence[tuple[Interval | None, Interval]]) -> Temporal:
    """Figures of (predicted, true) intervals; a prediction of None could not be read."""
    found = [tiou(predicted, true) if predicted is not None else 0.0 for predicted, true in pairs]
    return Temporal(_mean(found), at_least(found), sum(p is None for p, _ in pairs), len(pairs))


def referring(pairs: Sequence[tuple[Box | None, Box]]) -> Referring:
    """Figures of (predicted, true) boxes; a prediction of None could not be read."""
    found = [predicted.iou(true) if predicted is not None else 0.0 for predicted, true in pairs]
    accuracy = _mean([float(iou >= 0.5) for iou in found])
    return Referring(accuracy, _mean(found), sum(p is None for p, _ in pairs), len(pairs))


def siou(predicted: Boxes, true: Boxes) -> float:
    """Mean IoU over the frames that both have; 0 where they have none."""
    shared = predicted.keys() & true.keys()
    return _sum(predicted, true) / len(shared) if shared else 0.0


def viou(predicted: Boxes, true: Boxes) -> float:
    """Sum of IoU over the frames that both have, over the number of frames that either has."""
    either = predicted.keys() | true.keys()
    return _sum(predicted, true) / len(either) if either else 0.0


def coverage(predicted: Boxes, true: Boxes) -> float:
    """Share of the true frames that have a predicted box."""
    return len(predicted.keys() & true.keys()) / len(true) if true else 0.0


def _sum(predicted: Boxes, true: Boxes) -> float:
    return sum(predicted[f].iou(true[f]) for f in sorted(predicted.keys() & true.keys()))


def spatio_temporal(answers: Sequence[TubeAnswer]) -> SpatioTemporal:
    """Figures of STVG, SVG (no interval) and ELC answers."""
    told = [{f: b for f, b in (a.tube or {}).items() if f in a.frames} for a in answers]
    pairs = list(zip(told, (a.true_tube for a in answers), strict=True))
    vious = [viou(*pair) for pair in pairs]
    return SpatioTemporal(
        temporal=temporal([(a.interval, a.true_interval) for a in answers if a.true_interval is not None]),
        m_siou=_mean([siou(*pair) for pair in pairs]),
        m_viou=_mean(vious),
        viou_at=at_least(vious),
        coverage=_mean([coverage(*pair) for pair in pairs]),
        unread=sum(not a.read for a in answers),
        count=len(answers),
    )


def at_least(found: Sequence[float]) -> tuple[float | None, ...]:
    """Share of figures that reach each threshold; one that equals it does."""
    return tuple(_mean([float(one >= threshold) for one in found]) for threshold in THRESHOLDS)


def _mean(found: Sequence[float]) -> float | None:
    return sum(found) / len(found) if found else None
