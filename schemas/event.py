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


@dataclass(frozen=True, slots=True)
class Contrast:
    """How much more alike to its clause a stated event's frames are than those outside all that was proposed for it:
    the difference of mean cosines, over `inside` and `outside` frames; None where one side has no frame."""

    event_key: str
    margin: float | None
    inside: int
    outside: int


@dataclass(frozen=True, slots=True)
class MergedPhrase:
    """A clause that a teacher listed, and the earlier one that says the same and stands for both."""

    phrase: str
    into: str


@dataclass(frozen=True, slots=True)
class BorrowedPhrase:
    """A clause that was listed of another clip, `from_key`, and what localisers say of it in this one."""

    phrase: str
    from_key: str
    proposals: tuple[Proposal, ...]


@dataclass(frozen=True, slots=True)
class AbsentPhrase:
    """A borrowed clause with all proposals and a verdict: accepted where nobody who could say finds it in the clip."""

    key: str
    phrase: str
    from_key: str
    proposals: tuple[Proposal, ...]
    confidence: float
    method: str
    verdict: Verdict
