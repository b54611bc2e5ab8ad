"""Score evidence against exact truth: cuts, tubes, events and text, each figure with its interval and count.

Truth and prediction share one schema and one clock (seconds of the file). A video without a prediction is missed, never
left out; a figure that nothing was counted for is None, never 0 or 1.

>>> score({}, {}).rows()[0]
Figure(name='videos', value=0.0, low=None, high=None, count=0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reelmill.annotators.events import EventRules
from reelmill.pipelines.scenes.confidence import Rate, Ratio, ratio
from reelmill.pipelines.scenes.reading import Reading, read
from reelmill.pipelines.scenes.truth import SceneTruth
from reelmill.schemas.errors import BadInput
from reelmill.schemas.event import RULE_KINDS, Event, EventKind
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Tube, viou

CUT_FRAMES = 1
CUT_S = 0.5
FALSE_VIOU = 0.2  # a predicted tube that overlaps its truth no more than this is a false one
GOOD_VIOU = 0.5
IN_DOUBT = EventRules().least_tube
"""A tube of less confidence than this names nothing: it is no find and no false one, and is counted apart."""
_SLACK_S = 1e-6

Pairs = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Predicted:
    """What was said of one file, in seconds of that file. Tube ids are unique within it; events name them."""

    shots: tuple[Span, ...]
    tubes: tuple[Tube, ...]
    events: tuple[Event, ...]
    texts: tuple[TextLine, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """When a predicted event is the true one: the same kind, its tube overlaps the true tube by more than `min_viou`
    (None: tubes are not looked at), and it starts within `max_start_s` or, if `min_tiou` is given, has that tIoU."""

    min_viou: float | None = 0.2
    max_start_s: float = 1.0
    min_tiou: float | None = None


@dataclass(frozen=True, slots=True)
class Detection:
    """Hits among predicted and among true things. `f1` is 2 hits / (predicted + true), bootstrapped over videos."""

    precision: Rate
    recall: Rate
    f1: Ratio


@dataclass(frozen=True, slots=True)
class Errors:
    """Absolute errors in seconds of the matched events only: None where none matched."""

    median_s: float | None
    p90_s: float | None
    count: int


@dataclass(frozen=True, slots=True)
class EventFigures:
    """One kind of event, or all kinds pooled (`kind` None)."""

    kind: EventKind | None
    found: Detection
    start: Errors
    end: Errors


@dataclass(frozen=True, slots=True)
class TubeFigures:
    """`viou` is the mean over true tubes, one that was missed or found in doubt alone counting 0."""

    viou: Ratio
    good: Rate
    false_per_video: Ratio
    in_doubt_per_video: Ratio


@dataclass(frozen=True, slots=True)
class TextFigures:
    """`words` read of those shown; `character_error` is edits per shown character (can exceed 1)."""

    words: Rate
    character_error: Ratio
    invented_per_video: Ratio


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a table."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Score:
    """All figures of a set of videos. `events[0]` is pooled, then one per kind."""

    videos: int
    unanswered: int
    cuts_frame: Detection
    cuts_half_s: Detection
    tubes: TubeFigures
    events: tuple[EventFigures, ...]
    texts: TextFigures

    def rows(self) -> tuple[Figure, ...]:
        """Every figure, ready for a table."""
        rows = [
            Figure("videos", float(self.videos), None, None, self.videos),
            Figure("videos without an answer", float(self.unanswered), None, None, self.videos),
            _ratio_row(f"cut F1 within {CUT_FRAMES} frame", self.cuts_frame.f1),
            _ratio_row(f"cut F1 within {CUT_S} s", self.cuts_half_s.f1),
            _ratio_row("tube vIoU, mean", self.tubes.viou),
            _rate_row(f"tubes of vIoU >= {GOOD_VIOU}", self.tubes.good),
            _ratio_row("false tubes per video", self.tubes.false_per_video),
            _ratio_row("tubes in doubt per video", self.tubes.in_doubt_per_video),
        ]
        for figures in self.events:
            rows += _event_rows(figures)
        rows.append(_rate_row("words read", self.texts.words))
        rows.append(_ratio_row("character error", self.texts.character_error))
        rows.append(_ratio_row("invented lines per video", self.texts.invented_per_video))
        return tuple(rows)


@dataclass(frozen=True, slots=True)
class _EventMatch:
    """One video's events of one kind: counts and the signed errors of the matched."""

    hits: int
    predicted: int
    true: int
    start_s: tuple[float, ...]
    end_s: tuple[float, ...]


def score(truths: Mapping[str, SceneTruth], predicted: Mapping[str, Predicted], rule: Rule | None = None) -> Score:
    """Compare predictions with truth by video name.

    Raises BadInput for a prediction of an unknown video and for a tube id used twice in one video.
    """
    _check(truths, predicted)
    names = sorted(truths)
    pairs = [(truths[n], predicted.get(n, Predicted((), (), (), ()))) for n in names]
    return Score(
        videos=len(names),
        unanswered=sum(n not in predicted for n in names),
        cuts_frame=_detection([_cut_counts(t, p, by_frame=True) for t, p in pairs]),
        cuts_half_s=_detection([_cut_counts(t, p, by_frame=False) for t, p in pairs]),
        tubes=_tube_figures(pairs),
        events=_all_event_figures(pairs, rule or Rule()),
        texts=_text_figures([read(t, p.texts) for t, p in pairs]),
    )


def assign(closeness: np.ndarray) -> Pairs:
    """One-to-one pairs of rows and columns: as many as possible, then the closest in sum.

    `closeness` [n, m] is in [0, 1], NaN where a pair is not allowed (Hungarian method, Kuhn 1955).
    """
    from scipy.optimize import linear_sum_assignment

    allowed = ~np.isnan(closeness)
    # All closeness together weighs less than one more pair.
    weight = np.where(allowed, 1 + np.nan_to_num(closeness) / (min(closeness.shape) + 1), 0.0)
    rows, columns = linear_sum_assignment(weight, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]


def _check(truths: Mapping[str, SceneTruth], predicted: Mapping[str, Predicted]) -> None:
    unknown = sorted(set(predicted) - set(truths))
    if unknown:
        raise BadInput("prediction without truth", seen=", ".join(unknown[:5]), do="give the truth or leave it out")
    for name, said in predicted.items():
        ids = [tube.tube_id for tube in said.tubes]
        if len(set(ids)) < len(ids):
            twice = sorted({i for i in ids if ids.count(i) > 1})
            raise BadInput(f"tube ids of {name} are not unique", seen=", ".join(twice), do="prefix them by clip")


def _detection(counts: Sequence[tuple[int, int, int]]) -> Detection:
    """From (hits, predicted, true) per video."""
    hits, said, true = (sum(c[i] for c in counts) for i in range(3))
    f1 = ratio([2 * c[0] for c in counts], [c[1] + c[2] for c in counts], count=true)
    return Detection(Rate(hits, said), Rate(hits, true), f1)


def _cut_counts(truth: SceneTruth, said: Predicted, by_frame: bool) -> tuple[int, int, int]:
    """(hits, predicted, true) cuts of one video. Every predicted shot but the first begins with a cut."""
    cuts = sorted(s.start_s for s in said.shots)[1:]
    if by_frame:
        want, seen = (_frame_numbers(truth, times) for times in (truth.cuts_s, cuts))
        limit = float(CUT_FRAMES)
    else:
        want, seen = np.array(truth.cuts_s, np.float64), np.array(cuts, np.float64)
        limit = CUT_S + _SLACK_S
    gap = np.abs(want[:, None] - seen[None, :])
    return len(assign(np.where(gap <= limit, 1 - gap / limit, np.nan))), len(cuts), len(truth.cuts_s)


def _frame_numbers(truth: SceneTruth, times_s: Sequence[float]) -> np.ndarray:
    """The frame nearest to each time, so that a tolerance in frames holds at any frame rate."""
    frames = np.array(truth.frame_times_s)
    middles = (frames[1:] + frames[:-1]) / 2
    return np.searchsorted(middles, np.array(times_s, np.float64)).astype(np.float64)


def _viou_matrix(true: Sequence[Tube], said: Sequence[Tube]) -> np.ndarray:
    """float64 [true tubes, predicted tubes]."""
    return np.array([[viou(t, p) for p in said] for t in true], np.float64).reshape(len(true), len(said))


def _tube_figures(pairs: Sequence[tuple[SceneTruth, Predicted]]) -> TubeFigures:
    from scipy.optimize import linear_sum_assignment

    best: list[np.ndarray] = []
    false: list[int] = []
    doubts: list[int] = []
    for truth, said in pairs:
        sure = [tube for tube in said.tubes if tube.confidence >= IN_DOUBT]
        overlap = _viou_matrix(truth.tubes, sure)
        rows, columns = linear_sum_assignment(overlap, maximize=True)
        reached = np.zeros(len(truth.tubes))
        reached[rows] = overlap[rows, columns]
        best.append(reached)
        doubts.append(len(said.tubes) - len(sure))
        false.append(len(sure) - int((overlap[rows, columns] > FALSE_VIOU).sum()))
    total = sum(len(b) for b in best)
    return TubeFigures(
        viou=ratio([float(b.sum()) for b in best], [len(b) for b in best]),
        good=Rate(sum(int((b >= GOOD_VIOU).sum()) for b in best), total),
        false_per_video=ratio(false, [1] * len(false)),
        in_doubt_per_video=ratio(doubts, [1] * len(doubts)),
    )


def _all_event_figures(pairs: Sequence[tuple[SceneTruth, Predicted]], rule: Rule) -> tuple[EventFigures, ...]:
    by_kind = {kind: [_match_events(t, p, kind, rule) for t, p in pairs] for kind in RULE_KINDS}
    # A match is of one kind, so the pooled optimum is the sum of the optima per kind, video by video.
    pooled = [_merged(matches) for matches in zip(*by_kind.values(), strict=True)]
    return (_event_figures(None, pooled), *(_event_figures(kind, found) for kind, found in by_kind.items()))


def _match_events(truth: SceneTruth, said: Predicted, kind: EventKind, rule: Rule) -> _EventMatch:
    want = [e for e in truth.events if e.kind is kind]
    seen = [e for e in said.events if e.kind is kind]
    overlap = _subject_overlap(truth, said, want, seen)
    closeness = np.full((len(want), len(seen)), np.nan)
    for i, true in enumerate(want):
        for j, event in enumerate(seen):
            if rule.min_viou is None or overlap[i, j] > rule.min_viou:
                closeness[i, j] = _closeness(true.span, event.span, rule)
    matched = [(want[i].span, seen[j].span) for i, j in assign(closeness)]
    return _EventMatch(
        hits=len(matched),
        predicted=len(seen),
        true=len(want),
        start_s=tuple(abs(s.start_s - t.start_s) for t, s in matched),
        end_s=tuple(abs(s.end_s - t.end_s) for t, s in matched),
    )


def _subject_overlap(truth: SceneTruth, said: Predicted, want: Sequence[Event], seen: Sequence[Event]) -> np.ndarray:
    """vIoU of the subjects of each pair of events; 0 for a subject that is no tube."""
    true_tubes = {t.tube_id: t for t in truth.tubes}
    said_tubes = {t.tube_id: t for t in said.tubes}
    overlap = np.zeros((len(want), len(seen)))
    for i, true in enumerate(want):
        for j, event in enumerate(seen):
            one, other = true_tubes.get(true.subject_id), said_tubes.get(event.subject_id)
            overlap[i, j] = viou(one, other) if one and other else 0.0
    return overlap


def _closeness(true: Span, seen: Span, rule: Rule) -> float:
    """In [0, 1], NaN where the rule refuses the pair."""
    if rule.min_tiou is not None:
        tiou = true.tiou(seen)
        return tiou if tiou >= rule.min_tiou else float("nan")
    late_s = abs(seen.start_s - true.start_s)
    return 1 - late_s / (rule.max_start_s + _SLACK_S) if late_s <= rule.max_start_s + _SLACK_S else float("nan")


def _merged(matches: Sequence[_EventMatch]) -> _EventMatch:
    return _EventMatch(
        hits=sum(m.hits for m in matches),
        predicted=sum(m.predicted for m in matches),
        true=sum(m.true for m in matches),
        start_s=tuple(e for m in matches for e in m.start_s),
        end_s=tuple(e for m in matches for e in m.end_s),
    )


def _event_figures(kind: EventKind | None, matches: Sequence[_EventMatch]) -> EventFigures:
    together = _merged(matches)
    found = _detection([(m.hits, m.predicted, m.true) for m in matches])
    return EventFigures(kind, found, _errors(together.start_s), _errors(together.end_s))


def _errors(values_s: Sequence[float]) -> Errors:
    if not values_s:
        return Errors(None, None, 0)
    return Errors(float(np.median(values_s)), float(np.quantile(values_s, 0.9)), len(values_s))


def _text_figures(readings: Sequence[Reading]) -> TextFigures:
    return TextFigures(
        words=Rate(sum(r.words_read for r in readings), sum(r.words for r in readings)),
        character_error=ratio([r.edits for r in readings], [r.characters for r in readings]),
        invented_per_video=ratio([r.invented for r in readings], [1] * len(readings)),
    )


def _rate_row(name: str, rate: Rate) -> Figure:
    return Figure(name, rate.value, rate.low, rate.high, rate.count)


def _ratio_row(name: str, value: Ratio) -> Figure:
    return Figure(name, value.value, value.low, value.high, value.count)


def _event_rows(figures: EventFigures) -> list[Figure]:
    name = "events" if figures.kind is None else str(figures.kind)
    rows = [
        _rate_row(f"{name}, precision", figures.found.precision),
        _rate_row(f"{name}, recall", figures.found.recall),
    ]
    for edge, errors in (("start", figures.start), ("end", figures.end)):
        rows.append(Figure(f"{name}, {edge} error p50 (s)", errors.median_s, None, None, errors.count))
        rows.append(Figure(f"{name}, {edge} error p90 (s)", errors.p90_s, None, None, errors.count))
    return rows
