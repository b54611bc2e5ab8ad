"""The two sides of a preference pair, cut into words, with those marked that the other side has not.

>>> one, other = differing("It rolls, then stops.", "It stops, then rolls.")
>>> [p.text for p in one if p.differs], "".join(p.text for p in other)
(['rolls,', 'stops.'], 'It stops, then rolls.')
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from reelmill.schemas.sample import PreferenceSample, Role, Turn

_TIME = re.compile("<time>")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text; `differs`: the other side has something else there."""

    text: str
    differs: bool


@dataclass(frozen=True, slots=True)
class Side:
    """One turn of a side: `name` is chosen or rejected."""

    name: str
    pieces: tuple[Piece, ...]


def sides(pair: PreferenceSample) -> tuple[Side, ...]:
    """Chosen and rejected turns in turn, each beside its other."""
    chosen = pair.turns[len(pair.turns) - len(pair.rejected) :]
    both = [differing(spoken(a), spoken(b)) for a, b in zip(chosen, pair.rejected, strict=True)]
    return tuple(side for a, b in both for side in (Side("chosen", a), Side("rejected", b)))


def spoken(turn: Turn) -> str:
    """The text with its times filled in: a rejected side may differ from the chosen one in nothing else.

    >>> spoken(Turn(Role.ASSISTANT, "During <time>.", (), (1.0, 3.5), ()))
    'During 1.00–3.50 s.'
    """
    times = turn.src_s if turn.role is Role.USER else turn.tgt_s
    said = iter([f"{s:.2f}–{e:.2f} s" for s, e in zip(times[::2], times[1::2], strict=False)])
    return _TIME.sub(lambda found: next(said, found[0]), turn.text)


def differing(one: str, other: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Both texts in pieces, by words: those of the longest common subsequence do not differ."""
    a, b = (re.findall(r"\s+|\S+", text) for text in (one, other))
    steps = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    left = [Piece("".join(a[i:j]), step != "equal") for step, i, j, _, _ in steps if j > i]
    right = [Piece("".join(b[i:j]), step != "equal") for step, _, _, i, j in steps if j > i]
    return tuple(left), tuple(right)
