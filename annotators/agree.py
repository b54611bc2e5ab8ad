"""When does a listed event happen, if two who cannot have heard each other say the same: consensus of localisers.

After InternVid-TG (DisTime, Zeng et al. 2025: three localisers, the most similar segment wins) and TimeLens2 (2026:
proposals, independent localisation, consensus, semantic verification). Here nobody wins alone:

    teacher      the model that listed it: its answer when asked for this event alone, else the span of its list. One
                 witness, however often it was asked and by whatever name: it is never its own second opinion
    similarity   frames that are alike to the clause (annotators/localise.py), one or several spans
    tubes        what moves, where the clause is in the words of tubes (annotators/clauses.py), one or several spans

Spans of different witnesses with tIoU of `least_tiou` and more are one occurrence; with `witnesses` of them it is
accepted. Every event keeps all that was proposed for its clause, and a refused one its reason:

    one_localiser        nobody else could say
    localisers_disagree  somebody else could, and says elsewhere or nowhere
    not_found            all who could say find it nowhere
    inside_like_outside  frames inside are no more alike to the clause than those outside all that was proposed

    teacher [0, 2), tubes [0.2, 1.9), similarity nowhere  ->  accepted, [0.2, 1.9)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from statistics import fmean, median
from typing import Any, ClassVar

import pyarrow as pa

from reelmill.annotators import ask_spans, localise
from reelmill.annotators.annotator import Resources, each_row, step_name
from reelmill.annotators.ask_spans import ASKED
from reelmill.annotators.boundaries import Switches, snapped
from reelmill.annotators.clauses import alike, merged, placed
from reelmill.annotators.events import CHANGE_LOCALISER, EVENTS, TUBE_LOCALISER
from reelmill.annotators.list_events import LISTED
from reelmill.annotators.localise import SIMILAR, SIMILAR_FRAMES_S, SIMILAR_SPANS, SIMILARITIES
from reelmill.annotators.motion.changes import CHANGES, Changes
from reelmill.annotators.tubes import TUBES, TUBES_NOTE
from reelmill.schemas import arrow
from reelmill.schemas.answer import ListedEvent
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.event import AbsentPhrase, BorrowedPhrase, Contrast, Event, EventKind, MergedPhrase, Proposal
from reelmill.schemas.keys import child_key, micros
from reelmill.schemas.provenance import UNMEASURED
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Tube
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

BORROWED = Column.of("borrowed", tuple[BorrowedPhrase, ...])
LISTED_EVENTS = Column.of("listed_events", tuple[Event, ...])
ABSENT_PHRASES = Column.of("absent_phrases", tuple[AbsentPhrase, ...])
MERGED_PHRASES = Column.of("merged_phrases", tuple[MergedPhrase, ...])
CONTRASTS = Column.of("contrasts", tuple[Contrast, ...])

LIST_LOCALISER, TEACHER = "listing", "teacher"
METHOD = "model"


@dataclass(frozen=True, slots=True)
class AgreeRules:
    """`snap_s`: how far an end may move to where the picture begins or ceases to change: half a second is what shown
    frames are apart by default; on rendered scenes ends come nearer on average and in the median (decision 0034).

    `least_tiou` 0.5: spans that share so much share most of their time, and of spans that do not overlap at most one
    can agree so with another (over 0.5); it is the middle one of the levels that grounding is judged by (R@1 at 0.3,
    0.5, 0.7). `least_margin`: by how much similarity inside must exceed outside. 0 asks for the sign alone: what a
    margin is worth was not measured with any encoder."""

    witnesses: int = 2
    least_tiou: float = 0.5
    least_margin: float = 0.0
    snap_s: float = 0.5


# ---- who says what ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Witness:
    """An opinion that rests on no other one: the spans in which it finds a clause, none where it finds it nowhere."""

    name: str
    spans: tuple[Span, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Testimony:
    """All that was said of one clause: `proposals` in full, and the opinions in them."""

    phrase: str
    proposals: tuple[Proposal, ...]
    witnesses: tuple[Witness, ...]

    def other_than(self, names: Sequence[str]) -> list[Witness]:
        return [w for w in self.witnesses if w.name not in names]


def teacher(listed: Sequence[Proposal], asked: Sequence[Proposal]) -> list[Witness]:
    """The teacher's opinion: what it answers when asked, else what it listed. An answer that is none is no opinion."""
    answers = [p for p in asked if p.span is not None or p.score > 0]
    said = answers or list(listed)
    spans = joined([p.span for p in said if p.span is not None])
    return [Witness(TEACHER, spans, UNMEASURED)] if said else []


def joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """One witness's spans, in order; those that overlap are one."""
    out: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start_s, s.end_s)):
        if out and span.start_s < out[-1].end_s:
            out[-1] = Span(out[-1].start_s, max(out[-1].end_s, span.end_s))
        else:
            out.append(span)
    return tuple(out)


def by_tubes(phrase: str, events: Sequence[Event], tubes: Sequence[Tube]) -> tuple[list[Proposal], list[Witness]]:
    """What tubes propose for a clause, and their opinion; neither where they have none."""
    found = placed(phrase, events, tubes)
    if found is None:
        return [], []
    spans, score = found
    proposals = [Proposal(TUBE_LOCALISER, span, score) for span in spans] or [Proposal(TUBE_LOCALISER, None, score)]
    return proposals, [Witness(TUBE_LOCALISER, joined(spans), score)]


def by_similarity(proposals: Sequence[Proposal], spans: Sequence[Span]) -> tuple[list[Proposal], list[Witness]]:
    """Every clear span is a proposal with the score of the clearest."""
    score = max((p.score for p in proposals), default=0.0)
    said = [Proposal(localise.LOCALISER, span, score) for span in spans] or list(proposals)
    return said, [Witness(localise.LOCALISER, joined(spans), score)] if said else []


# ---- agreement -------------------------------------------------------------------------------------------------------

Said = tuple[Witness, Span]


def occurrences(witnesses: Sequence[Witness], least_tiou: float) -> list[list[Said]]:
    """Spans of different witnesses that are one occurrence: from the closest pair on, each other witness's closest span
    that agrees with all. What is left over stands alone, unless it overlaps an occurrence: then it speaks of that."""
    left = [(w, s) for w in witnesses for s in w.spans]
    found: list[list[Said]] = []
    while pair := _closest(left, least_tiou):
        group = list(pair)
        for witness in witnesses:
            rest = [one for one in left if one[0] is witness and witness not in [w for w, _ in group]]
            agreeing = [one for one in rest if all(one[1].tiou(s) >= least_tiou for _, s in group)]
            group += sorted(agreeing, key=lambda one: -min(one[1].tiou(s) for _, s in group))[:1]
        found.append(group)
        left = [one for one in left if one not in group]
    agreed = [s for group in found for _, s in group]
    return found + [[one] for one in left if not any(one[1].overlap_s(s) > 0 for s in agreed)]


def _closest(said: Sequence[Said], least_tiou: float) -> tuple[Said, Said] | None:
    pairs = [(a, b) for i, a in enumerate(said) for b in said[i + 1 :] if a[0] is not b[0]]
    close = [(a, b) for a, b in pairs if a[1].tiou(b[1]) >= least_tiou]
    return min(close, key=lambda p: (-p[0][1].tiou(p[1][1]), p[0][1].start_s, p[1][1].start_s), default=None)


def agreed_span(group: Sequence[Said]) -> Span:
    """Of tubes where they are among those who agree: they saw every frame, the others a few a second. Else the medians
    of starts and of ends; of two, their means."""
    by_tube = [span for witness, span in group if witness.name == TUBE_LOCALISER]
    if by_tube:
        return by_tube[0]
    return Span(round(median(s.start_s for _, s in group), 6), round(median(s.end_s for _, s in group), 6))


def contrast(similarities: Sequence[float], at_s: Sequence[float], span: Span, proposed: Sequence[Span]) -> Contrast:
    """Mean similarity of the frames inside a span, and of those outside all that anybody proposed: the negative span of
    HawkEye (Wang et al. 2024). `margin` is None where there are no frames on one of the sides."""
    taken = [span, *proposed]
    frames = list(zip(similarities, at_s, strict=True))
    inside = [v for v, t in frames if span.start_s <= t < span.end_s]
    outside = [v for v, t in frames if not any(s.start_s <= t < s.end_s for s in taken)]
    margin = round(fmean(inside) - fmean(outside), 6) if inside and outside else None
    return Contrast("", margin, len(inside), len(outside))


# ---- the step --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agree:
    """Adds the listed events of a clip with a verdict each, what was said in two ways, and borrowed phrases that nobody
    finds. `similar`: whether similarities are among the evidence."""

    similar: bool = False
    rules: AgreeRules = field(default_factory=AgreeRules)
    gives: ClassVar[tuple[Column, ...]] = (LISTED_EVENTS, ABSENT_PHRASES, MERGED_PHRASES, CONTRASTS)
    method: ClassVar[str] = METHOD
    observed: ClassVar[str] = "proposals of localisers"
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=64)

    @property
    def needs(self) -> tuple[Column, ...]:
        own = (KEY, LISTED, ASKED, EVENTS, TUBES, CHANGES, TUBES_NOTE, BORROWED)
        return (*own, SIMILAR, SIMILAR_SPANS, SIMILARITIES, SIMILAR_FRAMES_S) if self.similar else own

    def setup(self) -> None: ...

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        clip = Heard.of(row)
        groups = merged([event.phrase for event in clip.listed])
        made = [one for group in groups for one in self._events(clip, group)]
        return {
            "listed_events": tuple(sorted((e for e, _ in made), key=lambda e: (e.span.start_s, e.span.end_s, e.key))),
            "absent_phrases": tuple(self._absent(clip, phrase) for phrase in clip.borrowed),
            "merged_phrases": tuple(
                MergedPhrase(clip.listed[i].phrase, clip.listed[group[0]].phrase) for group in groups for i in group[1:]
            ),
            "contrasts": tuple(c for _, c in made if c is not None),
        }

    def _events(self, clip: Heard, places: Sequence[int]) -> Iterator[tuple[Event, Contrast | None]]:
        """One event for each occurrence of a clause; where nobody finds any, one at the listed time."""
        told = clip.testimony(places)
        groups = occurrences(told.witnesses, self.rules.least_tiou)
        for group in groups:
            span, said = self._refined(clip, told, group)
            seen = clip.contrast(places[0], span, said)
            yield self._event(clip, said, span, group, self._judged(said, group, seen), seen)
        if not groups:
            span = clip.listed[places[0]].span
            verdict = rejected(step_name(self), "not_found", f"nowhere by {_names(told.witnesses)}")
            yield self._event(clip, told, span, (), verdict, None)

    def _refined(self, clip: Heard, told: Testimony, group: Sequence[Said]) -> tuple[Span, Testimony]:
        """The agreed span, its ends moved to switches of the change map where no tube has them already; what was moved
        is a proposal more. A moved span that a witness would not agree with is not taken."""
        span = agreed_span(group)
        by_tube = TUBE_LOCALISER in [w.name for w, _ in group]
        if by_tube or len(group) < self.rules.witnesses or clip.switches is None:
            return span, told
        moved = snapped(span, clip.switches, self.rules.snap_s)
        if moved == span or any(moved.tiou(s) < self.rules.least_tiou for _, s in group):
            return span, told
        return moved, replace(told, proposals=(*told.proposals, Proposal(CHANGE_LOCALISER, moved, UNMEASURED)))

    def _judged(self, said: Testimony, group: Sequence[Said], seen: Contrast | None) -> Verdict:
        if len(group) < self.rules.witnesses:
            (name, span), others = (group[0][0].name, group[0][1]), said.other_than([w.name for w, _ in group])
            here = f"{name} says {_spelled([span])}"
            if not others:
                return rejected(step_name(self), "one_localiser", f"{here}, nobody else could say")
            told = ", ".join(f"{w.name} {_spelled(w.spans)}" for w in others)
            return rejected(
                step_name(self), "localisers_disagree", f"{here}, {told}; want tIoU {self.rules.least_tiou}"
            )
        if seen is not None and seen.margin is not None and seen.margin <= self.rules.least_margin:
            frames = f"{seen.inside} frames inside, {seen.outside} outside"
            detail = f"margin {seen.margin:.4f} ({frames}), want over {self.rules.least_margin}"
            return rejected(step_name(self), "inside_like_outside", detail)
        return ACCEPTED

    def _event(
        self,
        clip: Heard,
        said: Testimony,
        span: Span,
        group: Sequence[Said],
        verdict: Verdict,
        seen: Contrast | None,
    ) -> tuple[Event, Contrast | None]:
        names = _names([w for w, _ in group])
        key = child_key(clip.key, "stated", said.phrase, names, micros(span.start_s), micros(span.end_s))
        made = Event(
            key=key,
            parent_key=clip.key,
            kind=EventKind.STATED,
            subject_id="",
            subject="",
            phrase=said.phrase,
            span=span,
            confidence=_confidence(group),
            proposals=said.proposals,
            method=METHOD,
            verdict=verdict,
        )
        return made, None if seen is None else Contrast(key, seen.margin, seen.inside, seen.outside)

    def _absent(self, clip: Heard, borrowed: BorrowedPhrase) -> AbsentPhrase:
        """A phrase of another clip, accepted as absent where `witnesses` can say and none finds it."""
        said = clip.of_borrowed(borrowed)
        finding = [w for w in said.witnesses if w.spans]
        verdict = ACCEPTED
        own = next((e.phrase for e in clip.listed if alike(e.phrase, borrowed.phrase)), None)
        if own is not None:
            verdict = rejected(step_name(self), "said_here", f"the clip is said to show {own!r}")
        elif finding:
            where = ", ".join(f"{w.name} {_spelled(w.spans)}" for w in finding)
            verdict = rejected(step_name(self), "found_here", where)
        elif len(said.witnesses) < self.rules.witnesses:
            verdict = rejected(step_name(self), "one_localiser", f"{_names(said.witnesses) or 'nobody'} could say")
        key = child_key(clip.key, "absent", borrowed.phrase, borrowed.from_key)
        return AbsentPhrase(key, borrowed.phrase, borrowed.from_key, said.proposals, UNMEASURED, METHOD, verdict)


def _confidence(group: Sequence[Said]) -> float:
    """Geometric mean of the witnesses' scores and of how well they agree (the least tIoU); of one witness its score
    alone, of none 0."""
    if not group:
        return 0.0
    scores = [w.score for w, _ in group]
    agreement = [a.tiou(b) for i, (_, a) in enumerate(group) for _, b in group[i + 1 :]]
    factors = [*scores, *([min(agreement)] if agreement else [])]
    return float(round(prod(factors) ** (1 / len(factors)), 4))


def _names(witnesses: Sequence[Witness]) -> str:
    return "+".join(sorted(w.name for w in witnesses))


def _spelled(spans: Sequence[Span]) -> str:
    return " and ".join(f"[{s.start_s:.3f}, {s.end_s:.3f})" for s in spans) or "nowhere"


@dataclass(frozen=True, slots=True)
class Heard:
    """What all evidence says of one clip."""

    key: str
    listed: tuple[ListedEvent, ...]
    asked: tuple[Proposal, ...]
    events: tuple[Event, ...]
    tubes: tuple[Tube, ...]
    borrowed: tuple[BorrowedPhrase, ...]
    similar: tuple[Proposal, ...]
    similar_spans: tuple[tuple[Span, ...], ...]
    similarities: tuple[tuple[float, ...], ...]
    similar_frames_s: tuple[float, ...]
    switches: Switches | None

    @classmethod
    def of(cls, row: dict[str, Any]) -> Heard:
        def read(name: str, kind: Any) -> Any:
            return arrow.typed(kind, row.get(name) or [])

        return cls(
            key=row["key"],
            listed=read("listed", tuple[ListedEvent, ...]),
            asked=read("asked", tuple[Proposal, ...]),
            events=read("events", tuple[Event, ...]),
            tubes=read("tubes", tuple[Tube, ...]),
            borrowed=read("borrowed", tuple[BorrowedPhrase, ...]),
            similar=read("similar", tuple[Proposal, ...]),
            similar_spans=read("similar_spans", tuple[tuple[Span, ...], ...]),
            similarities=read("similarities", tuple[tuple[float, ...], ...]),
            similar_frames_s=read("similar_frames_s", tuple[float, ...]),
            switches=_switches(row),
        )

    def testimony(self, places: Sequence[int]) -> Testimony:
        """What is said of a clause that the list has at `places`, in one wording or several."""
        listed = [Proposal(LIST_LOCALISER, self.listed[i].span, UNMEASURED) for i in places]
        asked = [self.asked[i] for i in places]
        likes: list[Proposal] = []
        likely: list[Witness] = []
        if self.similar:
            spans = joined([s for i in places for s in self.similar_spans[i]])
            likes, likely = by_similarity([self.similar[i] for i in places], spans)
        phrase = self.listed[places[0]].phrase
        moves, moving = by_tubes(phrase, self.events, self.tubes)
        witnesses = (*teacher(listed, asked), *likely, *moving)
        return Testimony(phrase, (*listed, *asked, *likes, *moves), witnesses)

    def of_borrowed(self, one: BorrowedPhrase) -> Testimony:
        """What is said of a phrase that was listed of another clip."""
        asked = [p for p in one.proposals if p.localiser == ask_spans.LOCALISER]
        alike_to = [p for p in one.proposals if p.localiser == localise.LOCALISER]
        likes, likely = by_similarity(alike_to, [p.span for p in alike_to if p.span is not None])
        moves, moving = by_tubes(one.phrase, self.events, self.tubes)
        return Testimony(one.phrase, (*asked, *likes, *moves), (*teacher((), asked), *likely, *moving))

    def contrast(self, place: int, span: Span, said: Testimony) -> Contrast | None:
        """None without similarities."""
        if not self.similar:
            return None
        proposed = [p.span for p in said.proposals if p.span is not None]
        return contrast(self.similarities[place], self.similar_frames_s, span, proposed)


def _switches(row: dict[str, Any]) -> Switches | None:
    """None where tubes gave up (a moving camera, everything restless): a change then marks no beginning."""
    if row["changes"] is None or (row["tubes_note"] and not row["tubes"]):
        return None
    return Switches.of(arrow.typed(Changes, row["changes"]))
