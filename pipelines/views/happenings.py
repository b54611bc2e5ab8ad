"""What a clip's events are to a view: happenings with all their times, how they are worded, and what is open of them.

A happening is one kind of thing that one subject does ("the red circle moves"), or one clause in somebody's words; its
events are its times, accepted or not. The temporal forms (`grounding`, `timeline`) are written over this.

>>> united([Span(0.0, 2.0), Span(1.0, 3.0), Span(4.0, 5.0)])
(Span(start_s=0.0, end_s=3.0), Span(start_s=4.0, end_s=5.0))
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from reelmill.annotators.annotator import step_name
from reelmill.annotators.events import DOUBTED
from reelmill.pipelines.views.phrasing import (
    TIME,
    Label,
    Material,
    capital,
    defused,
    joined_methods,
    listed,
    sample,
    sample_key,
)
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.keys import micros, seed_for
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

FAMILY = "internvid_tg"
GROUNDING, SPAN_CAPTION, DENSE_CAPTION = "grounding", "span_caption", "dense_caption"

_SMALL = frozenset({"a", "an", "the", "one", "two", "three", "some", "someone", "somebody", "something", "several"})


@dataclass(frozen=True, slots=True)
class Happening:
    """One kind of thing that one subject does: every event of it, accepted or not, in order of time."""

    subject: str
    kind: EventKind
    events: tuple[Event, ...]

    @property
    def accepted(self) -> tuple[Event, ...]:
        return tuple(e for e in self.events if e.verdict.accepted)

    @property
    def refused(self) -> tuple[Event, ...]:
        return tuple(e for e in self.events if not e.verdict.accepted)


def in_time(event: Event) -> tuple[float, float, str, str, str]:
    return event.span.start_s, event.span.end_s, event.subject, event.kind, event.subject_id


def happenings(events: Iterable[Event]) -> tuple[Happening, ...]:
    groups: dict[tuple[str, EventKind], list[Event]] = defaultdict(list)
    for event in sorted(events, key=in_time):
        groups[event.subject, event.kind].append(event)
    return tuple(Happening(*name, tuple(group)) for name, group in sorted(groups.items()))


def united(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The times that any of `spans` covers, as separate spans in order: overlapping and touching ones become one."""
    out: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start_s, s.end_s)):
        if out and span.start_s <= out[-1].end_s:
            out[-1] = Span(out[-1].start_s, max(out[-1].end_s, span.end_s))
        else:
            out.append(span)
    return tuple(out)


class ClipView:
    """One clip, and the forms that every view of times has: when, what then, everything in order.

    Wordings are drawn per sample, so that no sample depends on another. A span is not asked about where another event
    (or a proposal for a refused one) overlaps it by `ambiguous_tiou`.
    """

    def __init__(self, step: Worded, clip: Material, events: Sequence[Event], ambiguous_tiou: float = 0.5) -> None:
        self.step, self.wording, self.clip, self.ambiguous_tiou = step, step.wording, clip, ambiguous_tiou
        self.events = tuple(sorted((clipped(self.known(e), clip.duration_s) for e in events), key=in_time))
        self.accepted = tuple(e for e in self.events if e.verdict.accepted)
        self.happenings = happenings(self.events)
        ids: dict[str, set[str]] = defaultdict(set)
        for event in self.events:
            ids[event.subject].add(event.subject_id)
        self.shared = {subject for subject, found in ids.items() if len(found) > 1}
        self.doubted = {e.subject for e in self.events if e.verdict.reason == DOUBTED}
        self._words: dict[tuple[str, EventKind], dict[str, str]] = {}

    def known(self, event: Event) -> Event:
        """An event as its forms speak of it."""
        return by_clause(event)

    def times(self) -> Iterator[Sample]:
        """When does it happen, and what happens then, of everything that was accepted."""
        for happening in self.happenings:
            if happening.accepted:
                yield self.grounding(happening)
                yield from self.span_captions(happening)

    def grounding(self, happening: Happening) -> Sample:
        """When does it happen? All of its times, or a refusal where some of them are not settled."""
        key = self.key(GROUNDING, happening.subject, happening.kind)
        spans = united(e.span for e in happening.accepted)
        words = self.words_of(happening.accepted[0]) | {"times": listed([TIME] * len(spans))}
        turns = (self.ask(GROUNDING, key, words), self.tell("grounding.answer", key, words, spans))
        return self.sample(
            key, GROUNDING, turns, happening.accepted, self.settled(happening) or self.named_alone(happening)
        )

    def span_captions(self, happening: Happening) -> Iterator[Sample]:
        """What fills this interval? One sample per interval of the happening."""
        for span in sorted({e.span for e in happening.accepted}, key=lambda s: (s.start_s, s.end_s)):
            named = tuple(e for e in happening.accepted if e.span == span)
            place = micros(span.start_s), micros(span.end_s)
            key = self.key(SPAN_CAPTION, happening.subject, happening.kind, *place)
            words = self.words_of(named[0])
            turns = (self.ask(SPAN_CAPTION, key, words, (span,)), self.tell("span_caption.answer", key, words, ()))
            yield self.sample(key, SPAN_CAPTION, turns, named, self._alone(happening, span))

    def _alone(self, happening: Happening, span: Span) -> Verdict | None:
        for other in self.happenings:
            if (other.subject, other.kind) == (happening.subject, happening.kind):
                continue
            for rival in other.events:
                tiou = max(span.tiou(s) for s in claims(rival))
                if tiou >= self.ambiguous_tiou:
                    seen = f"{other.subject!r} {other.kind} overlaps it with tIoU {tiou:.2f}"
                    return rejected(step_name(self.step), "ambiguous_span", seen)
        return None

    def dense_caption(self, events: Sequence[Event], least_share: float, *account: str) -> Sample:
        """Everything in order, of one account. Refused where too much of it is not settled to be called everything."""
        key = self.key(DENSE_CAPTION, *account)
        form = seed_for(self.step.seed, key, "dense_caption.line")
        accepted = [e for e in events if e.verdict.accepted]
        named = {(e.span, e.subject, e.kind): e for e in reversed(accepted)}
        told = sorted(named.values(), key=in_time)
        lines = [self.wording.pick("dense_caption.line", form, **self.words_of(e)) for e in told]
        answer = Turn(Role.ASSISTANT, "\n".join(lines), (), flat(e.span for e in told), ())
        verdict = None
        if len(accepted) / len(events) < least_share:
            seen = f"{len(accepted)} of {len(events)} events accepted, want {least_share:.0%}"
            verdict = rejected(step_name(self.step), "unsettled", seen)
        return self.sample(key, DENSE_CAPTION, (self.ask(DENSE_CAPTION, key, {}), answer), accepted, verdict)

    def settled(self, happening: Happening) -> Verdict | None:
        if not happening.refused:
            return None
        why = ", ".join(sorted({e.verdict.reason for e in happening.refused}))
        count = f"{len(happening.refused)} of {len(happening.events)} times"
        return rejected(step_name(self.step), "unsettled", f"{count} of {happening.subject!r} {happening.kind}: {why}")

    def named_alone(self, happening: Happening) -> Verdict | None:
        """`the object` fits the red circle too: where both move, it has no answer when "the object" moves. What was
        followed in doubt may do anything."""
        rivals = [h.subject for h in self.happenings if h.kind is happening.kind and h.subject != happening.subject]
        fitting = [rival for rival in rivals if fits(happening.subject, rival)] + self.doubts_of(happening.subject)
        if not fitting:
            return None
        return rejected(step_name(self.step), "ambiguous_subject", f"{happening.subject!r} also fits {fitting[0]!r}")

    def doubts_of(self, subject: str) -> list[str]:
        """Doubted things that the words for a subject could be meant for."""
        if not self.doubted:
            return []  # and a file of phrasings for clauses alone need not say what colours are near
        near, vague = self.wording.table("near"), set(self.wording.options("vague.words"))
        return sorted(d for d in self.doubted if may_be(subject, d, near, vague))

    def key(self, task: str, *identity: str | int) -> str:
        return sample_key(self.clip.key, FAMILY, task, *identity)

    def words_of(self, event: Event) -> dict[str, str]:
        return self.words(event.subject, event.kind)

    def words(self, subject: str, kind: EventKind) -> dict[str, str]:
        """Everything that a wording may say about one happening. Of a clause in somebody's words, that clause alone."""
        if (subject, kind) not in self._words:
            self._words[subject, kind] = self._worded(subject, kind)
        return self._words[subject, kind]

    def _worded(self, subject: str, kind: EventKind) -> dict[str, str]:
        if kind is EventKind.STATED:
            return {"clause": defused(subject), "Clause": capital(defused(subject))}
        verb: dict[str, str] = self.wording.table(f"kinds.{kind}")
        who = defused(indefinite(subject) if subject in self.shared else subject)
        clause = f"{who} {verb['third']}"
        return {"subject": who, "clause": clause, "Clause": capital(clause)} | verb

    def ask(self, task: str, key: str, words: dict[str, str], spans: Sequence[Span] = ()) -> Turn:
        seed = seed_for(self.step.seed, key, "question")
        path = "stated.question" if task == GROUNDING and "base" not in words else f"{task}.question"
        text = self.wording.pick(path, seed, **words)
        return Turn(Role.USER, text, flat(spans), (), ())

    def tell(self, path: str, key: str, words: dict[str, str], spans: Sequence[Span]) -> Turn:
        text = self.wording.pick(path, seed_for(self.step.seed, key, "answer"), **words)
        return Turn(Role.ASSISTANT, text, (), flat(spans), ())

    def sample(
        self, key: str, task: str, turns: tuple[Turn, ...], named: Sequence[Event], verdict: Verdict | None
    ) -> Sample:
        label = Label(
            evidence=tuple(e.key for e in named),
            confidence=min(e.confidence for e in named),
            method=joined_methods(e.method for e in named),
            verdict=self._inside(named) or verdict or ACCEPTED,
        )
        return sample(self.clip, key, FAMILY, task, self.clip.frames, turns, label)

    def _inside(self, named: Sequence[Event]) -> Verdict | None:
        """Defect D3 of the recipes' register: no time of a sample lies beyond the decoded end of its clip."""
        outside = [e.span for e in named if e.span.end_s > self.clip.duration_s]
        if not outside:
            return None
        seen = f"[{outside[0].start_s}, {outside[0].end_s}) in a clip of {self.clip.duration_s} s"
        return rejected(step_name(self.step), "span_outside_clip", seen)


def clause_of(phrase: str) -> str:
    """A clause as it stands inside a sentence: without its full stop, and small where it begins with an article.

    >>> clause_of("A dog jumps."), clause_of("Anna waves")
    ('a dog jumps', 'Anna waves')
    """
    bare = phrase.strip().rstrip(".!;,").strip()
    first, _, rest = bare.partition(" ")
    return f"{first.lower()} {rest}" if first.lower() in _SMALL and rest else bare


def by_clause(event: Event) -> Event:
    """An event in somebody's words is known by its clause, which takes the place of a subject."""
    return replace(event, subject=clause_of(event.phrase)) if event.kind is EventKind.STATED else event


def clipped(event: Event, duration_s: float) -> Event:
    """An end beyond the clip's by a rounding error (a microsecond) is the clip's end."""
    if event.span.end_s > duration_s > event.span.start_s and event.span.within(duration_s):
        return replace(event, span=Span(event.span.start_s, duration_s))
    return event


def claims(event: Event) -> tuple[Span, ...]:
    """Where an event may be: its span, and for a refused one what any localiser proposed."""
    if event.verdict.accepted:
        return (event.span,)
    return (event.span, *(p.span for p in event.proposals if p.span is not None))


def flat(spans: Iterable[Span]) -> tuple[float, ...]:
    return tuple(t for span in spans for t in (span.start_s, span.end_s))


def indefinite(subject: str) -> str:
    """`the red circle` as `a red circle`; anything without a leading article stays."""
    noun = subject.removeprefix("the ")
    if noun == subject:
        return subject
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def fits(subject: str, other: str) -> bool:
    """Whether the words for `subject` describe `other` too: it says less, or nothing but "object"."""
    return set(subject.split()) - {"the", "object", "thing"} <= set(other.split())


def may_be(one: str, other: str, near: dict[str, list[str]], vague: set[str]) -> bool:
    """Whether two subjects could be one thing, named less exactly or in a neighbouring colour."""
    first, second = set(one.split()) - vague, set(other.split()) - vague
    hues = [(a, b) for a in first & near.keys() for b in second & near.keys()]
    alike = not hues or any(a == b or b in near[a] for a, b in hues)
    return alike and (first - near.keys() <= second or second - near.keys() <= first)


def recoloured(subject: str, colours: Iterable[str], to: str) -> str:
    """The subject with its colour word exchanged; unchanged where it has none."""
    known = set(colours)
    return " ".join(to if word in known else word for word in subject.split(" "))
