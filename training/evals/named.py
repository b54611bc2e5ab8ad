"""Which thing does what, read from the words of a dialogue: published samples keep no verb and no number of things.

A pooled score hides that a model learned "appears" and not "moves", or one thing and not three, so every score is told
apart by both. The words are those of the templates of rule-made views; of other words nothing is claimed.

>>> verb_of("When does the red circle leave the frame?"), named("A dog moves, and the red circle stops.")
('leaves', (('dog', 'moves'), ('red circle', 'stops')))
"""

from __future__ import annotations

import re

from reelmill.schemas.event import EventKind

SEVERAL = "several"
"""The verb of a question that names more than one."""

_WORDS = {
    EventKind.ENTERS: ("enter", "enters", "entering"),
    EventKind.LEAVES: ("leave", "leaves", "leaving"),
    EventKind.MOVES: ("move", "moves", "moving"),
    EventKind.STOPS: ("stop", "stops", "stopping"),
}
_VERB = {word: str(kind) for kind, words in _WORDS.items() for word in words}
_ANY = "|".join(sorted(_VERB, key=len, reverse=True))
_NAMED = re.compile(rf"\b(?:the|an?) ((?:(?!(?:the|an?|{_ANY})\b)[\w<>-]+ ){{1,4}})(?:does )?({_ANY})\b", re.IGNORECASE)
_SAID = re.compile(rf"\b({_ANY})\b", re.IGNORECASE)


def named(text: str) -> tuple[tuple[str, str], ...]:
    """(thing, verb) pairs that a text speaks of, in order; verbs by the kind of event."""
    return tuple((m[1].strip().lower(), _VERB[m[2].lower()]) for m in _NAMED.finditer(text))


def verb_of(text: str) -> str:
    """The kind of event that a text asks about; "" for none of ours, SEVERAL for more than one."""
    found = {_VERB[word.lower()] for word in _SAID.findall(text)}
    return next(iter(found)) if len(found) == 1 else (SEVERAL if found else "")
