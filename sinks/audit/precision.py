"""What the marks say: precision with Wilson's interval, for all samples and for each method, family and task.

A mark counts while its sample is accepted and says what it said when it was marked. A sample that any rater calls wrong
is wrong, until the raters agree; one that nobody is sure of is counted beside. Agreement of two raters is Cohen's kappa
(Educational and Psychological Measurement 20, 1960) over right, wrong and unsure.

>>> kappa([("right", "right"), ("right", "right"), ("wrong", "wrong"), ("wrong", "right")])
0.5
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from reelmill.schemas.sample import Sample
from reelmill.sinks.audit.draw import Stratum, accepted, strata
from reelmill.sinks.audit.marks import Judgement, Mark, kept, newest, text_sha256
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.rate import Rate, wilson

_TELLING = 0.005
"""A weighted precision is told where it differs by more than rounding to two places would show."""


@dataclass(frozen=True, slots=True)
class Group:
    """Samples of one method, family or task: `samples` are accepted, `rate` is right of those decided."""

    by: str
    name: str
    samples: int
    rate: Rate
    unsure: int


@dataclass(frozen=True, slots=True)
class Weighted:
    """Precision with each stratum at its share of the dataset, with Wilson's interval for the effective number of
    samples, (sum w)^2 / sum w^2 (Kish, Survey Sampling, 1965, section 11.7)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two raters over the `count` samples that both marked; kappa is None where chance alone explains all."""

    raters: tuple[str, str]
    count: int
    same: int
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Dispute:
    """A sample that its raters judge differently."""

    key: str
    task: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """All that the marks of a dataset say today.

    `changed` samples say something else than when they were marked, `gone` ones are no longer accepted; neither counts.
    `weighted` is None where nothing is decided; `unseen` strata have no decided sample.
    """

    total: Rate
    unsure: int
    groups: tuple[Group, ...]
    strata: int
    unseen: int
    weighted: Weighted | None
    raters: tuple[str, ...]
    last: str
    changed: int
    gone: int
    agreements: tuple[Agreement, ...]
    disputes: tuple[Dispute, ...]

    @property
    def sentence(self) -> str:
        """The audited precision in one line, as cards, pages and reports say it."""
        said = [self._precision(), *self._doubts()]
        said += (
            [f"{_counted(self.changed, 'sample')} changed since marked and no longer counted"] if self.changed else []
        )
        said += [f"{_counted(self.gone, 'marked sample')} no longer there"] if self.gone else []
        said += [a_sentence(a) for a in self.agreements]
        said += [f"{len(self.disputes)} disputed, wrong if any rater says so"] if self.disputes else []
        return "; ".join(said)

    def _precision(self) -> str:
        if not self.total.count:
            return "UNAUDITED"
        who = " and ".join(self.raters)
        return f"{self.total.hits} of {self.total.count} right ({interval(self.total)}), by {who}, {self.last}"

    def _doubts(self) -> list[str]:
        said = [f"{self.unsure} unsure beside"] if self.unsure else []
        found = self.weighted
        if found is not None and abs(found.value - (self.total.value or 0.0)) > _TELLING:
            said.append(f"weighted by the strata's sizes {found.value:.2f} (95 % {found.low:.2f} to {found.high:.2f})")
        if self.total.count and self.unseen:
            said.append(f"nothing decided in {self.unseen} of {self.strata} strata")
        return said


def audit_of(dataset: Dataset) -> Audit | None:
    """The audit of a dataset as it stands; None where nobody marked any version of it."""
    marks = kept(dataset)
    if not marks:
        return None
    sizes = {s: len(keys) for s, keys in strata(dataset).items()}
    return _audit(marks, accepted(dataset, [m.key for m in marks]), sizes)


def _audit(marks: Sequence[Mark], found: Mapping[str, Sample], sizes: Mapping[Stratum, int]) -> Audit:
    counting = counted(marks, found)
    by_sample: dict[str, list[Mark]] = defaultdict(list)
    for mark in counting:
        by_sample[mark.key].append(mark)
    judged = {key: judgement(m.judgement for m in of) for key, of in by_sample.items()}
    lost = {m.key for m in marks} - judged.keys()
    by_stratum = {s: [judged[k] for k in judged if _stratum(found[k]) == s] for s in sizes}
    rates = {s: rate(of) for s, of in by_stratum.items()}
    disputes = (
        Dispute(k, found[k].task, tuple(of)) for k, of in by_sample.items() if len({m.judgement for m in of}) > 1
    )
    return Audit(
        total=rate(judged.values()),
        unsure=sum(j is Judgement.UNSURE for j in judged.values()),
        groups=tuple(_groups(by_stratum, sizes)),
        strata=len(sizes),
        unseen=sum(not r.count for r in rates.values()),
        weighted=weighted(rates, sizes),
        raters=tuple(sorted({m.rater for m in counting})),
        last=max((m.at.date().isoformat() for m in counting), default=""),
        changed=len(lost & found.keys()),
        gone=len(lost - found.keys()),
        agreements=tuple(agreements(counting)),
        disputes=tuple(sorted(disputes, key=lambda d: d.key)),
    )


def counted(marks: Iterable[Mark], found: Mapping[str, Sample]) -> list[Mark]:
    """The last mark of each rater and sample, of those made of what the sample says today."""
    today = {key: text_sha256(sample) for key, sample in found.items()}
    return list(newest(m for m in marks if today.get(m.key) == m.text_sha256).values())


def judgement(said: Iterable[Judgement]) -> Judgement:
    """What several raters say together: wrong if any says so, unsure only where nobody decides."""
    seen = set(said)
    return next(j for j in (Judgement.WRONG, Judgement.RIGHT, Judgement.UNSURE) if j in seen)


def rate(judged: Iterable[Judgement]) -> Rate:
    """Right ones of those decided."""
    counts = Counter(judged)
    return Rate(counts[Judgement.RIGHT], counts[Judgement.RIGHT] + counts[Judgement.WRONG])


def weighted(rates: Mapping[Stratum, Rate], sizes: Mapping[Stratum, int]) -> Weighted | None:
    """Each stratum's rate by its share of the samples, of those strata in which something is decided."""
    whole = sum(sizes[s] for s, r in rates.items() if r.count)
    shares = {s: sizes[s] / whole for s, r in rates.items() if r.count}
    if not shares:
        return None
    value = min(math.fsum(share * rates[s].hits / rates[s].count for s, share in shares.items()), 1.0)
    effective = 1 / math.fsum(share**2 / rates[s].count for s, share in shares.items())
    return Weighted(value, *wilson(value, effective))


def agreements(marks: Sequence[Mark]) -> list[Agreement]:
    """Every two raters who marked a sample in common. `marks` hold one of each rater and sample."""
    by_rater: dict[str, dict[str, str]] = defaultdict(dict)
    for mark in marks:
        by_rater[mark.rater][mark.key] = str(mark.judgement)
    found = []
    for one, other in combinations(sorted(by_rater), 2):
        pairs = [(by_rater[one][k], by_rater[other][k]) for k in by_rater[one].keys() & by_rater[other].keys()]
        if pairs:
            found.append(Agreement((one, other), len(pairs), sum(a == b for a, b in pairs), kappa(pairs)))
    return found


def kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa, (p_o - p_e) / (1 - p_e): p_o the share of equal pairs, p_e that by chance from each one's own
    shares. None where p_e is 1."""
    n, ones, others = len(pairs), Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    seen = sum(a == b for a, b in pairs) * n
    chance = sum(ones[said] * others[said] for said in ones)
    return (seen - chance) / (n * n - chance) if n * n > chance else None


def interval(one: Rate) -> str:
    """Wilson's interval in words; '' where nothing was counted.

    >>> interval(Rate(57, 60))
    '95 % 0.86 to 0.98'
    """
    return "" if one.low is None or one.high is None else f"95 % {one.low:.2f} to {one.high:.2f}"


def a_sentence(found: Agreement) -> str:
    """How two raters agree, in words."""
    told = "undefined" if found.kappa is None else f"{found.kappa:.2f}"
    return f"{' and '.join(found.raters)} agree on {found.same} of {found.count}, Cohen's kappa {told}"


def _groups(by_stratum: Mapping[Stratum, list[Judgement]], sizes: Mapping[Stratum, int]) -> Iterable[Group]:
    for by in ("method", "family", "task"):
        for name in sorted({getattr(s, by) for s in sizes}):
            inside = [s for s in sizes if getattr(s, by) == name]
            judged = [j for s in inside for j in by_stratum[s]]
            unsure = sum(j is Judgement.UNSURE for j in judged)
            yield Group(by, name, sum(sizes[s] for s in inside), rate(judged), unsure)


def _stratum(sample: Sample) -> Stratum:
    return Stratum(sample.family, sample.task, sample.method)


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
