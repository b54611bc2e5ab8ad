"""What is reached without looking: by the best constant answer, and by the words of the question alone.

Both learn from questions of the train split and answer like a model, so that they are scored by the same code. A
question carries no truth, and sources that are learned from are refused among those that are asked about.

    prior           the best constant answer to each kind of question (`constants`)
    question_only   the best constant answer to the nearest train questions by their words; how many, down from all of
                    them, is chosen on held-out train sources, so that noise of a few neighbours is not taken for skill

A floor is the best for the very measure that it stands beside: each form of answer has constants of its own, and so has
each recall, since the best interval in the mean is not the best for a threshold. Who always denies has a `denied` of 1,
so that figure says something only beside the tIoU of the same questions. Sides of pairs are told apart by their length
(prior) and their words (question_only), as in `sinks/publishing/blind.py`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from reelmill.schemas.errors import BadInput
from reelmill.sinks.publishing import blind
from reelmill.sinks.publishing.packed import PackedPreference, PackedStream
from reelmill.training.evals.constants import Constant, best_constant
from reelmill.training.evals.likelihood import gaps_s, right, silences_s
from reelmill.training.evals.questions import Form, Item, Question, Reply, asked
from reelmill.training.evals.scores import MEASURES, RECALLS, Score, scored

NEIGHBOURS = (125, 25, 5)
"""How many train questions may be taken for near, besides all of them."""
_FOLDS = 3
_CHOSEN_ON = 200
"""At most so many train questions of a kind decide on the number of neighbours."""

_RowKey = tuple[str, str]
Kind = tuple[str, str, int]
"""Questions that read alike: family, task as it is asked, round."""


def kind_of(question: Question) -> Kind:
    return question.family, question.task, question.round


@dataclass(frozen=True)
class Prior:
    """Answers every question of a kind alike; of a kind that was not learned from, with nothing."""

    constants: Mapping[Kind, Constant]

    @classmethod
    def learned(cls, train: Sequence[Item], threshold: float | None = None) -> Prior:
        return cls({kind: best_constant(own, threshold) for kind, own in _by_kind(train).items()})

    def answer(self, questions: Sequence[Question]) -> list[Reply]:
        known = [self.constants.get(kind_of(q)) for q in questions]
        return [Reply("") if c is None else c.reply(q) for c, q in zip(known, questions, strict=True)]


@dataclass(frozen=True)
class QuestionOnly:
    """Answers by the `near[kind]` nearest train questions; 0 stands for all of them."""

    train: Mapping[Kind, Sequence[Item]]
    near: Mapping[Kind, int]
    threshold: float | None = None

    @classmethod
    def learned(cls, train: Sequence[Item], threshold: float | None = None) -> QuestionOnly:
        by_kind = _by_kind(train)
        return cls(by_kind, {kind: _chosen(own, threshold) for kind, own in by_kind.items()}, threshold)

    def answer(self, questions: Sequence[Question]) -> list[Reply]:
        out = [Reply("")] * len(questions)
        for kind, own in self.train.items():
            places = [i for i, q in enumerate(questions) if kind_of(q) == kind]
            replies = _near_answers(own, [questions[i] for i in places], self.near[kind], self.threshold)
            for place, reply in zip(places, replies, strict=True):
                out[place] = reply
        return out


def _by_kind(items: Sequence[Item]) -> dict[Kind, list[Item]]:
    found: dict[Kind, list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda i: i.key):
        found[kind_of(item.question)].append(item)
    return dict(sorted(found.items()))


def _near_answers(
    train: Sequence[Item], questions: Sequence[Question], near: int, threshold: float | None
) -> list[Reply]:
    if not 0 < near < len(train):
        whole = best_constant(train, threshold)
        return [whole.reply(q) for q in questions]
    likeness = _likeness([i.question.ask.text for i in train], [q.ask.text for q in questions])
    nearest = np.argsort(-likeness.round(9), axis=1, kind="stable")[:, :near]
    found: dict[tuple[int, ...], Constant] = {}
    for row in map(tuple, nearest.tolist()):
        if row not in found:  # many questions are asked in the same words
            found[row] = best_constant([train[i] for i in row], threshold)
    return [found[tuple(row)].reply(q) for row, q in zip(nearest.tolist(), questions, strict=True)]


def _likeness(train: Sequence[str], asked_texts: Sequence[str]) -> np.ndarray:
    """Cosine [asked, train] of TF-IDF vectors of words and pairs of words; what train never says is not counted."""
    from scipy.sparse import csr_matrix

    seen = [_terms(text) for text in train]
    documents = Counter(term for terms in seen for term in terms)
    place = {term: i for i, term in enumerate(sorted(documents))}
    weight = {term: 1 + math.log(len(train) / n) for term, n in documents.items()}

    def matrix(rows: Sequence[Counter[str]]) -> Any:
        known = [(r, place[t], n * weight[t]) for r, terms in enumerate(rows) for t, n in terms.items() if t in place]
        row, column, value = zip(*known, strict=True) if known else ((), (), ())
        norm = np.sqrt(np.bincount(row, np.square(value), minlength=len(rows))) if known else np.ones(len(rows))
        scaled = [v / norm[r] for r, v in zip(row, value, strict=True)]
        return csr_matrix((scaled, (row, column)), shape=(len(rows), max(1, len(place))))

    return np.asarray((matrix([_terms(t) for t in asked_texts]) @ matrix(seen).T).todense())


def _terms(text: str) -> Counter[str]:
    words = text.lower().replace("?", " ?").split()
    return Counter([*words, *map(" ".join, pairwise(words))])


def _chosen(train: Sequence[Item], threshold: float | None) -> int:
    """How many neighbours did best on train sources that they were not taken from; 0, all, wins a tie."""
    sources = sorted({item.source for item in train})
    if len(sources) < _FOLDS:
        return 0
    fold = {source: i % _FOLDS for i, source in enumerate(sources)}
    judged = dict.fromkeys((0, *(n for n in NEIGHBOURS if n < len(train))), 0.0)
    for number in range(_FOLDS):
        known = [i for i in train if fold[i.source] != number]
        held = [i for i in train if fold[i.source] == number][: _CHOSEN_ON // _FOLDS]
        questions = [i.question for i in held]
        for near in judged:
            replies = _near_answers(known, questions, near, threshold)
            told = {q.key: r for q, r in zip(questions, replies, strict=True)}
            judged[near] += sum(row.value for row in scored(held, told) if _decides(row, threshold, held))
    return max(judged, key=lambda near: (round(judged[near], 9), near == 0, near))


def _decides(row: Score, threshold: float | None, held: Sequence[Item]) -> bool:
    firsts = {MEASURES[item.truth.form][0] for item in held}
    return row.measure == f"r@{threshold}" if threshold is not None else row.measure in firsts


# ---- beside the scores -----------------------------------------------------------------------------------------------


def with_floors(scores: Sequence[Score], items: Sequence[Item], train: Sequence[Item]) -> list[Score]:
    """The same rows with what both floors get; None for a kind of question and form that train has not.

    Raises BadInput where train and test share a source.
    """
    require_apart([i.source for i in train], [i.source for i in items])
    prior, words = dict[_RowKey, float](), dict[_RowKey, float]()
    for form, threshold in _objectives(items):
        learned = [i for i in train if i.truth.form is form]
        known = {kind_of(i.question) for i in learned}
        own = [i for i in items if i.truth.form is form and kind_of(i.question) in known]
        for found, learner in ((prior, Prior), (words, QuestionOnly)):
            answerer: Prior | QuestionOnly = learner.learned(learned, threshold)
            found.update(_rows_for(threshold, scored(own, asked(own, answerer))))
    return [
        replace(s, prior=prior.get((s.key, s.measure)), question_only=words.get((s.key, s.measure))) for s in scores
    ]


def _objectives(items: Sequence[Item]) -> Iterator[tuple[Form, float | None]]:
    """What floors are learned for: each form, and with times each recall."""
    for form in sorted({i.truth.form for i in items}):
        yield form, None
        if any(i.truth.spans for i in items if i.truth.form is form) and form is not Form.DENSE:
            yield from ((form, threshold) for threshold in RECALLS.values())


def _rows_for(threshold: float | None, rows: Sequence[Score]) -> Iterator[tuple[_RowKey, float]]:
    """Rows that a threshold's own constants are there for: its recall, or for None all that are no recall."""
    for row in rows:
        if RECALLS.get(row.measure) == threshold:
            yield (row.key, row.measure), row.value


def require_apart(train: Sequence[str], test: Sequence[str]) -> None:
    """Raises BadInput where a source is both learned from and asked about: a floor would know its answers."""
    shared = sorted(set(train) & set(test))
    if shared:
        seen = f"{len(shared)} sources in both, such as {shared[0]}"
        raise BadInput("train and test of floors", seen=seen, do="split by source, as a pack does")


def with_pair_floors(
    scores: Sequence[Score], test: Sequence[PackedPreference], train: Sequence[PackedPreference]
) -> list[Score]:
    """Rows of pairs with what readers without the video get: of lengths (prior), of words (question_only). A margin has
    no floor, since readers' margins are in no unit of a model's."""
    if not train or not test:
        return list(scores)
    require_apart([s.media.digest for s in train], [s.media.digest for s in test])
    learned, wanted = [[blind.pair_of(s) for s in side] for side in (train, test)]
    found = {}
    for name in ("length", "words"):
        told = blind.judged(learned, wanted, blind.READERS[name])
        found[name] = {pair.key: right(round(float(m), 9)) for pair, m in zip(wanted, told, strict=True)}
    return [
        replace(s, prior=found["length"][s.key], question_only=found["words"][s.key])
        if s.measure.startswith("prefers")
        else s
        for s in scores
    ]


def with_stream_floors(
    scores: Sequence[Score], test: Sequence[PackedStream], train: Sequence[PackedStream]
) -> list[Score]:
    """Rows of streams with what the best constant silence of each task gets: it speaks so long after the turn before,
    or never, whichever does better in train. The other measures are of a model's own tokens, and their floor, where
    there is one, is that of `followed`."""
    if not train or not test:
        return list(scores)
    require_apart([s.media.digest for s in train], [s.media.digest for s in test])
    waited: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for sample in train:
        waited[sample.task] += zip(silences_s(sample), gaps_s(sample), strict=True)
    usual = {task: _best_silence_s(own) for task, own in waited.items() if own}
    off = {
        f"{s.key}.{number}": _off_s(usual[s.task], *one)
        for s in test
        if s.task in usual
        for number, one in enumerate(zip(silences_s(s), gaps_s(s), strict=True))
    }
    return [replace(s, prior=off.get(s.key)) if s.measure == "time_diff_s" else s for s in scores]


def _best_silence_s(train: Sequence[tuple[float, float]]) -> float:
    """The median, or infinity: never to speak."""
    median = float(np.median([silence for silence, _ in train]))
    return min(median, math.inf, key=lambda told_s: sum(_off_s(told_s, *one) for one in train))


def _off_s(told_s: float, silence_s: float, gap_s: float) -> float:
    """How far from an answer is who speaks `told_s` after the turn before; no later than the next turn."""
    return min(abs(told_s - silence_s), gap_s) if told_s > silence_s else silence_s - told_s
