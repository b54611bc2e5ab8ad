"""What is known of one clip: its things, what each does and when, and the turns that speak of it.

Every form of every stage is a function of a `Story` that yields drafts; a draft with a fault becomes a rejected sample.

    tubes  the red circle 0.0-4.0 s          acts  the red circle moves [0.4, 2.0), the first of two times
    event  the red circle moves [0.4, 2.0)         the red circle moves [3.0, 4.0), the second
    event  the red circle moves [3.0, 4.0)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from reelmill.pipelines.views.aligned.subjects import SAME_FRAME_S, Thing, alike, quality
from reelmill.pipelines.views.happenings import clipped, flat
from reelmill.pipelines.views.phrasing import Material, Phrasings, capital, sample_key
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.keys import seed_for
from reelmill.schemas.sample import Role, Tubelet, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box

FAMILY = "st_align"
TUBE = "<tube>"

Fault = tuple[str, str]
"""Why a draft is refused: a short stable reason, and what was seen."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is clear enough to be asked about.

    `ambiguous_tiou`: an interval is not asked about where another event (or a proposal for a refused one) overlaps it
    this much. `ambiguous_iou`: a box is not, where another thing's overlaps it this much. `start_apart_s`: an event is
    not asked for by its start where the same thing begins another within it (half the gap of stored frames).
    `clear_share`: a frame is not asked about as a picture while a thing in it shows less than this share of its usual
    area. `least_confidence`: no tube or detection below it is named.
    """

    ambiguous_tiou: float = 0.5
    ambiguous_iou: float = 0.3
    start_apart_s: float = 0.25
    clear_share: float = 0.5
    least_confidence: float = 0.5


@dataclass(frozen=True, slots=True)
class Act:
    """One accepted event: the `number`-th of `count` times that its thing does this."""

    thing: Thing
    event: Event
    number: int
    count: int
    fault: Fault | None

    @property
    def span(self) -> Span:
        return self.event.span

    @property
    def kind(self) -> EventKind:
        return self.event.kind


@dataclass(frozen=True, slots=True)
class Draft:
    """A sample before its verdict: what it asks and answers, what it rests on, and why it may not be used.

    `frame` is the place of the shown frame that the sample is about as a picture; None for the whole clip.
    """

    task: str
    key: str
    turns: tuple[Turn, ...]
    things: tuple[Thing, ...]
    events: tuple[Event, ...] = ()
    tubes: tuple[Tubelet, ...] = ()
    frame: int | None = None
    fault: Fault | None = None


class Story:
    """The evidence of one clip, and the words for it. Wordings are drawn per sample, so none depends on another."""

    def __init__(
        self,
        rules: Rules,
        seed: int,
        wording: Phrasings,
        clip: Material,
        things: Iterable[Thing],
        events: Iterable[Event] = (),
        note: str = "",
    ) -> None:
        """`events` are all that were proposed; `note` says what became of things that are not among `things`."""
        self.rules, self.seed, self.wording, self.clip, self.note = rules, seed, wording, clip, note
        self.things = tuple(sorted(things, key=lambda t: (t.from_s, t.id)))
        inside = (clipped(e, clip.duration_s) for e in events)
        self.events = tuple(sorted(inside, key=lambda e: (e.span.start_s, e.span.end_s, e.subject_id, e.kind)))

    @cached_property
    def acts(self) -> tuple[Act, ...]:
        """Accepted events of known things, by time."""
        by_id = {t.id: t for t in self.things}
        groups: dict[tuple[str, EventKind], list[Event]] = defaultdict(list)
        for event in self.events:
            groups[event.subject_id, event.kind].append(event)
        found = [
            Act(by_id[who], e, n + 1, len(group), self._fault(e, group))
            for (who, _), group in groups.items()
            if who in by_id
            for n, e in enumerate(group)
            if e.verdict.accepted
        ]
        return tuple(sorted(found, key=lambda a: self.events.index(a.event)))

    def _fault(self, event: Event, group: Sequence[Event]) -> Fault | None:
        """D3: nothing beyond the clip's end. And how often a thing does something is open while a time of it is."""
        if event.span.end_s > self.clip.duration_s:
            seen = f"[{event.span.start_s}, {event.span.end_s}) in a clip of {self.clip.duration_s} s"
            return "span_outside_clip", seen
        refused = [e.verdict.reason for e in group if not e.verdict.accepted]
        if refused:
            return (
                "unsettled",
                f"{len(refused)} of {len(group)} times of {event.phrase!r}: {', '.join(sorted(set(refused)))}",
            )
        return None

    @property
    def open_event(self) -> Fault | None:
        """Why this is not all that happens: an event that was refused, or one of nothing that was followed."""
        faults = [a.fault for a in self.acts if a.fault is not None]
        if faults:
            return faults[0]
        if len(self.acts) < len(self.events):
            return "unsettled", f"{len(self.acts)} of {len(self.events)} events accepted and of a known thing"
        return None

    @property
    def open_thing(self) -> Fault | None:
        """Why things cannot be counted: some were dropped, one does nothing that was accepted, or two that are never
        seen together may be one."""
        if self.note:
            return "unsettled", f"tubes: {self.note}"
        idle = [t.phrase for t in self.things if all(a.thing.id != t.id for a in self.acts)]
        if idle:
            return "unsettled", f"no event of {idle[0]!r} was accepted"
        for i, one in enumerate(self.things):
            for other in self.things[i + 1 :]:
                if alike(one.phrase, other.phrase) and not one.boxes.keys() & other.boxes.keys():
                    return "unsettled", f"{one.phrase!r} and {other.phrase!r} may be one thing: never seen together"
        return None

    # ---- who ----

    @property
    def whole(self) -> Span:
        return Span(0.0, self.clip.duration_s)

    def places(self, span: Span) -> list[int]:
        """Places of the shown frames within a span."""
        frames = enumerate(self.clip.frames)
        return [i for i, f in frames if span.start_s - SAME_FRAME_S < f.at_s < span.end_s - SAME_FRAME_S]

    def subject(self, who: Thing, span: Span) -> tuple[str, Fault | None]:
        """Words that fit `who` and nothing else in view during a span; the bare phrase and why there are none."""
        among = [t for t in self.things if t.within(span)]
        return self._named(who, among, self.places(span), still=False)

    def subject_at(self, who: Thing, place: int) -> tuple[str, Fault | None]:
        """Words that fit `who` and nothing else in one shown frame, which shows no order in time."""
        return self._named(who, [t for t in self.things if place in t.boxes], [place], still=True)

    def _named(
        self, who: Thing, among: Sequence[Thing], places: Sequence[int], *, still: bool
    ) -> tuple[str, Fault | None]:
        if doubt := self.doubt(who):
            return who.phrase, doubt
        rivals = [t for t in among if t.id != who.id and alike(t.phrase, who.phrase)]
        if not rivals:
            return who.phrase, None
        doubted = [t for t in rivals if self.doubt(t) is not None]
        found = None if doubted else quality(who, rivals, places, self.clip.media)
        if found is None or (still and found in ("first", "last")):
            seen = f"{who.phrase!r} fits {len(rivals)} other thing(s) in view, and nothing sets it apart"
            return who.phrase, ("ambiguous_subject", seen)
        form: str = self.wording.table(f"qualified.{found}")
        return form.format(noun=who.phrase.removeprefix("the ")), None

    def doubt(self, who: Thing) -> Fault | None:
        least = self.rules.least_confidence
        return ("low_confidence", f"{who.confidence:.2f}, want {least}") if who.confidence < least else None

    # ---- words ----

    def key(self, task: str, *identity: str | int) -> str:
        return sample_key(self.clip.key, FAMILY, task, *identity)

    def words(self, subject: str, kind: EventKind, again: str = "") -> dict[str, str]:
        """Everything that a wording may say about one happening."""
        verb: dict[str, str] = self.wording.table(f"kinds.{kind}")
        clause = f"{subject} {verb['third']}{again}"
        return (
            {"subject": subject, "Subject": capital(subject), "clause": clause, "Clause": capital(clause)}
            | {"again": again}
            | verb
        )

    def words_of(self, act: Act, span: Span | None = None) -> tuple[dict[str, str], Fault | None]:
        """Words for an act whose subject is to be told apart during `span` (else the clip), and what forbids them.

        A thing that does something more than once does it "for the second time".
        """
        subject, unclear = self.subject(act.thing, span or self.whole)
        ordinals = self.wording.options("ordinals.words")
        often = (
            ("too_often", f"{act.count} times, and words for {len(ordinals)}") if act.count > len(ordinals) else None
        )
        again = f" for the {ordinals[act.number - 1]} time" if act.count > 1 and often is None else ""
        return self.words(subject, act.kind, again), act.fault or often or unclear

    def ask(
        self, path: str, key: str, words: dict[str, str], spans: Sequence[Span] = (), boxes: tuple[Box, ...] = ()
    ) -> Turn:
        text = self.wording.pick(f"{path}.question", seed_for(self.seed, key, f"{path} question"), **words)
        return Turn(Role.USER, text, flat(spans), (), boxes)

    def tell(
        self, path: str, key: str, words: dict[str, str], spans: Sequence[Span] = (), boxes: tuple[Box, ...] = ()
    ) -> Turn:
        """An answer. Its boxes are only those that its wording has a place for, or all where it has none."""
        text = self.wording.pick(path, seed_for(self.seed, key, f"{path} answer"), **words)
        return Turn(Role.ASSISTANT, text, (), flat(spans), boxes)

    def tubelet(self, who: Thing, span: Span) -> Tubelet | None:
        """Boxes of a thing at the shown frames within a span; None where no shown frame has one."""
        places = [p for p in self.places(span) if p in who.boxes]
        if not places:
            return None
        at_s = tuple(self.clip.frames[p].at_s for p in places)
        return Tubelet(at_s, tuple(who.boxes[p] for p in places), span.end_s)
