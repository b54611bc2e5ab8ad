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

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from reelmill.annotators.annotator import step_name
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.phrasing import (
    TIME,
    Label,
    Material,
    Phrasings,
    capital,
    defused,
    joined_methods,
    listed,
    sample,
    sample_key,
)
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.keys import micros, seed_for
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

FAMILY = "internvid_tg"
GROUNDING, SPAN_CAPTION, DENSE_CAPTION, ABSENT = "grounding", "span_caption", "dense_caption", "absent"

STILL = Column.of("still", bool)
EVENTS = Column.of("events", tuple[Event, ...])

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
    phrasings: str = FAMILY
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, STILL, EVENTS, BASE, PROVENANCE)
    looked_at: ClassVar[str] = "events of the clip"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["still"]:
            raise Unusable("still", "nothing moves in the clip, so it has no events in time")
        events = arrow.typed(tuple[Event, ...], row["events"])
        if not any(e.verdict.accepted for e in events):
            raise Unusable("no_accepted_event", _tally(events))
        view = _View(self, self.wording, self.material(row), events)
        return {"samples": tuple(sorted(view.samples(), key=lambda s: s.key))}


def _tally(events: Sequence[Event]) -> str:
    reasons = Counter(e.verdict.reason for e in events)
    why = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
    return f"{len(events)} proposed, {len(events)} rejected{': ' if why else ''}{why}"


@dataclass(frozen=True, slots=True)
class _Happening:
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


def _happenings(events: Iterable[Event]) -> tuple[_Happening, ...]:
    groups: dict[tuple[str, EventKind], list[Event]] = defaultdict(list)
    for event in sorted(events, key=in_time):
        groups[event.subject, event.kind].append(event)
    return tuple(_Happening(*name, tuple(group)) for name, group in sorted(groups.items()))


def united(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The times that any of `spans` covers, as separate spans in order: overlapping and touching ones become one."""
    out: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start_s, s.end_s)):
        if out and span.start_s <= out[-1].end_s:
            out[-1] = Span(out[-1].start_s, max(out[-1].end_s, span.end_s))
        else:
            out.append(span)
    return tuple(out)


class _View:
    """The samples of one clip. Wordings are drawn per sample, so that no sample depends on another."""

    def __init__(self, step: CompileGrounding, wording: Phrasings, clip: Material, events: Sequence[Event]) -> None:
        self.step, self.wording, self.clip = step, wording, clip
        self.events = tuple(sorted((clipped(e, clip.duration_s) for e in events), key=in_time))
        self.accepted = tuple(e for e in self.events if e.verdict.accepted)
        self.happenings = _happenings(self.events)
        ids: dict[str, set[str]] = defaultdict(set)
        for event in self.events:
            ids[event.subject].add(event.subject_id)
        self.shared = {subject for subject, found in ids.items() if len(found) > 1}

    def samples(self) -> Iterator[Sample]:
        for happening in self.happenings:
            if happening.accepted:
                yield self.grounding(happening)
                yield from self.span_captions(happening)
        yield self.dense_caption()
        yield from self.absent()

    def grounding(self, happening: _Happening) -> Sample:
        """When does it happen? All of its times, or a refusal where some of them are not settled."""
        key = self.key(GROUNDING, happening.subject, happening.kind)
        spans = united(e.span for e in happening.accepted)
        words = self.words(happening.subject, happening.kind) | {"times": listed([TIME] * len(spans))}
        turns = (self.ask(GROUNDING, key, words), self.tell("grounding.answer", key, words, spans))
        return self.sample(
            key, GROUNDING, turns, happening.accepted, self._settled(happening) or self._named(happening)
        )

    def _settled(self, happening: _Happening) -> Verdict | None:
        if not happening.refused:
            return None
        why = ", ".join(sorted({e.verdict.reason for e in happening.refused}))
        count = f"{len(happening.refused)} of {len(happening.events)} times"
        return rejected(step_name(self.step), "unsettled", f"{count} of {happening.subject!r} {happening.kind}: {why}")

    def _named(self, happening: _Happening) -> Verdict | None:
        """`the object` fits the red circle too: where both move, it has no answer when "the object" moves."""
        rivals = [h.subject for h in self.happenings if h.kind is happening.kind and h.subject != happening.subject]
        fitting = [rival for rival in rivals if fits(happening.subject, rival)]
        if not fitting:
            return None
        return rejected(step_name(self.step), "ambiguous_subject", f"{happening.subject!r} also fits {fitting[0]!r}")

    def span_captions(self, happening: _Happening) -> Iterator[Sample]:
        """What fills this interval? One sample per interval of the happening."""
        for span in sorted({e.span for e in happening.accepted}, key=lambda s: (s.start_s, s.end_s)):
            named = tuple(e for e in happening.accepted if e.span == span)
            place = micros(span.start_s), micros(span.end_s)
            key = self.key(SPAN_CAPTION, happening.subject, happening.kind, *place)
            words = self.words(happening.subject, happening.kind)
            turns = (self.ask(SPAN_CAPTION, key, words, (span,)), self.tell("span_caption.answer", key, words, ()))
            yield self.sample(key, SPAN_CAPTION, turns, named, self._alone(happening, span))

    def _alone(self, happening: _Happening, span: Span) -> Verdict | None:
        for other in self.happenings:
            if (other.subject, other.kind) == (happening.subject, happening.kind):
                continue
            for rival in other.events:
                tiou = max(span.tiou(s) for s in claimed(rival))
                if tiou >= self.step.ambiguous_tiou:
                    seen = f"{other.subject!r} {other.kind} overlaps it with tIoU {tiou:.2f}"
                    return rejected(step_name(self.step), "ambiguous_span", seen)
        return None

    def dense_caption(self) -> Sample:
        """Everything in order. Refused where too much of it is not settled to be called everything."""
        key = self.key(DENSE_CAPTION)
        form = seed_for(self.step.seed, key, "dense_caption.line")
        named = list(dict.fromkeys((e.span, e.subject, e.kind) for e in self.accepted))
        lines = [self.wording.pick("dense_caption.line", form, **self.words(who, kind)) for _, who, kind in named]
        answer = Turn(Role.ASSISTANT, "\n".join(lines), (), flat(span for span, _, _ in named), ())
        share = len(self.accepted) / len(self.events)
        verdict = None
        if share < self.step.dense_min_share:
            seen = f"{len(self.accepted)} of {len(self.events)} events accepted, want {self.step.dense_min_share:.0%}"
            verdict = rejected(step_name(self.step), "unsettled", seen)
        return self.sample(key, DENSE_CAPTION, (self.ask(DENSE_CAPTION, key, {}), answer), self.accepted, verdict)

    def absent(self) -> Iterator[Sample]:
        """Questions about what no event speaks of, not even a refused one: another kind first, then another colour."""
        pools = (self._other_kinds(), self._other_colours())
        ranked = [sorted(pool, key=lambda c: self._chance(*c)) for pool in pools]
        turn_about = [c for i in range(self.step.absent_max) for pool in ranked for c in pool[i : i + 1]]
        for subject, kind in turn_about[: self.step.absent_max]:
            key = self.key(ABSENT, subject, kind)
            words = self.words(subject, kind)
            turns = (self.ask(GROUNDING, key, words), self.tell("absent.answer", key, words, ()))
            yield self.sample(key, ABSENT, turns, self.accepted, None)

    def _chance(self, subject: str, kind: EventKind) -> int:
        return seed_for(self.step.seed, self.key(ABSENT, subject, kind), "absent")

    def _other_kinds(self) -> list[tuple[str, EventKind]]:
        near: dict[str, list[str]] = self.wording.table("near")
        vague = set(self.wording.options("vague.words"))
        subjects = sorted({e.subject for e in self.accepted})
        doers = {k: [h.subject for h in self.happenings if h.kind is k] for k in _DENIABLE}
        return [(s, k) for s in subjects for k in _DENIABLE if not any(may_be(s, d, near, vague) for d in doers[k])]

    def _other_colours(self) -> list[tuple[str, EventKind]]:
        near: dict[str, list[str]] = self.wording.table("near")
        present = {word for e in self.events for word in e.subject.split() if word in near}
        colours = self.wording.options("absent.colours")
        safe = [c for c in colours if c not in present and not present & set(near[c])]
        swaps = [(h.subject, h.kind) for h in self.happenings if h.accepted]
        swapped = (
            (s, k) for subject, k in swaps for colour in safe if (s := recoloured(subject, near, colour)) != subject
        )
        return list(dict.fromkeys(swapped))  # two things that differ in colour alone give the same question

    def key(self, task: str, *identity: str | int) -> str:
        return sample_key(self.clip.key, FAMILY, task, *identity)

    def words(self, subject: str, kind: EventKind) -> dict[str, str]:
        """Everything that a wording may say about one happening."""
        verb: dict[str, str] = self.wording.table(f"kinds.{kind}")
        who = defused(_indefinite(subject) if subject in self.shared else subject)
        clause = f"{who} {verb['third']}"
        return {"subject": who, "clause": clause, "Clause": capital(clause)} | verb

    def ask(self, task: str, key: str, words: dict[str, str], spans: Sequence[Span] = ()) -> Turn:
        seed = seed_for(self.step.seed, key, "question")
        text = self.wording.pick(f"{task}.question", seed, **words)
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


def clipped(event: Event, duration_s: float) -> Event:
    """An end beyond the clip's by a rounding error (a microsecond) is the clip's end."""
    if event.span.end_s > duration_s > event.span.start_s and event.span.within(duration_s):
        return replace(event, span=Span(event.span.start_s, duration_s))
    return event


def claimed(event: Event) -> tuple[Span, ...]:
    """Where an event may be: its span, and for a refused one what any localiser proposed."""
    if event.verdict.accepted:
        return (event.span,)
    return (event.span, *(p.span for p in event.proposals if p.span is not None))


def flat(spans: Iterable[Span]) -> tuple[float, ...]:
    return tuple(t for span in spans for t in (span.start_s, span.end_s))


def _indefinite(subject: str) -> str:
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
