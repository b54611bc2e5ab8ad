"""Measures of sentences against references: BLEU, ROUGE-L, CIDEr and CIDEr-D, as the COCO caption evaluation has them.

METEOR stands in a module of its own (`meteor`), since it is a lower bound here. An answer of None could not be read and
counts as wrong; so does one without words. *Micro* sums counts over a corpus before it divides, *macro* is the mean of
what each row got: `bleu` is micro, `macro` of any sentence measure is what it says.

>>> tokens("It's 3.5 km, isn't it?")
('it', "'s", '3.5', 'km', 'is', "n't", 'it')
>>> rouge_l("a dog runs", ["a dog jumps"]) == rouge_l("a dog jumps", ["a dog runs"])
True
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from reelmill.schemas.errors import BadInput

ORDERS = (1, 2, 3, 4)
"""Lengths of n-grams."""

Tokens = tuple[str, ...]
Row = tuple[str | None, Sequence[str]]
"""An answer, None where it could not be read, and at least one reference."""

_TOKEN = re.compile(
    r"(?:[^\W\d_]\.){2,}"  # u.s.
    r"|\d+(?:[.,:]\d+)*"  # 3.5, 1,000, 12:30
    r"|\w+?(?=n't\b)|n't\b|'(?:s|re|ve|ll|d|m)\b"  # do n't, it 's
    r"|\w+(?:-\w+)*"  # dog, well-known
    r"|[^\w\s]"
)
_CURLED = str.maketrans("\u2018\u2019\u02bc\u00b4`", "'''''")
_DROPPED = frozenset("'\"\u201c\u201d()[]{}.?!,:;-\u2013\u2014\u2026")


@lru_cache(maxsize=1 << 14)
def tokens(text: str) -> Tokens:
    """Words in small letters, without punctuation, by rules like those of the Penn Treebank.

    Split are n't, 's, 're, 've, 'll, 'd, 'm and "cannot"; kept whole are numbers, hyphened words and abbreviations of
    single letters with points. Signs that are no punctuation (%, $, &) stand alone. Figures of COCO's evaluation come
    from CoreNLP's tokeniser, which has more rules; texts without abbreviations and odd signs are cut alike.
    """
    found = _TOKEN.findall(text.translate(_CURLED).lower())
    parts = (("can", "not") if t == "cannot" else (t,) for t in found if t not in _DROPPED)
    return tuple(t for part in parts for t in part)


def _references(texts: Sequence[str]) -> list[Tokens]:
    """Raises BadInput where there is no reference, or one without words: nothing could ever be right."""
    found = [tokens(t) for t in texts]
    if not found or not all(found):
        raise BadInput("references of a caption", seen=f"{list(texts)!r}", do="give at least one, each with words")
    return found


def _grams(words: Tokens, order: int) -> Counter[Tokens]:
    return Counter(words[i : i + order] for i in range(len(words) - order + 1))


@dataclass(frozen=True, slots=True)
class Mean:
    """Macro: the mean of a measure over rows, None where there is no row. `unread` rows got 0."""

    mean: float | None
    unread: int
    count: int


def macro(rows: Sequence[Row], measure: Callable[[str, Sequence[str]], float]) -> Mean:
    """The mean of a sentence measure; an answer that could not be read got 0."""
    found = [0.0 if answer is None else measure(answer, references) for answer, references in rows]
    return Mean(sum(found) / len(found) if found else None, sum(a is None for a, _ in rows), len(rows))


@dataclass(frozen=True, slots=True)
class Bleu:
    """Micro: BLEU-1 to BLEU-4 in [0, 1], None where there is no row, and the brevity penalty that is in each."""

    bleu: tuple[float | None, ...]
    brevity: float | None
    unread: int
    count: int


@dataclass(frozen=True, slots=True)
class _Hits:
    """N-grams of an answer that its references have (clipped), and n-grams of it, for each order."""

    matched: tuple[int, ...]
    total: tuple[int, ...]
    length: int
    nearest: int


def _hits(answer: Tokens, references: Sequence[Tokens]) -> _Hits:
    matched, total = [], []
    for order in ORDERS:
        own, most = _grams(answer, order), Counter[Tokens]()
        for reference in references:
            most |= _grams(reference, order)
        matched.append((own & most).total())
        total.append(own.total())
    nearest = min((abs(len(r) - len(answer)), len(r)) for r in references)[1]
    return _Hits(tuple(matched), tuple(total), len(answer), nearest)


def _brevity(length: int, nearest: int) -> float:
    if length >= nearest:
        return 1.0
    return math.exp(1 - nearest / length) if length else 0.0


def bleu(rows: Sequence[Row]) -> Bleu:
    """Corpus BLEU (Papineni et al. 2002): clipped counts summed over all rows, the nearest reference length, no
    smoothing. An answer that could not be read counts as one without words: it costs brevity."""
    unread = sum(answer is None for answer, _ in rows)
    if not rows:
        return Bleu((None,) * len(ORDERS), None, 0, 0)
    hits = [_hits(tokens(answer or ""), _references(references)) for answer, references in rows]
    matched = [sum(h.matched[i] for h in hits) for i in range(len(ORDERS))]
    total = [sum(h.total[i] for h in hits) for i in range(len(ORDERS))]
    brevity = _brevity(sum(h.length for h in hits), sum(h.nearest for h in hits))
    precisions = [m / t if t else 0.0 for m, t in zip(matched, total, strict=True)]
    figures = tuple(brevity * _geometric(precisions[:order]) for order in ORDERS)
    return Bleu(figures, brevity, unread, len(rows))


def _geometric(found: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, found)) / len(found)) if all(found) else 0.0


def sentence_bleu(answer: str, references: Sequence[str], order: int = 4) -> float:
    """BLEU of one sentence in [0, 1], one added to the counts of orders above the first (Lin and Och 2004, section 3;
    `add-k` of sacrebleu). 0 where no word is right."""
    hits = _hits(tokens(answer), _references(references))
    if not hits.matched[0]:
        return 0.0
    above = zip(hits.matched[1:order], hits.total[1:order], strict=True)
    precisions = [hits.matched[0] / hits.total[0], *((m + 1) / (t + 1) for m, t in above)]
    return _brevity(hits.length, hits.nearest) * _geometric(precisions)


def rouge_l(answer: str, references: Sequence[str], beta: float = 1.2) -> float:
    """ROUGE-L in [0, 1] (Lin 2004, section 3): F of the longest common subsequence, the best precision and the best
    recall over the references. `beta` weighs recall: 1.2 in COCO's evaluation, 1 in the package rouge-score."""
    told, wanted = tokens(answer), _references(references)
    if not told:
        return 0.0
    common = [_common(told, reference) for reference in wanted]
    precision = max(common) / len(told)
    recall = max(c / len(reference) for c, reference in zip(common, wanted, strict=True))
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision) if precision else 0.0


@lru_cache(maxsize=1 << 14)
def _common(one: Tokens, other: Tokens) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = row
        row = [0]
        for i, beside in enumerate(other):
            row.append(before[i] + 1 if word == beside else max(row[i], before[i + 1]))
    return row[-1]


@dataclass(frozen=True, slots=True)
class Cider:
    """CIDEr and CIDEr-D (Vedantam et al. 2015) with document frequencies of one reference corpus, words not stemmed.

    `frequency`: of each n-gram the number of documents (all references of one row) that have it; `documents`: their
    number. Figures of different corpora do not compare.
    """

    frequency: Mapping[Tokens, int]
    documents: int

    @classmethod
    def of(cls, corpus: Sequence[Sequence[str]]) -> Cider:
        """Raises BadInput on fewer than two documents: in one alone every n-gram has the weight 0."""
        if len(corpus) < 2:
            raise BadInput("corpus of CIDEr", seen=f"{len(corpus)} documents", do="give the references of two or more")
        found: Counter[Tokens] = Counter()
        for references in corpus:
            found.update({gram for words in _references(references) for n in ORDERS for gram in _grams(words, n)})
        return cls(found, len(corpus))

    def cider(self, answer: str, references: Sequence[str]) -> float:
        """CIDEr in [0, 10]: 10 times the mean cosine of tf-idf vectors, over orders 1 to 4 and references."""
        return self._mean(answer, references, self._cosine)

    def cider_d(self, answer: str, references: Sequence[str], sigma: float = 6.0) -> float:
        """CIDEr-D in [0, 10]: counts clipped at the reference's, and a penalty on differing length. COCO's evaluation
        calls it CIDEr; it takes lengths in bigrams, this one in words, which differ only below two words."""
        length = len(tokens(answer))
        return self._mean(
            answer,
            references,
            lambda told, own, order: (
                self._clipped(told, own, order) * math.exp(-((length - len(own)) ** 2) / (2 * sigma**2))
            ),
        )

    def _mean(self, answer: str, references: Sequence[str], likeness: Callable[[Tokens, Tokens, int], float]) -> float:
        told, wanted = tokens(answer), _references(references)
        return 10 * sum(likeness(told, own, n) for own in wanted for n in ORDERS) / (len(wanted) * len(ORDERS))

    def _weights(self, words: Tokens, order: int) -> dict[Tokens, float]:
        """Count times idf; the paper divides counts by their sum, which the cosine takes out again."""
        return {
            gram: count * (math.log(self.documents) - math.log(max(1, self.frequency.get(gram, 0))))
            for gram, count in _grams(words, order).items()
        }

    def _cosine(self, told: Tokens, own: Tokens, order: int) -> float:
        one, other = self._weights(told, order), self._weights(own, order)
        return _over(sum(w * other.get(gram, 0.0) for gram, w in one.items()), one, other)

    def _clipped(self, told: Tokens, own: Tokens, order: int) -> float:
        one, other = self._weights(told, order), self._weights(own, order)
        return _over(sum(min(w, other.get(gram, 0.0)) * other.get(gram, 0.0) for gram, w in one.items()), one, other)


def _over(product: float, one: Mapping[Tokens, float], other: Mapping[Tokens, float]) -> float:
    lengths = math.hypot(*one.values()) * math.hypot(*other.values())
    return product / lengths if lengths else 0.0
