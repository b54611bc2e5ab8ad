"""What the events of a clip say about a statement: it holds, it does not, or it is open. Three answers, never two.

A statement holds on accepted events alone; it fails only where no event, not even a refused one, could bear it out, and
where nothing that it could be about was lost out of sight. Starts that are nearer than `order_s` have no order.

    events  the red circle enters [0.4, 0.9), the blue square leaves [2.0, 2.4)
    happens(("the red circle", enters))                                   True
    happens(("the green star", enters))                                   False
    before(("the blue square", leaves), ("the red circle", enters))       False
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from reelmill.pipelines.views.happenings import claims, fits, in_time, may_be
from reelmill.schemas.event import RULE_KINDS, Event, EventKind
from reelmill.schemas.sample import Claim

Said = tuple[str, EventKind]
"""A subject's words and what it does."""

Chain = tuple[Event, ...]
"""Accepted events of things named like no other, each certainly beginning before the next."""

EVERYTHING = "everything"
CROSSINGS = (EventKind.ENTERS, EventKind.LEAVES)
NOTHING_ELSE = "nothing else enters or leaves the frame"

_UNSEEN = {
    "start_not_seen": frozenset(RULE_KINDS),
    "end_not_seen": frozenset(RULE_KINDS),
    "low_confidence": frozenset(RULE_KINDS),
    "cut_at_start": frozenset({EventKind.ENTERS}),
}
"""What a thing may have done that nobody saw, by why one of its events is refused. A track that begins or ends in
mid-frame has lost the thing for the rest; one of low confidence may be of several things; what moves in the first
frame may still be entering."""


class Evidence:
    """Every event of a clip, accepted or not. `near`, `vague` and `shades` are those of the phrasings (colours, unsure
    words, words that name nothing)."""

    def __init__(
        self,
        events: Sequence[Event],
        near: Mapping[str, Sequence[str]],
        vague: Collection[str],
        order_s: float,
        shades: Collection[str] = (),
    ) -> None:
        self.events = tuple(sorted(events, key=in_time))
        self.accepted = tuple(e for e in self.events if e.verdict.accepted)
        self.near = {colour: list(others) for colour, others in near.items()}
        self.vague, self.order_s, self.shades = set(vague), order_s, set(shades)
        self.subjects = tuple(sorted({e.subject for e in self.events}))
        self.named = self._named()
        self._unseen = {
            (e.subject, kind)
            for e in self.events
            if not e.verdict.accepted
            for kind in _UNSEEN.get(e.verdict.reason, ())
        }
        self._possible: dict[Said, list[Event]] = {}
        self._meanings: dict[str, set[str]] = {}
        self._before: dict[tuple[Said, Said], bool | None] = {}

    def _named(self) -> tuple[str, ...]:
        """Subjects whose words mean one thing of the clip and no other. A name of vague words and shades alone ("the
        small grey object") means none: a clip has more such things than anybody followed."""
        ids: dict[str, set[str]] = defaultdict(set)
        for event in self.events:
            ids[event.subject].add(event.subject_id)
        nothing = self.vague | self.shades
        alone = {e.subject for e in self.accepted if len(ids[e.subject]) == 1 and set(e.subject.split()) - nothing}
        return tuple(sorted(s for s in alone if not any(fits(s, o) for o in self.subjects if o != s)))

    def could_be(self, subject: str, other: str) -> bool:
        """Whether two subjects could be one thing, named less exactly or in a neighbouring colour."""
        return may_be(subject, other, self.near, self.vague)

    def borne_out(self, said: Said) -> list[Event]:
        """Accepted events of exactly these words."""
        return [e for e in self.accepted if (e.subject, e.kind) == said]

    def possible(self, said: Said) -> list[Event]:
        """Events, refused ones too, that the words could mean. A name that is its own thing's means no other thing."""
        if said not in self._possible:
            subject, kind = said
            meant = self._meant(subject)
            self._possible[said] = [e for e in self.events if e.kind is kind and e.subject in meant]
        return self._possible[said]

    def _meant(self, subject: str) -> set[str]:
        """The subjects of events that the words could mean."""
        if subject not in self._meanings:
            others = (s for s in self.subjects if self.could_be(subject, s) and not self._apart(subject, s))
            self._meanings[subject] = {s for s in self.subjects if s == subject} | set(others)
        return self._meanings[subject]

    def unseen(self, said: Said) -> bool:
        """Whether the thing of that very name may do so where nobody saw it."""
        return said in self._unseen

    def _open(self, said: Said) -> bool:
        """Whether anything that the words could mean may do so unseen."""
        return any((subject, said[1]) in self._unseen for subject in self._meant(said[0]))

    def _apart(self, one: str, other: str) -> bool:
        return one in self.named and other in self.named

    def happens(self, said: Said) -> bool | None:
        if self.borne_out(said):
            return True
        return None if self.possible(said) or self._open(said) else False

    def before(self, first: Said, second: Said) -> bool | None:
        """Does some `first` start before some `second`? None where starts are too near each other to say."""
        if (first, second) not in self._before:
            self._before[first, second] = self._starts_before(first, second)
        return self._before[first, second]

    def _starts_before(self, first: Said, second: Said) -> bool | None:
        gaps_s = [b.span.start_s - a.span.start_s for a in self.borne_out(first) for b in self.borne_out(second)]
        if any(gap_s >= self.order_s for gap_s in gaps_s):
            return True
        if self._open(first) or self._open(second):
            return None
        open_s = [t - s for s in self._starts(first) for t in self._starts(second)]
        return False if all(gap_s <= -self.order_s for gap_s in open_s) else None

    def _starts(self, said: Said) -> list[float]:
        return [span.start_s for event in self.possible(said) for span in claims(event)]

    def settled(self, kinds: Collection[EventKind]) -> bool:
        """Whether every event of these kinds is accepted, its subject is named like no other, and none went unseen."""
        seen = not any(kind in kinds for _, kind in self._unseen)
        return seen and all(e.verdict.accepted and e.subject in self.named for e in self.events if e.kind in kinds)

    def crossings(self) -> tuple[Said, ...]:
        """Everything that enters or leaves, in order of time."""
        return tuple((e.subject, e.kind) for e in self.accepted if e.kind in CROSSINGS)

    def chains(self, most: int) -> dict[str, Chain]:
        """What accounts can tell of: everything, what those things do that do the same, and one kind of event alone.

        The last two are told evenly: with names taken away, no order of theirs is likelier than another."""
        own = [e for e in self.accepted if e.subject in self.named and not self.implied(e)]
        doing: dict[str, tuple[EventKind, ...]] = {s: tuple(e.kind for e in own if e.subject == s) for s in self.named}
        usual = max(doing.values(), key=list(doing.values()).count, default=())
        found = {EVERYTHING: own, "alike": [e for e in own if doing[e.subject] == usual]}
        for kind in RULE_KINDS:
            found[kind] = [e for e in self.accepted if e.kind is kind and self._once(e)]
        return {name: self._chained(events)[:most] for name, events in found.items()}

    def implied(self, event: Event) -> bool:
        """A move that begins as its thing enters goes without saying."""
        return event.kind is EventKind.MOVES and any(
            e.kind is EventKind.ENTERS
            and e.subject_id == event.subject_id
            and abs(e.span.start_s - event.span.start_s) < self.order_s
            for e in self.accepted
        )

    def _once(self, event: Event) -> bool:
        said = event.subject, event.kind
        return event.subject in self.named and not self.unseen(said) and len(self.possible(said)) == 1

    def _chained(self, events: Sequence[Event]) -> Chain:
        kept: list[Event] = []
        for event in events:
            if not kept or event.span.start_s - kept[-1].span.start_s >= self.order_s:
                kept.append(event)
        return tuple(kept)

    def told(self, said: Sequence[Said], rejected: bool) -> tuple[Claim, ...]:
        """The claims of an account: each thing happens, and each before the next."""
        single = tuple(self.claim(clause_told(s), self.happens(s), (s,), rejected) for s in said)
        order = (
            self.claim(f"{clause_told(a)} before {clause_told(b)}", self.before(a, b), (a, b), rejected)
            for a, b in pairwise(said)
        )
        return (*single, *order)

    def listed(self, said: Sequence[Said], rejected: bool) -> tuple[Claim, ...]:
        """The claims of a complete list of what enters and leaves: each happens, and nothing else does."""
        single = tuple(self.claim(clause_told(s), self.happens(s), (s,), rejected) for s in said)
        whole = set(self.crossings()) <= set(said) if self.settled(CROSSINGS) else None
        return (*single, self.claim(NOTHING_ELSE, whole, self.crossings(), rejected))

    def answered(self, asked: Sequence[Said], said: Sequence[Said], rejected: bool) -> tuple[Claim, ...]:
        """The claims of an answer to "which of these happen": each that is named does, and no other of them."""
        single = tuple(self.claim(clause_told(s), self.happens(s), (s,), rejected) for s in said)
        rest = [self.happens(s) for s in asked if s not in said]
        none = False if True in rest else None if None in rest else True
        return (
            *single,
            self.claim(f"of [{', '.join(map(clause_told, asked))}] nothing else happens", none, asked, rejected),
        )

    def claim(self, text: str, verdict: bool | None, about: Sequence[Said], rejected: bool) -> Claim:
        """An open statement counts as false on the chosen side and as true on the rejected one: it helps neither."""
        holds = verdict if verdict is not None else rejected
        keys = [e.key for said in about for e in self.possible(said)] or [e.key for e in self.events]
        return Claim(text, rejected, holds, tuple(dict.fromkeys(keys)))


def clause_told(said: Said) -> str:
    """What a claim says of one happening: thing and kind, or the clause that somebody told it in."""
    return said[0] if said[1] is EventKind.STATED else f"{said[0]} {said[1]}"


def alike(one: Sequence[Said], other: Sequence[Said]) -> bool:
    """Whether two lists say the same of differently named things, in the same order."""
    return _nameless(one) == _nameless(other)


def _nameless(said: Sequence[Said]) -> list[tuple[int, EventKind]]:
    number: dict[str, int] = {}
    return [(number.setdefault(subject, len(number)), kind) for subject, kind in said]
