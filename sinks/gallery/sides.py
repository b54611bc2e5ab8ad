"""The two sides of a preference pair, cut into words, with those marked that the other side has not, and how the
rejected one was made wrong.

>>> one, other = differing("It rolls, then stops.", "It stops, then rolls.")
>>> [p.text for p in one if p.differs], "".join(p.text for p in other)
(['rolls,', 'stops.'], 'It stops, then rolls.')
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from reelmill.schemas.sample import Claim, Perturbation, PreferenceSample
from reelmill.sinks.gallery.words import spoken

_MANY = 24
"""Orders longer than this are not written out: nobody compares them by eye."""

_DONE = {
    "drop": "leaving things out",
    "insert": "adding what does not happen",
    "shuffle": "telling in another order",
    "reverse": "telling backwards",
    "swap": "exchanging two in order",
    "frames": "the order that frames in another order give",
    "shift": "moving a time",
    "borrowed": "giving another thing's time",
    "entity": "naming another thing",
    "attribute": "naming another property",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text; `differs`: the other side has something else there."""

    text: str
    differs: bool


@dataclass(frozen=True, slots=True)
class Side:
    """One turn of a side: `name` is chosen or rejected. `claims` stand with the last turn of their side."""

    name: str
    pieces: tuple[Piece, ...]
    claims: tuple[Claim, ...]


def sides(pair: PreferenceSample) -> tuple[Side, ...]:
    """Chosen and rejected turns in turn, each beside its other."""
    chosen = pair.turns[len(pair.turns) - len(pair.rejected) :]
    both = [differing(spoken(a), spoken(b)) for a, b in zip(chosen, pair.rejected, strict=True)]
    found = []
    for i, pieces in enumerate(both):
        last = i == len(both) - 1
        for name, own in zip(("chosen", "rejected"), pieces, strict=True):
            claims = tuple(c for c in pair.claims if last and c.rejected == (name == "rejected"))
            found.append(Side(name, own, claims))
    return tuple(found)


def differing(one: str, other: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Both texts in pieces, by words: those of the longest common subsequence do not differ."""
    a, b = (re.findall(r"\s+|\S+", text) for text in (one, other))
    steps = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    left = [Piece("".join(a[i:j]), step != "equal") for step, i, j, _, _ in steps if j > i]
    right = [Piece("".join(b[i:j]), step != "equal") for step, _, _, i, j in steps if j > i]
    return tuple(left), tuple(right)


def perturbed(how: Perturbation) -> str:
    """A perturbation in words: what was done, kind, strength, stage, and the rejected side's order counted from 1.

    >>> perturbed(Perturbation("drop", "captions", 0.25, 0, 4, (0, 1, 3), 0))
    'leaving things out (drop, of captions): strength 0.25, 1 of 4; stage 0, the easiest; order 1 2 4, without 3'
    """
    named = f"{_DONE[how.kind]} ({how.kind}, of {how.of})" if how.kind in _DONE else f"{how.kind}, of {how.of}"
    easiest = ", the easiest" if how.stage == 0 else ""
    touched = f"{round(how.strength * how.items)} of {how.items}"
    said = f"{named}: strength {how.strength:.2f}, {touched}; stage {how.stage}{easiest}"
    if not how.order:
        return said
    if how.items > _MANY:
        return f"{said}; another order of {how.items}"
    missing = " ".join(str(i + 1) for i in range(how.items) if i not in how.order)
    return f"{said}; order {' '.join(str(i + 1) for i in how.order)}" + (f", without {missing}" if missing else "")
