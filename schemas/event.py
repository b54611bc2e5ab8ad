"""An event: what happens to whom, from when to when, with every localiser's proposal kept.

Kinds and their spans (half-open, clip time), the same for truth and evidence:

    enters   from the first frame with any visible part to the first frame wholly in view (at least one frame)
    leaves   from the first frame no longer wholly in view to the end of the last frame with a visible part
    moves    from the first frame with displacement to the first frame at rest again (or out of view, or the clip's end)
    stops    from the first frame at rest after a move to the next displacement (or the end of view or clip)
    stated   a clause in somebody's words, a person's or a teacher's; its span is theirs, or what localisers agree on
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from reelmill.schemas.span import Span
from reelmill.schemas.verdict import Verdict


class EventKind(enum.StrEnum):
    ENTERS = "enters"
    LEAVES = "leaves"
    MOVES = "moves"
    STOPS = "stops"
    STATED = "stated"


RULE_KINDS = (EventKind.ENTERS, EventKind.LEAVES, EventKind.MOVES, EventKind.STOPS)
"""The kinds that rules find and rendered scenes have in truth."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One localiser's answer. `span` is None where it found nothing, which is an answer too."""

    localiser: str
    span: Span | None
    score: float


@dataclass(frozen=True, slots=True)
class Event:
    """A child of a clip. `subject_id` is the tube's id; `subject` a noun phrase ("the red circle"). Both are "" where a
    stated event names no tube.

    `phrase` is a whole clause ("the red circle enters"); `span` the accepted or best localisation; `proposals` what
    every localiser said.
    """

    key: str
    parent_key: str
    kind: EventKind
    subject_id: str
    subject: str
    phrase: str
    span: Span
    confidence: float
    proposals: tuple[Proposal, ...]
    method: str
    verdict: Verdict
