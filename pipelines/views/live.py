"""From a clip's events to dialogues while it plays: answers at state changes, silence in between, no future.

After LIVE (VideoLLM-online, Chen et al. 2024, section 3.2; its released generation and loading code). There a language
model fills a skeleton of times and its own times are taken as they come; here every answer stands at a state change of
an accepted event (or at the very time of a question that wants an answer at once) and says what has begun by then.

    alert       each time X begins                  narration   whatever begins or ends, as it happens
    now         what is going on, at once           so_far      what has begun until now, at once
    count       how often X began until now         correction  is X moving; withdrawn when that changes
    never       X, which does not happen: silence   dialogue    narration, with other questions in between

A stream has at most one standing question, which holds until the end; questions for an answer at once may be put at any
time and change nothing about it. Times of questions are those of stored frames, `guard_s` away from every change, so
that an answer does not hang on an edge's error. Refused are, as in `grounding`:

    unsettled          the answer, or its silence, would deny something that was proposed but not accepted
    ambiguous_subject  two things have one name, or the words fit another thing too, and that one does the same
    span_outside_clip  the evidence puts an event beyond the end of the clip

    events  the red circle moves [0.4, 2.0), the red circle stops [2.0, 4.0)
    stream  0.0 USER Tell me each time the red circle comes to rest.   2.0 ASSISTANT The red circle comes to rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from reelmill.annotators.annotator import step_name
from reelmill.annotators.events import EVENTS
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.changes import Change, Stretch, apart_s, changes, clear_of, doubtful_s, stretches
from reelmill.pipelines.views.grounding import STILL
from reelmill.pipelines.views.happenings import ClipView, Happening, claims, indefinite, may_be, recoloured
from reelmill.pipelines.views.phrasing import Label, Material, capital, defused, joined_methods, listed, sample
from reelmill.pipelines.views.phrasing import sample_key as key_of
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.keys import micros, seed_for
from reelmill.schemas.sample import Role, StreamSample, Turn, widened
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

FAMILY = "live_stream"
ALERT, NARRATION, NOW, SO_FAR = "alert", "narration", "now", "so_far"
COUNT, CORRECTION, NEVER, DIALOGUE = "count", "correction", "never", "dialogue"
SAMPLES = Column.of("samples", tuple[StreamSample, ...])

_DENIABLE = (EventKind.ENTERS, EventKind.LEAVES, EventKind.STOPS)
"""Kinds whose absence may be claimed of a thing that has other events; every one of those implies that it moves."""
_STATES = (EventKind.MOVES, EventKind.STOPS)
_SAID_BY = {
    EventKind.MOVES: ((EventKind.STOPS, True), (EventKind.LEAVES, False)),
    EventKind.STOPS: ((EventKind.MOVES, True),),
}
"""An end needs no words where the same thing comes to rest, moves again or is gone at that instant."""


@dataclass(frozen=True, kw_only=True)
class CompileLive(Worded):
    """Streams of one clip from its accepted events. A row without any is refused; so is a clip in which nothing moves.

    `guard_s`: questions keep this far from every change; 0.2 s is the largest error of an accepted event's end that was
    measured (decision 0008). `never_max`: streams per clip about what does not happen.
    """

    guard_s: float = 0.2
    never_max: int = 2
    phrasings: str = FAMILY
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, STILL, EVENTS, BASE, PROVENANCE)
    gives: ClassVar[tuple[Column, ...]] = (SAMPLES,)
    looked_at: ClassVar[str] = "state changes of events of the clip"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["still"]:
            raise Unusable("still", "nothing moves in the clip, so it has no events in time")
        events = arrow.typed(tuple[Event, ...], row["events"])
        if not any(e.verdict.accepted for e in events):
            raise Unusable("no_accepted_event", f"{len(events)} proposed, {len(events)} rejected")
        found = tuple(_Streams(self, self.material(row), events).samples())
        if not found:
            raise Unusable("no_time_to_ask", f"no stored frame is {self.guard_s} s away from every change")
        return {"samples": tuple(sorted(found, key=lambda s: s.key))}


@dataclass(frozen=True, slots=True)
class _Line:
    at_s: float
    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class _Part:
    """One question with its answers, the events that they rest on, and why they may not be given."""

    lines: tuple[_Line, ...]
    named: tuple[Event, ...]
    refusal: Verdict | None


class _Streams:
    """The streams of one clip. Times and wordings are drawn per stream, so that no stream depends on another."""

    def __init__(self, step: CompileLive, clip: Material, events: Sequence[Event]) -> None:
        self.step, self.wording, self.clip = step, step.wording, clip
        self.facts = ClipView(step, clip, events)
        self.accepted, self.refused = self.facts.accepted, tuple(e for e in events if not e.verdict.accepted)
        self.stretches = stretches(self.accepted)
        self.changes = changes(self.stretches, clip.duration_s)
        self.near: dict[str, list[str]] = self.wording.table("near")
        self.vague = set(self.wording.options("vague.words"))
        doubtful = doubtful_s(self.facts.events)
        times = [f.at_s for f in clip.frames if f.at_s < clip.duration_s]
        self.askable_s = [t for t in times if clear_of(t, doubtful, step.guard_s)]
        self.seen_s = [t for t in self.askable_s if t >= step.guard_s]  # a first frame alone shows nothing move

    def samples(self) -> Iterator[StreamSample]:
        for happening in self.facts.happenings:
            if happening.accepted:
                yield from self.alert(happening)
                yield from self.counts(happening)
        for subject in sorted({e.subject for e in self.accepted} - self.facts.shared):
            yield from self.correction(subject)
        yield from self.narration()
        yield from self.at_once(NOW, self.now)
        yield from self.at_once(SO_FAR, self.so_far)
        yield from self.never()
        yield from self.dialogue()

    # ---- the kinds of streams ----

    def alert(self, happening: Happening) -> Iterator[StreamSample]:
        """Tell me each time X begins: asked before, between or after its times; silence where none is left."""
        key = self.key(ALERT, happening.subject, happening.kind)
        starts = self.starts(happening)
        for at_s in self.drawn(key, "asked", self.askable_s, [c.at_s for c in starts]):
            words = self.words(happening.subject, happening.kind)
            lines = [self.question(ALERT, key, at_s, words)]
            for when in sorted({c.at_s for c in starts if c.at_s > at_s}):
                lines.append(self.answer("alert.answer", key, when, self.clause(happening, "starts")))
            refusal = self.unsettled(happening.subject, (happening.kind,)) or self.ambiguous(happening)
            yield self.sample(key, ALERT, [_Part(tuple(lines), happening.accepted, refusal)])

    def counts(self, happening: Happening) -> Iterator[StreamSample]:
        """How often so far? Asked in each part of the clip, so that the number runs on."""
        key = self.key(COUNT, happening.subject, happening.kind)
        times = self.in_parts(key, [c.at_s for c in self.starts(happening)])
        parts = [p for at_s in times for p in self.count(key, happening, at_s)]
        if parts:
            yield self.sample(key, COUNT, parts)

    def count(self, key: str, happening: Happening, at_s: float) -> Iterator[_Part]:
        number = sum(c.at_s <= at_s for c in self.starts(happening))
        names = self.wording.options("count.times")
        if number < len(names):
            words = self.words(happening.subject, happening.kind)
            said = {"times": names[number], "Times": capital(names[number])}
            lines = self.question(COUNT, key, at_s, words), self.answer("count.answer", key, at_s, said)
            yield _Part(lines, happening.accepted, self.undeniable() or self.ambiguous(happening))

    def correction(self, subject: str) -> Iterator[StreamSample]:
        """Is X moving? The answer is withdrawn as soon as X does something else."""
        key = self.key(CORRECTION, subject)
        own = [s for s in self.stretches if s.subject == subject and s.kind in _STATES]
        turns = changes(own, self.clip.duration_s)
        if any(a.span.overlap_s(b.span) > 0 for a in own for b in own if a.kind < b.kind):
            return  # evidence that has a thing both move and rest says neither
        times = [t for t in self.seen_s if any(s.at(t) for s in own) and any(c.at_s > t for c in turns)]
        for at_s in self.drawn(key, "asked", times, [c.at_s for c in turns]):
            lines = [self.question(CORRECTION, key, at_s, {"subject": self.name(subject)})]
            lines.append(self.answer("correction.answer", key, at_s, self.state(own, turns, at_s)))
            for when in sorted({c.at_s for c in turns if c.at_s > at_s}):
                lines.append(self.answer("correction.withdrawn", key, when, self.state(own, turns, when)))
            named = tuple(e for s in own for e in s.events)
            refusal = self.unsettled(subject, _STATES) or self.ambiguous_states(subject)
            yield self.sample(key, CORRECTION, [_Part(tuple(lines), named, refusal)])

    def narration(self) -> Iterator[StreamSample]:
        key = self.key(NARRATION)
        for at_s in self.drawn(key, "asked", self.askable_s, [c.at_s for c in self.changes]):
            yield self.sample(key, NARRATION, [self.narrated(key, at_s)])

    def narrated(self, key: str, at_s: float) -> _Part:
        lines = [self.question(NARRATION, key, at_s, {})]
        for when in sorted({c.at_s for c in self.changes if c.at_s > at_s}):
            lines.append(self.answer("narration.answer", key, when, _joined(self.told(when))))
        return _Part(tuple(lines), self.accepted, self.undeniable())

    def at_once(self, task: str, part: Any) -> Iterator[StreamSample]:
        """The same question in each part of the clip, answered when it is put."""
        key = self.key(task)
        parts = [part(key, at_s) for at_s in self.in_parts(key, [c.at_s for c in self.changes])]
        if parts:
            yield self.sample(key, task, parts)

    def now(self, key: str, at_s: float) -> _Part:
        said = [self.phrase(s, "now") for s in self.stretches if s.at(at_s)]
        guard_s = self.step.guard_s
        near = [e for e in self.refused for c in claims(e) if c.start_s - guard_s <= at_s < c.end_s + guard_s]
        return self.told_at_once(NOW, key, at_s, said, self.open(near))

    def so_far(self, key: str, at_s: float) -> _Part:
        begun = [s for s in self.stretches if s.span.start_s <= at_s]
        said = [self.phrase(s, "now" if s.at(at_s) else "past") for s in begun]
        earlier = [e for e in self.refused for c in claims(e) if c.start_s - self.step.guard_s <= at_s]
        return self.told_at_once(SO_FAR, key, at_s, said, self.open(earlier))

    def told_at_once(self, task: str, key: str, at_s: float, said: Sequence[str], refusal: Verdict | None) -> _Part:
        path = f"{task}.answer" if said else f"{task}.nothing"
        answer = self.answer(path, key, at_s, _joined(said) if said else {})
        return _Part((self.question(task, key, at_s, {}), answer), self.accepted, refusal)

    def never(self) -> Iterator[StreamSample]:
        """Questions about what does not happen, in the words of those about what does; silence is the whole answer."""
        if self.refused:
            return  # what was proposed and refused may have happened after all
        pools = (self._other_kinds(), self._other_colours())
        ranked = [sorted(pool, key=lambda c: seed_for(self.step.seed, self.key(NEVER, *c), NEVER)) for pool in pools]
        turn_about = [c for i in range(self.step.never_max) for pool in ranked for c in pool[i : i + 1]]
        for subject, kind in turn_about[: self.step.never_max]:
            key = self.key(NEVER, subject, kind)
            for at_s in self.drawn(key, "asked", self.askable_s, [c.at_s for c in self.changes]):
                line = self.question(ALERT, key, at_s, self.words(subject, kind))
                yield self.sample(key, NEVER, [_Part((line,), self.accepted, None)])

    def _other_kinds(self) -> list[tuple[str, EventKind]]:
        subjects = sorted({e.subject for e in self.accepted})
        doers = {k: [h.subject for h in self.facts.happenings if h.kind is k] for k in _DENIABLE}
        return [(s, k) for s in subjects for k in _DENIABLE if not any(self._alike(s, d) for d in doers[k])]

    def _other_colours(self) -> list[tuple[str, EventKind]]:
        present = {word for e in self.accepted for word in e.subject.split() if word in self.near}
        colours = self.wording.options("absent.colours")
        safe = [c for c in colours if c not in present and not present & set(self.near[c])]
        asked = [(recoloured(h.subject, self.near, c), h) for h in self.facts.happenings for c in safe]
        return list(dict.fromkeys((subject, h.kind) for subject, h in asked if subject != h.subject))

    def dialogue(self) -> Iterator[StreamSample]:
        """A running commentary, and questions in between that do not end it."""
        key = self.key(DIALOGUE)
        first = min(self.askable_s, default=None)
        later = [t for t in self.in_parts(key, [c.at_s for c in self.changes]) if first is not None and t > first]
        if first is None or not later:
            return
        asked = [p for i, at_s in enumerate(later) for p in self._in_between(key, i, at_s)]
        yield self.sample(key, DIALOGUE, [self.narrated(key, first), *asked])

    def _in_between(self, key: str, turn: int, at_s: float) -> Iterator[_Part]:
        """By turns what is, what was, and how often; which of them comes first is drawn."""
        chance = seed_for(self.step.seed, key, "in between")
        clear = [h for h in self.facts.happenings if h.accepted and not self.ambiguous(h)]
        kind = (chance + turn) % (3 if clear else 2)
        if kind < 2:
            yield (self.now if kind else self.so_far)(key, at_s)
        else:
            yield from self.count(key, clear[chance % len(clear)], at_s)

    # ---- what is so ----

    def starts(self, happening: Happening) -> list[Change]:
        name = happening.subject, happening.kind
        return [c for c in self.changes if c.starts and (c.stretch.subject, c.stretch.kind) == name]

    def told(self, at_s: float) -> list[str]:
        """Everything that begins or ends at an instant, in clauses."""
        here = [c for c in self.changes if c.at_s == at_s]
        said = {(c.stretch.subject_id, c.stretch.kind, c.starts) for c in here}
        clauses = []
        for change in here:
            implied = _SAID_BY.get(change.stretch.kind, ()) if not change.starts else ()
            if not any((change.stretch.subject_id, *other) in said for other in implied):
                clauses.append(self.phrase(change.stretch, "starts" if change.starts else "ends"))
        return clauses

    def state(self, own: Sequence[Stretch], turns: Sequence[Change], at_s: float) -> dict[str, str]:
        """What a thing does at an instant, or what it has ceased to do where nothing took its place."""
        doing = [s for s in own if s.at(at_s)]
        ended = [c.stretch for c in turns if c.at_s == at_s and not c.starts]
        clause = self.phrase(doing[0], "now") if doing else self.phrase(ended[0], "ends")
        return {"clause": clause, "Clause": capital(clause)}

    # ---- what is open ----

    def open(self, events: Sequence[Event]) -> Verdict | None:
        if not events:
            return None
        seen = ", ".join(sorted({f"{e.subject!r} {e.kind}: {e.verdict.reason}" for e in events}))
        return rejected(step_name(self.step), "unsettled", f"proposed and not accepted: {seen}")

    def undeniable(self) -> Verdict | None:
        """Of a clip with unsettled events nothing is counted, denied, or told in full."""
        return self.open(self.refused)

    def unsettled(self, subject: str, kinds: Sequence[EventKind]) -> Verdict | None:
        """What may be the same thing doing the same was proposed and not accepted."""
        return self.open([e for e in self.refused if e.kind in kinds and self._alike(e.subject, subject)])

    def ambiguous(self, happening: Happening) -> Verdict | None:
        if happening.subject in self.facts.shared:
            seen = f"several things are called {happening.subject!r}"
            return rejected(step_name(self.step), "ambiguous_subject", seen)
        return self.facts.named_alone(happening)

    def ambiguous_states(self, subject: str) -> Verdict | None:
        own = [h for h in self.facts.happenings if h.subject == subject and h.kind in _STATES]
        return next((v for h in own if (v := self.facts.named_alone(h)) is not None), None)

    def _alike(self, one: str, other: str) -> bool:
        return may_be(one, other, self.near, self.vague)

    # ---- when it is asked ----

    def drawn(self, key: str, what: str, times: Sequence[float], marks_s: Sequence[float]) -> list[float]:
        """One of `times`, or none: first before, between or after the marks, whichever there are, then which of it."""
        parts = _parts(times, marks_s)
        if not parts:
            return []
        chance = seed_for(self.step.seed, key, what)
        part = parts[chance % len(parts)]
        return [part[chance // len(parts) % len(part)]]

    def in_parts(self, key: str, marks_s: Sequence[float]) -> list[float]:
        """One time in each part of the clip: before the first mark, between, and after the last."""
        parts = _parts(self.seen_s, marks_s)
        return [t for i, part in enumerate(parts) for t in self.drawn(key, f"part {i}", part, ())]

    # ---- words ----

    def key(self, task: str, *identity: str | int) -> str:
        return key_of(self.clip.key, FAMILY, task, *identity)

    def name(self, subject: str) -> str:
        return defused(indefinite(subject) if subject in self.facts.shared else subject)

    def words(self, subject: str, kind: EventKind) -> dict[str, str]:
        verb: dict[str, str] = self.wording.table(f"kinds.{kind}")
        return {"subject": self.name(subject)} | verb

    def clause(self, happening: Happening, form: str) -> dict[str, str]:
        words = self.words(happening.subject, happening.kind)
        clause = f"{words['subject']} {words[form]}"
        return {"clause": clause, "Clause": capital(clause)}

    def phrase(self, stretch: Stretch, form: str) -> str:
        words = self.words(stretch.subject, stretch.kind)
        return f"{words['subject']} {words[form]}"

    def question(self, task: str, key: str, at_s: float, words: dict[str, str]) -> _Line:
        text = self.wording.pick(f"{task}.question", self._chance(key, "question", at_s), **words)
        return _Line(at_s, Role.USER, text)

    def answer(self, path: str, key: str, at_s: float, words: dict[str, str]) -> _Line:
        return _Line(at_s, Role.ASSISTANT, self.wording.pick(path, self._chance(key, path, at_s), **words))

    def _chance(self, key: str, what: str, at_s: float) -> int:
        return seed_for(self.step.seed, key, f"{what} {micros(at_s)}")

    # ---- the sample ----

    def sample(self, key: str, task: str, parts: Sequence[_Part]) -> StreamSample:
        """Parts as one stream, by time; a question and its answer at once stay together."""
        lines = sorted((line for part in parts for line in part.lines), key=lambda x: x.at_s)
        named = tuple(dict.fromkeys(e for part in parts for e in part.named))
        refusals = [part.refusal for part in parts if part.refusal is not None]
        label = Label(
            evidence=tuple(e.key for e in named),
            confidence=min(e.confidence for e in named),
            method=joined_methods(e.method for e in named),
            verdict=self._outside(named) or next(iter(refusals), ACCEPTED),
        )
        turns = tuple(Turn(line.role, line.text, (), (), ()) for line in lines)
        plain = sample(self._observed(named), key, FAMILY, task, self.clip.frames, turns, label)
        at_s, until_s = tuple(line.at_s for line in lines), self.clip.duration_s
        return widened(StreamSample, plain, turns_at_s=at_s, watch_from_s=0.0, watch_until_s=until_s)

    def _outside(self, named: Sequence[Event]) -> Verdict | None:
        """Defect D3 of the recipes' register: nothing is said of what lies beyond the decoded end of the clip."""
        beyond = [e.span for e in named if e.span.end_s > self.clip.duration_s]
        seen = [f"[{s.start_s}, {s.end_s}) in a clip of {self.clip.duration_s} s" for s in beyond]
        return rejected(step_name(self.step), "span_outside_clip", seen[0]) if seen else None

    def _observed(self, named: Sequence[Event]) -> Material:
        """The clip, with how far apart localisers place these changes in its last link."""
        *earlier, link = self.clip.provenance
        seen = f"{self.step.looked_at}: {_certainty(named)}"
        return replace(self.clip, provenance=(*earlier, replace(link, observed=seen)))


def _certainty(events: Sequence[Event]) -> str:
    if all(e.method == "truth" for e in events):
        return "exact times"
    gap_s = apart_s(events)
    return "one localiser, uncertainty unknown" if gap_s is None else f"localisers at most {gap_s:.3f} s apart"


def _parts(times: Sequence[float], marks_s: Sequence[float]) -> list[list[float]]:
    """Times before all marks, between them, and after all, without parts that are empty."""
    first, last = min(marks_s, default=0.0), max(marks_s, default=0.0)
    before, after = [t for t in times if t < first], [t for t in times if t > last]
    between = [t for t in times if first <= t <= last]
    return [part for part in (before, between, after) if part]


def _joined(clauses: Iterable[str]) -> dict[str, str]:
    said = listed(list(dict.fromkeys(clauses)))
    return {"clauses": said, "Clauses": capital(said)}
