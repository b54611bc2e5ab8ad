"""Which of these happen? Questions whose wrong answer nobody can tell by how many things are named in it.

How many things enter and leave is a habit of a set: of a list with one too few and the whole list, anybody picks the
usual one. So a drop and an insert are drawn together: two things of one clip, one of which does `kind` and one of which
does not, stand in one and the same company. Where the first is asked about it is left out, where the second is it is
put in; names aside the two pairs are each other's mirror. In a `replace` both are asked about, and exchanged.

    does enter   the red circle          drop     asked: red enters, star stops    true: both       told: star stops
    does not     the blue square         insert   asked: blue enters, star stops   true: star stops told: both
    company      the pink star stops     replace  asked: all three   true: red, star   told: blue, star
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from reelmill.pipelines.views.evidenced import Evidence, Said
from reelmill.schemas.event import RULE_KINDS, EventKind

MOST_COMPANY = 3
"""Happenings beside the one in question, each of another thing; more make a question that nobody would ask."""


@dataclass(frozen=True, slots=True)
class Toggle:
    """One question and its two answers. `stage` counts from the smallest company, of which most is wrong."""

    how: str
    kind: EventKind
    stage: int
    asked: tuple[Said, ...]
    true: tuple[Said, ...]
    told: tuple[Said, ...]

    @property
    def strength(self) -> float:
        """The share of what is asked about that is answered wrongly."""
        return len(set(self.true) ^ set(self.told)) / len(self.asked)


def toggles(evidence: Evidence, rng_of: Callable[[str], random.Random]) -> Iterator[Toggle]:
    """A drop, an insert and a replace for every kind of event that some things do and others do not, and every size of
    company. `rng_of` gives the draws of a name. What the evidence leaves open is not asked about."""
    for kind in RULE_KINDS:
        does, does_not = ([s for s in evidence.named if evidence.happens((s, kind)) is v] for v in (True, False))
        if does and does_not:
            for size in range(min(MOST_COMPANY, len(evidence.named) - 2) + 1):
                yield from _drawn(evidence, kind, does, does_not, size, rng_of(f"{kind} {size}"))


def _drawn(
    evidence: Evidence, kind: EventKind, does: Sequence[str], does_not: Sequence[str], size: int, rng: random.Random
) -> Iterator[Toggle]:
    one, other = (rng.choice(does), kind), (rng.choice(does_not), kind)
    company = _company(evidence, {one[0], other[0]}, size, rng)
    if len(company) < size:
        return  # a third thing of which nothing is known for sure
    around = tuple(said for said in company if evidence.happens(said))
    asked, doing = (one, *company), (one, *around)
    yield Toggle("drop", kind, size, asked, doing, around)
    yield Toggle("insert", kind, size, (other, *company), around, (other, *around))
    yield Toggle("replace", kind, size, (one, other, *company), doing, (other, *around))


def _company(evidence: Evidence, without: set[str], size: int, rng: random.Random) -> list[Said]:
    """One settled happening, or absence of one, of each of `size` other things."""
    found = []
    others = [s for s in evidence.named if s not in without]
    for subject in rng.sample(others, size):
        settled = [(subject, k) for k in RULE_KINDS if evidence.happens((subject, k)) is not None]
        found += [rng.choice(settled)] if settled else []
    return found
