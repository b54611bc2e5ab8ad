"""METEOR as it was first published (Banerjee and Lavie 2005), with its exact and its stem stage and without synonyms.

    words are matched, as many as possible by the stage and with the fewest crossings: first equal words, then those of
    one stem (Porter 1980)
    F = 10 P R / (R + 9 P);  penalty = 0.5 (chunks / matches)^3;  METEOR = F (1 - penalty)

The third stage of the paper, synonyms of WordNet, is left out: its data are no part of this package. A sentence that
says the same in other words gets less here, so figures are lower bounds of the paper's: a further match adds at most
one chunk, and m - 0.5 chunks^3 / m^2, which the score of two given sentences is a multiple of, then grows by a half at
least. Version 1.5 (Denkowski and Lavie 2014), by which most papers on dense captions report, is another measure: it
weighs function words by a list and paraphrases by tables, neither of which is here, and figures do not compare with
its. A report should say "METEOR (2005), exact and stem". English alone.

A sentence that is its own reference has one chunk and gets 1 - 0.5 / words^3, which is under 1.

>>> meteor("the cat sat on the mat", ["on the mat sat the cat"])
0.5
>>> meteor("dogs running", ["a dog runs"]) == meteor("dog run", ["a dog runs"])
True
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reelmill.schemas.errors import BadInput
from reelmill.schemas.metrics.captions import Tokens, tokens
from reelmill.schemas.metrics.porter import stem

Pairs = tuple[tuple[int, int], ...]
"""Places of matched words in the answer and in the reference, by the answer's order."""

_RECALL_WEIGHT = 9.0
_PENALTY, _POWER = 0.5, 3
_BEAM = 40
"""Alignments kept at each word, as many as METEOR 1.5 keeps. Captions of one clip are short: seldom are there more."""


def meteor(answer: str, references: Sequence[str]) -> float:
    """METEOR of one sentence in [0, 1), the best over its references; 0 where no word is matched.

    Raises BadInput where there is no reference, or one without words.
    """
    told, wanted = tokens(answer), [tokens(r) for r in references]
    if not wanted or not all(wanted):
        raise BadInput("references of a caption", seen=f"{list(references)!r}", do="give at least one, each with words")
    return max(_score(told, reference) for reference in wanted)


def _score(told: Tokens, own: Tokens) -> float:
    return score_of(aligned(told, own), told, own)


def score_of(pairs: Pairs, told: Tokens, own: Tokens) -> float:
    """The figure that matches give, 0 where there are none."""
    if not pairs:
        return 0.0
    precision, recall = len(pairs) / len(told), len(pairs) / len(own)
    mean = (1 + _RECALL_WEIGHT) * precision * recall / (recall + _RECALL_WEIGHT * precision)
    return mean * (1 - _PENALTY * (chunks(pairs) / len(pairs)) ** _POWER)


def chunks(pairs: Pairs) -> int:
    """Runs of matches that are next to each other, and in the same order, on both sides."""
    return len(pairs[:1]) + sum((i + 1, j + 1) != later for (i, j), later in pairwise(pairs))


def aligned(told: Tokens, own: Tokens) -> Pairs:
    """Matches of two sentences: all that equal words allow, then all that stems allow among the words left over."""
    pairs: Pairs = ()
    for form in (str, stem):
        pairs = _stage(pairs, _Words.of(told, own, pairs, form))
    return pairs


@dataclass(frozen=True, slots=True)
class _Words:
    """What a stage may still match: of each place in the answer its form, and the places in the reference of each
    form. `spare` is how many words of a form the answer has too many, which so have to stay without a match."""

    forms: dict[int, str]
    places: dict[str, tuple[int, ...]]
    spare: Counter[str]
    length: int

    @classmethod
    def of(cls, told: Tokens, own: Tokens, pairs: Pairs, form: Callable[[str], str]) -> _Words:
        taken, given = {i for i, _ in pairs}, {j for _, j in pairs}
        forms = {i: form(word) for i, word in enumerate(told) if i not in taken}
        free = [(form(word), j) for j, word in enumerate(own) if j not in given]
        places = {f: tuple(j for g, j in free if g == f) for f in {f for f, _ in free}}
        spare = Counter(forms.values()) - Counter(f for f, _ in free)
        return cls({i: f for i, f in forms.items() if f in places}, places, spare, len(told))


@dataclass(frozen=True, slots=True)
class _Try:
    """An alignment up to some word: its pairs, how often two of them cross, and what was left without a match."""

    pairs: Pairs = ()
    crossings: int = 0
    left: tuple[str, ...] = ()

    def with_pair(self, i: int, j: int) -> _Try:
        crossed = sum(other > j for _, other in self.pairs)
        return _Try((*self.pairs, (i, j)), self.crossings + crossed, self.left)


def _stage(fixed: Pairs, words: _Words) -> Pairs:
    """As many matches as there can be beside those of the stages before, with the fewest crossings, then chunks."""
    kept, given = [_Try()], dict(fixed)
    for i in range(words.length):
        tries = [later for one in kept for later in _steps(one, i, given, words)]
        kept = sorted(tries, key=lambda t: (t.crossings, chunks(t.pairs), t.pairs))[:_BEAM]
    return kept[0].pairs


def _steps(one: _Try, i: int, given: dict[int, int], words: _Words) -> Iterator[_Try]:
    """What may become of the word at `i`. It is left without a match only where one of its form has to be."""
    if i in given:
        yield one.with_pair(i, given[i])
        return
    form = words.forms.get(i)
    if form is None:
        yield one
        return
    used = {j for _, j in one.pairs}
    yield from (one.with_pair(i, j) for j in words.places[form] if j not in used)
    if one.left.count(form) < words.spare[form]:
        yield _Try(one.pairs, one.crossings, (*one.left, form))
