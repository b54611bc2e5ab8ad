"""From a clip's events to dialogues about time: when, what then, everything in order, and what does not happen.

After InternVid-TG (DisTime, Zeng et al. 2025, section 4): events, several localisers, one accepted interval, templates.
Unlike there, a question may have several intervals or none, and what the evidence leaves open is refused with a reason:

    unsettled          a happening that the answer would have to name was proposed but not accepted
    ambiguous_subject  the words for the subject fit another thing too, and that one does the same
    ambiguous_span     another event fills nearly the same interval
    span_outside_clip  the evidence puts an event beyond the end of the clip

Two things that share a subject ("the red circle" twice, or one thing whose tube broke) are spoken of as "a red circle",
and the answer is all of their times together: right in both cases.

    events  the red circle enters [0.4, 0.9), the red circle moves [0.4, 2.0)
    sample  Q "When does the red circle move?"  A "It happens at <time>."  tgt_s (0.4, 2.0)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from reelmill.annotators.agree import ABSENT_PHRASES, LISTED_EVENTS
from reelmill.annotators.events import EVENTS
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.happenings import (
    FAMILY,
    GROUNDING,
    ClipView,
    clause_of,
    may_be,
    recoloured,
)
from reelmill.pipelines.views.phrasing import Label, Material, sample
from reelmill.pipelines.views.timeline import Timeline, TimelineRules, dialogue
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.event import RULE_KINDS, AbsentPhrase, Event, EventKind
from reelmill.schemas.keys import seed_for
from reelmill.schemas.sample import Sample

ABSENT = "absent"

STILL = Column.of("still", bool)

_DENIABLE = (EventKind.ENTERS, EventKind.LEAVES, EventKind.STOPS)
"""Kinds whose absence may be asked of a thing that has other events; every one of those implies that it moves."""


@dataclass(frozen=True, kw_only=True)
class CompileGrounding(Worded):
    """Samples of one clip from its accepted events. A row without any is refused; so is a clip in which nothing moves.

    `ambiguous_tiou`: a span is not asked about where another event (or a proposal for a refused one) overlaps it this
    much. `dense_min_share`: the least share of a clip's events that must be accepted before "everything" is claimed.
    `absent_max`: questions per clip about what does not happen.
    """

    ambiguous_tiou: float = 0.5
    dense_min_share: float = 1.0
    absent_max: int = 2
    timeline: TimelineRules = field(default_factory=TimelineRules)
    phrasings: str = FAMILY
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, STILL, EVENTS, BASE, PROVENANCE)
    looked_at: ClassVar[str] = "events of the clip"
    revision: ClassVar[str] = "4"
    read: ClassVar[Column] = EVENTS

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["still"]:
            raise Unusable("still", "nothing moves in the clip, so it has no events in time")
        events = arrow.typed(tuple[Event, ...], row[self.read.name])
        if not any(e.verdict.accepted for e in events):
            raise Unusable("no_accepted_event", _tally(events))
        view = _View(self, self.material(row), events)
        order = Timeline(view, self.timeline, self.dense_min_share)
        single = [*view.samples(), *order.samples(), *view.denied(self._denied(row))]
        return {"samples": tuple(sorted((*single, *dialogue(view, self.timeline, single)), key=lambda s: s.key))}

    def _denied(self, row: dict[str, Any]) -> tuple[AbsentPhrase, ...]:
        """Clauses that localisers were asked about and may be denied; none where motion alone is the evidence."""
        denied: tuple[AbsentPhrase, ...] = arrow.typed(tuple[AbsentPhrase, ...], row.get(ABSENT_PHRASES.name) or [])
        return denied


@dataclass(frozen=True, kw_only=True)
class CompileListed(CompileGrounding):
    """The same forms from events in a model's words. What does not happen is what localisers did not find here of what
    happens elsewhere."""

    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, STILL, LISTED_EVENTS, ABSENT_PHRASES, BASE, PROVENANCE)
    read: ClassVar[Column] = LISTED_EVENTS
    revision: ClassVar[str] = "2"


def _tally(events: Sequence[Event]) -> str:
    reasons = Counter(e.verdict.reason for e in events)
    why = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
    return f"{len(events)} proposed, {len(events)} rejected{': ' if why else ''}{why}"


class _View(ClipView):
    """When does it happen, what happens then, everything in order, what does not happen."""

    def __init__(self, step: CompileGrounding, clip: Material, events: Sequence[Event]) -> None:
        super().__init__(step, clip, events, step.ambiguous_tiou)
        self.rules = step

    def samples(self) -> Iterator[Sample]:
        yield from self.times()
        yield self.dense_caption(self.events, self.rules.dense_min_share)
        yield from self.absent()

    def absent(self) -> Iterator[Sample]:
        """Questions about what no event speaks of, not even a refused one: another kind first, then another colour."""
        pools = (self._other_kinds(), self._other_colours())
        ranked = [sorted(pool, key=lambda c: self._chance(*c)) for pool in pools]
        turn_about = [c for i in range(self.rules.absent_max) for pool in ranked for c in pool[i : i + 1]]
        for subject, kind in turn_about[: self.rules.absent_max]:
            key = self.key(ABSENT, subject, kind)
            words = self.words(subject, kind)
            turns = (self.ask(GROUNDING, key, words), self.tell("absent.answer", key, words, ()))
            yield self.sample(key, ABSENT, turns, self.accepted, None)

    def denied(self, phrases: Iterable[AbsentPhrase]) -> Iterator[Sample]:
        """The same question about clauses that localisers looked for in vain, or a refusal with what they say."""
        for phrase in phrases:
            clause = clause_of(phrase.phrase)
            key = self.key(ABSENT, clause, EventKind.STATED, phrase.from_key)
            words = self.words(clause, EventKind.STATED)
            turns = (self.ask(GROUNDING, key, words), self.tell("absent.answer", key, words, ()))
            label = Label((phrase.key,), phrase.confidence, phrase.method, phrase.verdict)
            yield sample(self.clip, key, FAMILY, ABSENT, self.clip.frames, turns, label)

    def _chance(self, subject: str, kind: EventKind) -> int:
        return seed_for(self.step.seed, self.key(ABSENT, subject, kind), "absent")

    def _other_kinds(self) -> list[tuple[str, EventKind]]:
        near: dict[str, list[str]] = self.wording.table("near")
        vague = set(self.wording.options("vague.words"))
        subjects = sorted({e.subject for e in self.accepted if e.kind in RULE_KINDS})
        doers = {k: [*self.doubted, *(h.subject for h in self.happenings if h.kind is k)] for k in _DENIABLE}
        return [(s, k) for s in subjects for k in _DENIABLE if not any(may_be(s, d, near, vague) for d in doers[k])]

    def _other_colours(self) -> list[tuple[str, EventKind]]:
        near: dict[str, list[str]] = self.wording.table("near")
        present = {word for e in self.events for word in e.subject.split() if word in near}
        colours = self.wording.options("absent.colours")
        safe = [c for c in colours if c not in present and not present & set(near[c])]
        swaps = [(h.subject, h.kind) for h in self.happenings if h.accepted and h.kind in RULE_KINDS]
        asked = (
            (s, k) for subject, k in swaps for colour in safe if (s := recoloured(subject, near, colour)) != subject
        )
        return list(dict.fromkeys(asked))  # two things that differ in colour alone give the same question
