"""Measures of dense captioning: SODA_c for sentences with times, and its parts for times or sentences alone.

SODA_c (Fujita et al., ECCV 2020, section 3; code fujiso/SODA): predicted and true events are matched in order of time
so that the sum of tIoU times sentence score is greatest; divided by the number of predicted events it is a precision,
by that of the true ones a recall. The paper scores sentences by METEOR. Any measure can be put in here, `meteor.meteor`
too; but that is METEOR of 2005 without synonyms, so neither it nor ROUGE-L, the default, gives published figures.

>>> seen = [((0.0, 4.0), "a dog runs"), ((4.0, 8.0), "a cat sleeps")]
>>> soda_c([(seen, seen), (seen[:1], seen), (None, seen)]).macro
Prf(precision=0.6666666666666666, recall=0.5, f1=0.5555555555555555)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from reelmill.schemas.errors import BadInput
from reelmill.schemas.metrics.captions import rouge_l
from reelmill.schemas.metrics.grounding import Interval, tiou

T = TypeVar("T")
Described = tuple[Interval, str]
"""An event: its time in seconds, half-open, and its sentence."""
Scorer = Callable[[str, Sequence[str]], float]
"""A sentence and its references in, at least 0 out. SODA_c reaches 1 where a sentence that is its reference gets 1."""


@dataclass(frozen=True, slots=True)
class Prf:
    """Precision, recall, and F1, which is 0 where both are."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Soda:
    """*Micro*, as the released code has it: sums over all videos before dividing. *Macro*: the mean of the videos' own
    figures, as many papers report it. None where there is no video. `unread` predictions could not be read: they match
    nothing, which costs micro its recall and macro both."""

    micro: Prf | None
    macro: Prf | None
    unread: int
    count: int


def soda_c(videos: Sequence[tuple[Sequence[Described] | None, Sequence[Described]]], scorer: Scorer = rouge_l) -> Soda:
    """SODA_c of (predicted, true) events of videos. Raises BadInput for a video without true events.

    The released code divides by the number of true events where it says precision and by that of the predicted ones
    where it says recall (its score matrix has a row for each true event); F1 is the same.
    """
    sums = [matched_sum(_products(told or (), true, scorer)) for told, true in videos]
    sizes = [(len(told or ()), len(_stated(true))) for told, true in videos]
    each = [prf(found, *size) for found, size in zip(sums, sizes, strict=True)]
    unread = sum(told is None for told, _ in videos)
    if not videos:
        return Soda(None, None, 0, 0)
    micro = prf(sum(sums), sum(n for n, _ in sizes), sum(n for _, n in sizes))
    means = (sum(figures) / len(each) for figures in zip(*((p.precision, p.recall, p.f1) for p in each), strict=True))
    return Soda(micro, Prf(*means), unread, len(videos))


def segments(told: Sequence[Interval], true: Sequence[Interval]) -> Prf:
    """Times alone: the mean best tIoU of what was told, and of what is true. Order does not count.

    Raises BadInput where nothing is true.
    """
    table = [[tiou(one, other) for other in _stated(true)] for one in told]
    best = sum(max(row) for row in table)
    found = sum(max((row[i] for row in table), default=0.0) for i in range(len(true)))
    return _prf(best / len(told) if told else 0.0, found / len(true))


def story(told: Sequence[str], true: Sequence[str], scorer: Scorer = rouge_l) -> Prf:
    """Sentences alone: SODA_c with every tIoU at 1, so that only order and words count. Raises BadInput as above."""
    table = [[scorer(sentence, [other]) for other in _stated(true)] for sentence in told]
    return prf(matched_sum(table), len(told), len(true))


def _products(told: Sequence[Described], true: Sequence[Described], scorer: Scorer) -> list[list[float]]:
    own = sorted(_stated(true), key=lambda d: d[0])
    return [
        [overlap * scorer(said, [other]) if (overlap := tiou(span, time)) else 0.0 for time, other in own]
        for span, said in sorted(told, key=lambda d: d[0])
    ]


def _stated(true: Sequence[T]) -> Sequence[T]:
    """Raises BadInput where nothing is true: neither 0 nor 1 would be right for saying nothing then."""
    if not true:
        raise BadInput("dense captions are measured against true events", seen="none", do="leave the video out")
    return true


def matched_sum(table: Sequence[Sequence[float]]) -> float:
    """The greatest sum over one-to-one matches that keep the order of rows and of columns; 0 for an empty table."""
    best = [0.0] * (len(table[0]) + 1 if table else 1)
    for row in table:
        before = best
        best = [0.0]
        for i, score in enumerate(row):
            best.append(max(before[i] + score, before[i + 1], best[i]))
    return best[-1]


def prf(found: float, told: int, true: int) -> Prf:
    """Of a sum of scores and the numbers of predicted and of true events. A precision of nothing told is 0."""
    return _prf(found / told if told else 0.0, found / true)


def _prf(precision: float, recall: float) -> Prf:
    both = precision + recall
    return Prf(precision, recall, 2 * precision * recall / both if both else 0.0)
