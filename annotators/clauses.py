"""What clauses say, as far as words show: is one another in other words, and which event of a tube could one mean?

A tube is known by colour, figure and place alone, so a clause with any other word is one that tubes cannot speak to:
that is no opinion, and never an absence.

>>> alike("A red ball rolls.", "the red ball rolls"), alike("the cat chases a dog", "a dog chases the cat")
(True, False)
>>> clause = read("the red circle enters the frame")
>>> str(clause.kind), sorted(clause.words), read("a man enters")
('enters', ['circle', 'red'], None)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Tube

ALIKE = 0.8
"""Share of the longer clause's words that the shorter one must have: one word in five may be left out."""

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_EMPTY = frozenset({"a", "an", "the", "is", "are", "then"})
_DENIALS = frozenset({"no", "not", "never", "nobody", "nothing", "without"})

_COLOURS = frozenset(
    {"red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "grey", "gray"}
)
_FIGURES = frozenset({"circle", "square", "triangle", "star", "diamond", "cross"})
_ANY = frozenset({"a", "an", "the", "something", "object", "thing", "shape"})
_VERBS = {
    EventKind.ENTERS: r"enters|comes in|comes into|appears",
    EventKind.LEAVES: r"leaves|exits|goes out of|disappears",
    EventKind.MOVES: r"moves",
    EventKind.STOPS: r"stops|comes to rest",
}
_READABLE = re.compile(
    r"(?P<subject>[a-z ]+?) (?P<verb>" + "|".join(_VERBS.values()) + r")"
    r"(?: (?:the |in the |into the )?(?:frame|view|picture|scene))?(?: on the (?P<side>left|right))?"
)


def words_of(phrase: str) -> tuple[str, ...]:
    """The words of a clause that carry it, in lower case and in order."""
    return tuple(word for word in _WORD.findall(phrase.casefold()) if word not in _EMPTY)


def alike(one: str, other: str) -> bool:
    """Do two clauses say the same in all but a word in five, which one of them leaves out?

    The words must come in one order, so that who does it to whom is kept; none may stand for another ("left", "right");
    a denial is never left out.
    """
    short, long = sorted((words_of(one), words_of(other)), key=len)
    if not short or len(short) < ALIKE * len(long) or _DENIALS & set(short) != _DENIALS & set(long):
        return False
    rest = iter(long)
    return all(word in rest for word in short)


def merged(phrases: Sequence[str]) -> list[list[int]]:
    """Places of phrases that say the same, each group by its first; every place once."""
    groups: list[list[int]] = []
    for place, phrase in enumerate(phrases):
        group = next((g for g in groups if alike(phrases[g[0]], phrase)), None)
        if group is None:
            groups.append([place])
        else:
            group.append(place)
    return groups


# ---- what tubes can say ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause in the words of tubes: the kind of event, its subject's colours and figures; `side` left, right, ""."""

    kind: EventKind
    words: frozenset[str]
    side: str


def read(phrase: str) -> Clause | None:
    """None for a clause of which any word is not one of theirs."""
    found = _READABLE.fullmatch(phrase.casefold().strip().rstrip("."))
    if found is None:
        return None
    words = frozenset(found["subject"].split()) - _ANY
    if not words <= _COLOURS | _FIGURES:
        return None
    kind = next(kind for kind, verbs in _VERBS.items() if re.fullmatch(verbs, found["verb"]))
    return Clause(kind, frozenset("grey" if word == "gray" else word for word in words), found["side"] or "")


def placed(phrase: str, events: Sequence[Event], tubes: Sequence[Tube]) -> tuple[tuple[Span, ...], float] | None:
    """When tubes say that it happens, and the weakest confidence; no spans where none of them does it.

    None is no opinion: a clause that they cannot speak to, a clip in which nothing was followed, or an event that is
    doubtful by itself or whose subject could be meant and is not known well enough.
    """
    clause = read(phrase)
    if clause is None or not events:
        return None
    by_id = {tube.tube_id: tube for tube in tubes}
    found = [e for e in events if e.kind is clause.kind and _could_be(clause, e, by_id)]
    if any(not e.verdict.accepted or not clause.words <= set(e.subject.split()) for e in found):
        return None
    return tuple(e.span for e in found), min((e.confidence for e in found), default=1.0)


def _could_be(clause: Clause, event: Event, tubes: Mapping[str, Tube]) -> bool:
    """Is there nothing about an event's subject that the clause rules out?"""
    subject = set(event.subject.split())
    for known in (_COLOURS, _FIGURES):
        if clause.words & known and subject & known and not clause.words & known <= subject:
            return False
    tube = tubes.get(event.subject_id)
    return not clause.side or tube is None or _side(tube, event.span) == clause.side


def _side(tube: Tube, span: Span) -> str:
    """The half of the frame that a tube's centre is in, on average over a span."""
    boxes = [b for t, b in zip(tube.at_s, tube.boxes, strict=True) if span.start_s - 1e-6 <= t < span.end_s]
    centre = sum((b.x0_px + b.x1_px) / 2 for b in boxes) / max(1, len(boxes))
    return "left" if centre < tube.frame_width_px / 2 else "right"
