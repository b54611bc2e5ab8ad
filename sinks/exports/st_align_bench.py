"""The benchmark: samples of the sources that no training set holds, and the score of a model's answers to them.

The rule is that of every pack: a source is in `val` or in `train` by a hash of its digest alone, so the benchmark is
the accepted val samples of five tasks, and training whatever is in train. No list is kept, and none can go stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reelmill.schemas.metrics import answers, grounding
from reelmill.schemas.metrics.answers import share_of, token_of
from reelmill.schemas.sample import GroundedSample
from reelmill.schemas.tube import Box
from reelmill.sinks.exports.conventions import Boxes, clip_s, in_pixels
from reelmill.sinks.publishing.view import TRAIN, VAL, VAL_SHARE, split_of

TASKS = ("stvg", "svg", "elc", "tvg", "rec")
"""Tasks with a metric: those of ST-Align's own benchmark, and the two of its zero-shot tables."""


def benchmark(samples: Iterable[GroundedSample], val_share: float = VAL_SHARE) -> Iterator[GroundedSample]:
    """Accepted samples of the tasks that are scored, of val sources alone."""
    return (s for s in _of(samples, VAL, val_share) if s.task in TASKS)


def training_set(samples: Iterable[GroundedSample], val_share: float = VAL_SHARE) -> Iterator[GroundedSample]:
    """Accepted samples of train sources: no source of the benchmark is among them (defect D11)."""
    return _of(samples, TRAIN, val_share)


def _of(samples: Iterable[GroundedSample], split: str, val_share: float) -> Iterator[GroundedSample]:
    return (s for s in samples if s.verdict.accepted and split_of(s.media.digest, val_share) == split)


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures by task; a task without a sample has none."""

    stvg: grounding.SpatioTemporal
    svg: grounding.SpatioTemporal
    elc: grounding.SpatioTemporal
    tvg: grounding.Temporal
    rec: grounding.Referring


def score(samples: Sequence[GroundedSample], told: Mapping[str, str]) -> Scores:
    """Score answers (text by sample key) in coordinate tokens. A sample without an answer counts like one whose answer
    cannot be read: wrong, and counted as unread. No other sample takes its place (defects D8, D10)."""
    by_task = {task: [s for s in samples if s.task == task] for task in TASKS}
    return Scores(
        stvg=grounding.spatio_temporal([_stvg(s, told.get(s.key, "")) for s in by_task["stvg"]]),
        svg=grounding.spatio_temporal([_svg(s, told.get(s.key, "")) for s in by_task["svg"]]),
        elc=grounding.spatio_temporal([_elc(s, told.get(s.key, "")) for s in by_task["elc"]]),
        tvg=grounding.temporal([(_interval(s, told.get(s.key, "")), _true_s(s)) for s in by_task["tvg"]]),
        rec=grounding.referring([(_box(s, told.get(s.key, "")), s.turns[1].boxes[0]) for s in by_task["rec"]]),
    )


def captions(samples: Sequence[GroundedSample], told: Mapping[str, str]) -> list[tuple[str, str | None, str]]:
    """Key, told caption (None where the answer cannot be read) and true caption of the ELC samples, for whatever metric
    of captions."""
    out = []
    for sample in (s for s in samples if s.task == "elc"):
        found = answers.event(told.get(sample.key, ""))
        true = sample.turns[1].text.removeprefix("Ends in <time>, ").removesuffix(". Object bounding box: <tube>")
        out.append((sample.key, found.caption if found else None, true))
    return out


def _stvg(sample: GroundedSample, text: str) -> grounding.TubeAnswer:
    interval, tube = _interval(sample, text), answers.tube(text)
    return _answer(sample, interval, tube, _true_s(sample), read=interval is not None and tube is not None)


def _svg(sample: GroundedSample, text: str) -> grounding.TubeAnswer:
    tube = answers.tube(text)
    return _answer(sample, None, tube, None, read=tube is not None)


def _elc(sample: GroundedSample, text: str) -> grounding.TubeAnswer:
    """The start was given, so the interval is from there to the told end."""
    found, true_s = answers.event(text), _true_s(sample)
    told_s = (true_s[0], share_of(found.end) * clip_s(sample.media)) if found else None
    return _answer(sample, told_s, found.tube if found else None, true_s, read=found is not None)


def _answer(
    sample: GroundedSample,
    interval: grounding.Interval | None,
    tube: answers.TokenTube | None,
    true_s: grounding.Interval | None,
    *,
    read: bool,
) -> grounding.TubeAnswer:
    (true,) = sample.tubes
    boxes = {_time(sample, t): b for t, b in zip(true.at_s, true.boxes, strict=True)}
    known = frozenset(_time(sample, f.at_s) for f in sample.frames)
    told = {t: _in_pixels(sample, corners) for t, corners in tube.items()} if tube is not None else None
    return grounding.TubeAnswer(interval, told, true_s, boxes, known, read)


def _time(sample: GroundedSample, at_s: float) -> int:
    return token_of(at_s / clip_s(sample.media))


def _in_pixels(sample: GroundedSample, corners: answers.Tokens) -> Box:
    return in_pixels([share_of(c) for c in corners], sample.media, Boxes.UNPADDED)


def _true_s(sample: GroundedSample) -> grounding.Interval:
    start_s, end_s = sample.turns[1].tgt_s
    return start_s, end_s


def _interval(sample: GroundedSample, text: str) -> grounding.Interval | None:
    found = answers.interval(text)
    return (
        None
        if found is None
        else (share_of(found[0]) * clip_s(sample.media), share_of(found[1]) * clip_s(sample.media))
    )


def _box(sample: GroundedSample, text: str) -> Box | None:
    found = answers.box(text)
    return None if found is None else _in_pixels(sample, found)
