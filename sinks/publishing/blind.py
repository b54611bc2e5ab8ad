"""Can the two sides of preference pairs be told apart without the video? If so, a model learns that, and not to look.

Four readers that never see a frame learn on some source files which side is the chosen one, and are asked about
others: by length; by words and letters (TF-IDF); by which happening follows which, names taken away; by times. A
fifth, a small GRU over the happenings, is asked where torch is there. Each sees both sides of a pair, which is more
than a reward model is given. 0.5 is blind; `audit` gives one figure with its interval per kind and reader.

`mirrored` then keeps what can be kept: a pair whose two texts stand the other way round in another pair, names aside,
tells nobody anything.

>>> steps_of("First, the red circle enters the frame. Then the blue square stops and stays where it is.")
(('red circle', 'enters'), ('blue square', 'stops'))
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from reelmill.schemas.event import EventKind
from reelmill.schemas.sample import PreferenceSample, Role, Turn
from reelmill.sinks.publishing.packed import PackedPreference

FOLDS = 5
LEAST, ENOUGH = 100, 1000
"""Pairs of a kind that an AUC is given for (its interval is then some 0.1 to either side, which is how far the goal of
0.60 lies from 0.5), and at most looked at when a dataset is packed (0.03)."""
_PENALTY = 1.0
_RESAMPLES = 1000
_TIME_BINS = 10
_FORM_BINS = 5
_KINDS = "|".join(EventKind)
_STEP = re.compile(rf"\b(?:the|an?) ((?:(?!(?:the|an?|{_KINDS})\b)[\w<>-]+ )+)({_KINDS})\b", re.IGNORECASE)

Steps = tuple[tuple[str, str], ...]
Features = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Side:
    """What a reader has of one side. `times` are its spans' edges as shares of the clip, in order."""

    text: str
    steps: Steps
    times: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair without its video. `source` names the file that it is of: no file is learned from and asked about."""

    key: str
    kind: str
    source: str
    chosen: Side
    rejected: Side


@dataclass(frozen=True, slots=True)
class Told:
    """How often a reader gave the chosen side the higher score, ties counting half: the AUC of sides within pairs.

    `low` and `high` are its 95 % interval, bootstrapped over source files."""

    kind: str
    reader: str
    auc: float
    low: float
    high: float
    pairs: int
    sources: int


def steps_of(text: str) -> Steps:
    """The (name, what it does) pairs that a text speaks of in the third person, in order."""
    return tuple((m[1].strip().lower(), m[2].lower()) for m in _STEP.finditer(text))


def pair_of(sample: PreferenceSample | PackedPreference) -> Pair:
    """A pair as a blind reader gets it: `<time>` is written out to 0.01 s, as an exporter does. Of sides of several
    turns all answers are read, and what both were given before them."""
    how, count = sample.perturbation, len(sample.rejected)
    given, own = sample.turns[:-count], sample.turns[-count:]
    asked = steps_of("\n".join(turn.text for turn in given))
    chosen, wrong = (_side(turns, sample.media.duration_s, asked) for turns in (own, sample.rejected))
    # What is dropped in one clip is inserted in another: only together do they say nothing.
    kind = {"drop": "drop or insert", "insert": "drop or insert", "metric": how.of.partition(":")[2]}.get(
        how.kind, how.kind
    )
    kind = f"{kind} {'exchanged' if how.stage else 'foreign'}" if how.kind == "entity" else kind
    kind = f"{sample.task}: {kind}"
    return Pair(sample.key, kind, sample.media.digest, chosen, wrong)


def _side(turns: Sequence[Turn], duration_s: float, asked: Steps) -> Side:
    answers = [turn for turn in turns if turn.role is Role.ASSISTANT]
    tgt_s = [t for turn in answers for t in turn.tgt_s]
    text = "\n".join(turn.text for turn in answers)
    times = iter(tgt_s)
    told = re.sub("<time>", lambda _: f"{next(times):.2f} to {next(times):.2f} s", text)
    own = steps_of(text)
    # "at <time>" is of what was asked, "no" of nothing; where several were asked, each has a time of its own
    given = asked if len(tgt_s) == 2 * len(asked) else asked[:1]
    return Side(told, own or (given if tgt_s else ()), tuple(t / duration_s for t in tgt_s))


# ---- what a reader looks at ------------------------------------------------------------------------------------------


def by_length(side: Side) -> Features:
    return {"characters": len(side.text) / 100, "words": len(side.text.split()) / 20, "steps": len(side.steps) / 4}


def by_words(side: Side) -> Features:
    """Counts of runs of one to three words and of three to five letters."""
    words, letters = re.findall(r"\w+", side.text.lower()), side.text.lower()
    found = Counter(" ".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1))
    found.update("#" + letters[i : i + n] for n in (3, 4, 5) for i in range(len(letters) - n + 1))
    return found


def by_order(side: Side) -> Features:
    """Runs of one to four happenings with the ends marked, and every happening that comes anywhere before another."""
    line = ["^", *_nameless(side.steps), "$"]
    found = Counter(" ".join(line[i : i + n]) for n in (1, 2, 3, 4) for i in range(len(line) - n + 1))
    for i, (name, kind) in enumerate(side.steps):
        for other, later in side.steps[i + 1 :]:
            found[f"{kind} < {later} {'own' if name == other else 'other'}"] += 1
    return found


def by_times(side: Side) -> Features:
    """Where in the clip a span begins and ends and how long it is, in tenths, for each kind of happening; how many
    begin before the one that is told before them."""
    spans = list(zip(side.times[0::2], side.times[1::2], strict=True))
    kinds = [kind for _, kind in side.steps] if len(side.steps) == len(spans) else [_first_kind(side)] * len(spans)
    found: Counter[str] = Counter()
    for kind, (start, end) in zip(kinds, spans, strict=True):
        for what, share in (("start", start), ("end", end), ("length", end - start)):
            found[f"{kind} {what} {int(share * _TIME_BINS)}"] += 1
            found[f"{kind} {what}"] += share  # type: ignore[assignment]
    if len(spans) > 1:
        found["falls"] = sum(b < a for (a, _), (b, _) in pairwise(spans))
    return found


def _first_kind(side: Side) -> str:
    return side.steps[0][1] if side.steps else ""


READERS: dict[str, Callable[[Side], Features]] = {
    "length": by_length,
    "words": by_words,
    "order": by_order,
    "times": by_times,
}


def _nameless(steps: Steps, known: dict[str, str] | None = None) -> list[str]:
    """Steps with names exchanged for letters in the order of their first appearance."""
    letters = known if known is not None else {}
    return [f"{letters.setdefault(name, chr(ord('A') + len(letters)))} {kind}" for name, kind in steps]


# ---- the audit -------------------------------------------------------------------------------------------------------


def audit(pairs: Iterable[Pair], folds: int = FOLDS, seed: int = 0) -> tuple[Told, ...]:
    """What each reader tells of each kind of pair. Kinds with fewer source files than folds are left out.

    Readers are logistic regressions on the difference of the two sides' features (Bradley and Terry, 1952), fitted to
    the other folds; weights are held by an L2 penalty of one. Sources are dealt to folds by a seeded shuffle.
    """
    by_kind: dict[str, list[Pair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda p: p.key):
        by_kind[pair.kind].append(pair)
    told = []
    for kind, own in sorted(by_kind.items()):
        if len({p.source for p in own}) >= folds:
            for reader, look in READERS.items():
                if any(look(p.chosen) or look(p.rejected) for p in own):
                    told.append(_told(kind, reader, own, _linear(own, look, folds, seed), seed))
    return tuple(told)


def audit_in_sequence(pairs: Sequence[Pair], folds: int = FOLDS, seed: int = 0) -> Told:
    """What a GRU tells that reads the nameless happenings of each side of one kind of pair. Needs torch."""
    scores = np.zeros(len(pairs))
    for train, test in _folds(pairs, folds, seed):
        scores[test] = _gru_scores([pairs[i] for i in train], [pairs[i] for i in test], seed)
    return _told(pairs[0].kind, "gru", pairs, scores, seed)


def _told(kind: str, reader: str, pairs: Sequence[Pair], scores: np.ndarray, seed: int) -> Told:
    sources = np.unique([p.source for p in pairs], return_inverse=True)[1]
    right = np.where(np.abs(scores) < 1e-9, 0.5, scores > 0)
    hits, counts = np.bincount(sources, right), np.bincount(sources)
    drawn = np.random.default_rng(seed).integers(0, len(counts), (_RESAMPLES, len(counts)))
    low, high = np.quantile(hits[drawn].sum(1) / counts[drawn].sum(1), (0.025, 0.975))
    return Told(kind, reader, float(right.mean()), float(low), float(high), len(pairs), len(counts))


def _folds(pairs: Sequence[Pair], folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(train, test) places; all pairs of one source lie in one fold."""
    names, source = np.unique([p.source for p in pairs], return_inverse=True)
    fold = np.random.default_rng(seed).permutation(np.arange(len(names)) % folds)[source]
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(folds)]


def _linear(pairs: Sequence[Pair], look: Callable[[Side], Features], folds: int, seed: int) -> np.ndarray:
    """Scores [pairs] of the chosen side above the rejected one, each from folds that hold no pair of its source."""
    scores = np.zeros(len(pairs))
    for train, test in _folds(pairs, folds, seed):
        scores[test] = judged([pairs[i] for i in train], [pairs[i] for i in test], look)
    return scores


def judged(train: Sequence[Pair], test: Sequence[Pair], look: Callable[[Side], Features]) -> np.ndarray:
    """Scores [test] of the chosen side above the rejected one, by a reader that learned on `train`. 0 is a tie."""
    chosen, wrong = ([look(side) for side in sides] for sides in _sides([*train, *test]))
    weigh = _weights_of(look, [f for i in range(len(train)) for f in (chosen[i], wrong[i])])
    difference = _matrix(chosen, weigh) - _matrix(wrong, weigh)
    return np.asarray(difference[len(train) :] @ _fitted(difference[: len(train)]))


def _sides(pairs: Sequence[Pair]) -> tuple[list[Side], list[Side]]:
    return [p.chosen for p in pairs], [p.rejected for p in pairs]


def _weights_of(look: Callable[[Side], Features], seen: Sequence[Features]) -> dict[str, float]:
    """Weights of the features that two sides or more have: the inverse document frequency for words, else one."""
    documents = Counter(name for features in seen for name in features)
    kept = {name: n for name, n in documents.items() if n > 1}
    return {n: 1 + math.log(len(seen) / count) if look is by_words else 1.0 for n, count in kept.items()}


def _matrix(sides: Sequence[Features], weigh: Mapping[str, float]) -> Any:
    """Sparse [sides, features], rows of TF-IDF at length one."""
    from scipy.sparse import csr_matrix

    place = {name: i for i, name in enumerate(sorted(weigh))}
    rows, columns, values = [], [], []
    for row, features in enumerate(sides):
        known = [(place[n], v * weigh[n]) for n, v in features.items() if n in place]
        norm = math.sqrt(sum(v * v for _, v in known)) if len(place) > 1000 else 1.0
        rows += [row] * len(known)
        columns += [c for c, _ in known]
        values += [v / (norm or 1.0) for _, v in known]
    return csr_matrix((values, (rows, columns)), shape=(len(sides), len(place)))


def _fitted(difference: Any) -> np.ndarray:
    """Weights that make differences positive: logistic loss and an L2 penalty, by L-BFGS."""
    from scipy.optimize import minimize

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = difference @ weights
        slope = -1 / (1 + np.exp(np.clip(margin, -60, 60)))
        return (
            float(np.logaddexp(0, -margin).sum() + _PENALTY * weights @ weights / 2),
            difference.T @ slope + _PENALTY * weights,
        )

    return np.asarray(minimize(loss, np.zeros(difference.shape[1]), jac=True, method="L-BFGS-B").x)


def _gru_scores(train: Sequence[Pair], test: Sequence[Pair], seed: int) -> np.ndarray:
    """A GRU of 32 units, thirty passes, the logistic loss on the difference of the two sides' scores."""
    import torch

    torch.manual_seed(seed)
    known = sorted({s for p in train for side in (p.chosen, p.rejected) for s in _nameless(side.steps)})
    token = {name: i + 2 for i, name in enumerate(known)}  # 0 fills up, 1 is a happening that was never seen
    embed, gru, head = (
        torch.nn.Embedding(len(token) + 2, 16),
        torch.nn.GRU(16, 32, batch_first=True),
        torch.nn.Linear(32, 1),
    )
    parts = torch.nn.ModuleList([embed, gru, head])

    def score(sides: Sequence[Side]) -> Any:
        lines = [torch.tensor([token.get(s, 1) for s in _nameless(side.steps)] or [1]) for side in sides]
        lengths = torch.tensor([len(line) for line in lines])
        states, _ = gru(embed(torch.nn.utils.rnn.pad_sequence(lines, batch_first=True)))
        return head(states[torch.arange(len(lines)), lengths - 1])[:, 0]

    optimiser = torch.optim.Adam(parts.parameters(), lr=0.01, weight_decay=1e-4)
    for _ in range(30):
        for batch in torch.randperm(len(train)).split(128):
            own = [train[int(i)] for i in batch]
            margin = score([p.chosen for p in own]) - score([p.rejected for p in own])
            optimiser.zero_grad()
            torch.nn.functional.softplus(-margin).mean().backward()
            optimiser.step()
    with torch.no_grad():
        return np.asarray((score([p.chosen for p in test]) - score([p.rejected for p in test])).numpy())


# ---- what a card says of it -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unseen:
    """What can be told of one kind of pair: by the best of the readers, and by length alone; None where too few pairs
    are there to say."""

    kind: str
    pairs: int
    best: Told | None
    length: Told | None


class Kept:
    """Pairs as they are packed, as many of each kind as an audit needs. They come by rising key, and keys are hashes,
    so the first of a kind are a draw from all of it."""

    def __init__(self) -> None:
        self.pairs: dict[str, list[Pair]] = defaultdict(list)
        self.numbers: Counter[str] = Counter()

    def add(self, sample: PreferenceSample) -> None:
        pair = pair_of(sample)
        self.numbers[pair.kind] += 1
        if len(self.pairs[pair.kind]) < ENOUGH:
            self.pairs[pair.kind].append(pair)

    def unseen(self) -> tuple[Unseen, ...]:
        """One line per kind. A kind with fewer than `LEAST` pairs or fewer sources than folds has no figure."""
        told = audit(p for own in self.pairs.values() if len(own) >= LEAST for p in own)
        found: dict[str, list[Told]] = defaultdict(list)
        for one in told:
            found[one.kind].append(one)
        return tuple(
            Unseen(
                kind,
                number,
                max(found[kind], key=lambda t: t.auc, default=None),
                next((t for t in found[kind] if t.reader == "length"), None),
            )
            for kind, number in sorted(self.numbers.items())
        )


# ---- what can be done about it ---------------------------------------------------------------------------------------


def form_of(first: Side, second: Side) -> Hashable:
    """Two sides in an order, names aside: what happens in each, and times in fifths. Where both say one thing but for
    names, the words that only one of them has take its place, since nothing else could tell."""
    letters: dict[str, str] = {}
    steps = tuple(tuple(_nameless(side.steps, letters)) for side in (first, second))
    times = tuple(tuple(int(t * _FORM_BINS) for t in side.times) for side in (first, second))
    if _nameless(first.steps) != _nameless(second.steps):
        return steps, times
    words = [{w for name, _ in side.steps for w in name.split()} for side in (first, second)]
    return tuple(sorted(words[0] - words[1])), tuple(sorted(words[1] - words[0])), times


def forms_of(pair: Pair) -> tuple[str, str]:
    """The form of a pair and that of its mirror, as hashes: two pairs mirror each other where these are exchanged."""
    sides = (pair.chosen, pair.rejected)
    form, mirror = (repr(form_of(*pair)).encode() for pair in (sides, sides[::-1]))
    return hashlib.sha256(form).hexdigest()[:32], hashlib.sha256(mirror).hexdigest()[:32]


def mirrored(pairs: Iterable[Pair]) -> frozenset[str]:
    """Keys of as many pairs as can stay so that every form is chosen as often as it is rejected, kind by kind.

    A pair whose two sides have one form (two names exchanged, say) is its own mirror and stays. Keys are hashes, so
    keeping the first of them is a draw that depends on nothing else.
    """
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    mirror: dict[tuple[str, str], tuple[str, str]] = {}
    for pair in pairs:
        form, back = forms_of(pair)
        found[pair.kind, form].append(pair.key)
        mirror[pair.kind, form] = pair.kind, back
    kept: set[str] = set()
    for named, keys in found.items():
        kept |= set(sorted(keys)[: len(found.get(mirror[named], ()))])
    return frozenset(kept)


def length_ratio(lengths: Sequence[tuple[int, int]], step: float = 0.02) -> float:
    """The ratio in [0, 1) to balance (chosen, rejected) lengths by (RLAIF-V, Yu et al. 2024, released code).

    A pair is dropped where its chosen side is shorter than the rejected one by more than that share of it; of all
    ratios in steps the one is best whose remaining pairs differ least in mean length, the largest where several do.
    Raises ValueError without a pair.
    """
    if not lengths:
        raise ValueError("length_ratio: want pairs of lengths, seen none")
    sizes = np.asarray(lengths, np.float64)
    shorter = 1 - sizes[:, 0] / np.maximum(sizes[:, 1], 1)
    ratios = np.arange(0, 1, step)
    gaps = [_mean_gap(sizes[shorter <= ratio]) for ratio in ratios]
    return float(ratios[len(gaps) - 1 - int(np.argmin(gaps[::-1]))])


def _mean_gap(sizes: np.ndarray) -> float:
    if not len(sizes):
        return math.inf
    chosen, wrong = sizes.mean(axis=0)
    return float(abs(chosen - wrong) / max(wrong, 1.0))
