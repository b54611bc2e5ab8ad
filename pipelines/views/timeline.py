"""Dialogues on the order of events: before and after, the next one, how often, is it then, in short, and turn by turn.

An event is *after* another where it begins once that one is over, and *before* it where it is over when that one
begins; what overlaps is neither. What decides an answer must be settled, as everywhere in this view:

    unsettled        an event that was proposed and not accepted could belong to the answer
    too_close        two edges that the answer puts in order are less than `apart_s` apart
    ambiguous_next   two events begin next within `apart_s`
    ambiguous_count  times overlap or touch, so that one could be counted as two

    events  a dog runs [0, 2), a cat leaves [3, 4)
    next    Q "What is the next event after a dog runs, and when?"  A "A cat leaves at <time>."  tgt_s (3, 4)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reelmill.annotators.annotator import step_name
from reelmill.pipelines.views.happenings import FAMILY, ClipView, Happening, claims, flat, may_be, united
from reelmill.pipelines.views.phrasing import TIME, Label, capital, joined_methods, listed, sample
from reelmill.schemas.event import Event
from reelmill.schemas.keys import micros, seed_for
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

ORDER, NEXT, COUNT, DURING = "order", "next_event", "count", "during"
SUMMARY, DIALOGUE = "summary", "dialogue"

_SAME_S = 1e-6
_GRID_S = 0.1


@dataclass(frozen=True, slots=True)
class TimelineRules:
    """How many questions of a form a clip gets, and `dialogue_turns` questions in its dialogue.

    `apart_s`: edges nearer than this are not put in order, unless they are one and the same. A tenth of a second is
    what the card judges intervals to, and two frames and more of film.
    """

    order_max: int = 2
    next_max: int = 2
    once_max: int = 1
    during_max: int = 2
    dialogue_turns: int = 4
    apart_s: float = 0.1


class Timeline:
    """The samples of one clip, without its dialogue."""

    def __init__(self, view: ClipView, rules: TimelineRules, min_share: float) -> None:
        self.view, self.rules, self.min_share = view, rules, min_share

    def samples(self) -> Iterator[Sample]:
        singles = [
            h for h in self.view.happenings if len(h.events) == 1 and h.accepted and h.subject not in self.view.shared
        ]
        yield from self._few((s for h in singles for s in self._orders(h)), self.rules.order_max)
        yield from self._few((s for h in singles for s in self._next(h)), self.rules.next_max)
        counts = [(len(h.accepted), self._count(h)) for h in self.view.happenings if h.accepted]
        yield from (s for n, s in counts if n > 1)
        yield from self._few((s for n, s in counts if n == 1), self.rules.once_max)
        yield from self._few((s for h in self.view.happenings for s in self._during(h)), self.rules.during_max)
        yield self.summary()

    def _few(self, found: Iterable[Sample], most: int) -> list[Sample]:
        """At most `most`, drawn by their keys, accepted ones first; of refused ones alone one, so that they count."""
        ranked = sorted(found, key=lambda s: seed_for(self.view.step.seed, s.key, "chosen"))
        good = [s for s in ranked if s.verdict.accepted]
        return good[:most] or ranked[: min(most, 1)]

    def _no(self, reason: str, detail: str) -> Verdict:
        return rejected(step_name(self.view.step), reason, detail)

    # ---- before and after ----

    def _orders(self, asked: Happening) -> Iterator[Sample]:
        """What is over before an event, and what begins after it; none where there is nothing to name."""
        (event,) = asked.events
        span = event.span
        after = [e for e in self.view.accepted if e.span.start_s >= span.end_s - _SAME_S]
        before = [e for e in self.view.accepted if e.span.end_s <= span.start_s + _SAME_S]
        for way, named in (("after", after), ("before", before)):
            if named:
                key = self.view.key(ORDER, way, asked.subject, asked.kind, micros(span.start_s))
                told = dict.fromkeys((e.subject, e.kind, e.span) for e in named)
                clauses = listed([self.view.words(who, kind)["clause"] for who, kind, _ in told])
                question = self._ask(f"{ORDER}.{way}", key, self.view.words(asked.subject, asked.kind))
                words = {"clauses": clauses, "Clauses": capital(clauses)}
                turns = (question, self.view.tell(f"{ORDER}.answer", key, words, ()))
                verdict = self.view.named_alone(asked) or self._in_order(span, way)
                yield self.view.sample(key, ORDER, turns, (event, *named), verdict)

    def _ask(self, path: str, key: str, words: dict[str, str]) -> Turn:
        seed = seed_for(self.view.step.seed, key, "question")
        return Turn(Role.USER, self.view.wording.pick(path, seed, **words), (), (), ())

    def _in_order(self, span: Span, way: str) -> Verdict | None:
        """Nothing open could stand there, and no edge is too near to the one that decides."""
        edge_s = span.end_s if way == "after" else span.start_s
        for event in self.view.events:
            for claim in claims(event) if not event.verdict.accepted else ():
                if claim.end_s > edge_s if way == "after" else claim.start_s < edge_s:
                    return self._no("unsettled", f"{event.phrase!r} could be {way} it: {event.verdict.reason}")
        edges = [e.span.start_s if way == "after" else e.span.end_s for e in self.view.accepted]
        near = [t for t in edges if _SAME_S < abs(t - edge_s) < self.rules.apart_s]
        if near:
            return self._no("too_close", f"edges at {edge_s:.3f} and {near[0]:.3f} s, want {self.rules.apart_s} s")
        return None

    # ---- the next one ----

    def _next(self, asked: Happening) -> Iterator[Sample]:
        """The first event to begin once this one is over; none where there is none."""
        (event,) = asked.events
        later = [e for e in self.view.accepted if e.span.start_s >= event.span.end_s - _SAME_S]
        if not later:
            return
        first = min(later, key=lambda e: (e.span.start_s, e.span.end_s))
        key = self.view.key(NEXT, asked.subject, asked.kind, micros(event.span.start_s))
        words = self.view.words(first.subject, first.kind) | {"times": TIME}
        question = self._ask(f"{NEXT}.question", key, self.view.words(asked.subject, asked.kind))
        turns = (question, self.view.tell(f"{NEXT}.answer", key, words, (first.span,)))
        verdict = self.view.named_alone(asked) or self._in_order(event.span, "after") or self._first(first, later)
        yield self.view.sample(key, NEXT, turns, (event, first), verdict)

    def _first(self, first: Event, later: Sequence[Event]) -> Verdict | None:
        near = [e for e in later if e is not first and e.span.start_s < first.span.start_s + self.rules.apart_s]
        if not near:
            return None
        seen = (
            f"{near[0].phrase!r} begins at {near[0].span.start_s:.3f} s, {first.phrase!r} at {first.span.start_s:.3f} s"
        )
        return self._no("ambiguous_next", seen)

    # ---- how often, and is it then ----

    def _count(self, asked: Happening) -> Sample:
        """How often, with every time."""
        key = self.view.key(COUNT, asked.subject, asked.kind)
        spans = united(e.span for e in asked.accepted)
        named: list[str] = list(self.view.wording.options(f"{COUNT}.often"))
        often = named[len(spans) - 1] if len(spans) <= len(named) else f"{len(spans)} times"
        words = self.view.words(asked.subject, asked.kind) | _times(spans) | {"often": often, "Often": capital(often)}
        turns = (self.view.ask(COUNT, key, words), self.view.tell(f"{COUNT}.answer", key, words, spans))
        verdict = self.view.settled(asked) or self.view.named_alone(asked) or self._countable(asked, spans)
        return self.view.sample(key, COUNT, turns, asked.accepted, verdict)

    def _countable(self, asked: Happening, spans: Sequence[Span]) -> Verdict | None:
        if asked.subject in self.view.shared:
            return self._no("ambiguous_subject", f"{asked.subject!r} may be one thing or several")
        if len(spans) != len(asked.accepted):
            return self._no("ambiguous_count", f"{len(asked.accepted)} events cover {len(spans)} stretches")
        return None

    def _during(self, asked: Happening) -> Iterator[Sample]:
        """Is it then? As often yes as no, by the key; none where the clip has no place for a no, for a yes too."""
        if not asked.accepted:
            return
        key = self.view.key(DURING, asked.subject, asked.kind)
        seed = seed_for(self.view.step.seed, key, DURING)
        event = asked.accepted[seed // 2 % len(asked.accepted)]
        free = self._elsewhere(asked, event.span.duration_s)
        if not free:
            return
        then = event.span if seed % 2 else free[seed // 64 % len(free)]
        spans = united(e.span for e in asked.accepted)
        words = self.view.words(asked.subject, asked.kind) | _times(spans)
        told = self.view.tell(f"{DURING}.{'yes' if seed % 2 else 'no'}", key, words, spans)
        verdict = self.view.settled(asked) or self.view.named_alone(asked)
        yield self.view.sample(key, DURING, (self.view.ask(DURING, key, words, (then,)), told), asked.accepted, verdict)

    def _elsewhere(self, asked: Happening, duration_s: float) -> list[Span]:
        """Spans of a duration, a tenth of a second apart, in which nobody says that it happens: `apart_s` and
        more away from every proposal, so that a no is not a matter of edges."""
        open_kinds = [h for h in self.view.happenings if h.kind is asked.kind or h.subject in self.view.doubted]
        alike = [h for h in open_kinds if self._may_be(h.subject, asked.subject)]
        taken = [c for h in alike for e in h.events for c in claims(e)]
        last = int((self.view.clip.duration_s - duration_s) / _GRID_S + _SAME_S)
        starts = (round(i * _GRID_S, 3) for i in range(last + 1))
        spans = [Span(s, round(s + duration_s, 6)) for s in starts if s + duration_s <= self.view.clip.duration_s]
        return [s for s in spans if all(_gap_s(s, t) >= self.rules.apart_s for t in taken)]

    def _may_be(self, one: str, other: str) -> bool:
        return may_be(one, other, self.view.wording.table("near"), set(self.view.wording.options("vague.words")))

    # ---- in short ----

    def summary(self) -> Sample:
        """One sentence for each thing that happens, with all its times. Refused where too much is not settled."""
        key = self.view.key(SUMMARY)
        form = seed_for(self.view.step.seed, key, "summary.line")
        told = self._in_time()
        lines = [
            self.view.wording.pick("summary.line", form, **self.view.words(h.subject, h.kind), **_times(spans))
            for h, spans in told
        ]
        answer = Turn(
            Role.ASSISTANT, " ".join(map(capital, lines)), (), flat(s for _, spans in told for s in spans), ()
        )
        share = len(self.view.accepted) / len(self.view.events)
        seen = f"{len(self.view.accepted)} of {len(self.view.events)} events accepted, want {self.min_share:.0%}"
        verdict = self._no("unsettled", seen) if share < self.min_share else None
        return self.view.sample(key, SUMMARY, (self.view.ask(SUMMARY, key, {}), answer), self.view.accepted, verdict)

    def _in_time(self) -> list[tuple[Happening, tuple[Span, ...]]]:
        told = [(h, united(e.span for e in h.accepted)) for h in self.view.happenings if h.accepted]
        return sorted(told, key=lambda one: (one[1][0].start_s, one[1][0].end_s))


def dialogue(view: ClipView, rules: TimelineRules, single: Sequence[Sample]) -> Iterator[Sample]:
    """Several of a clip's accepted questions as one dialogue, each of another form, a summary last. One per clip, or
    none where there are not two forms."""
    seed = view.step.seed
    best: dict[str, Sample] = {}
    for one in sorted((s for s in single if s.verdict.accepted), key=lambda s: seed_for(seed, s.key, DIALOGUE)):
        best.setdefault(one.task, one)
    chosen = list(best.values())[: rules.dialogue_turns]
    if len(chosen) < 2:
        return
    chosen.sort(key=lambda s: s.task in (SUMMARY, "dense_caption"))
    key = view.key(DIALOGUE)
    turns = [turn for i, one in enumerate(chosen) for turn in _following(view, key, i, one.turns)]
    label = Label(
        evidence=tuple(dict.fromkeys(e for one in chosen for e in one.evidence)),
        confidence=min(one.label_confidence for one in chosen),
        method=joined_methods(m for one in chosen for m in one.method.split("+")),
        verdict=ACCEPTED,
    )
    yield sample(view.clip, key, FAMILY, DIALOGUE, view.clip.frames, tuple(turns), label)


def _following(view: ClipView, key: str, place: int, turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """A question and its answer at a place in a dialogue; from the second on with a word that leads over."""
    if place == 0:
        return tuple(turns)
    question, *rest = turns
    forms = view.wording.options("dialogue.follow")
    lead = forms[seed_for(view.step.seed, key, f"follow {place}") % len(forms)]
    before, after = lead.split("{question}")
    return (
        Turn(question.role, f"{before}{question.text}{after}", question.src_s, question.tgt_s, question.boxes),
        *rest,
    )


def _times(spans: Sequence[Span]) -> dict[str, str]:
    return {"times": listed([TIME] * len(spans))}


def _gap_s(one: Span, other: Span) -> float:
    """Seconds between two spans; negative where they overlap."""
    return max(other.start_s - one.end_s, one.start_s - other.end_s)
