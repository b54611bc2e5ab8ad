"""From events that somebody stated to dialogues about time, in that person's own sentences.

The tasks are those of `views.grounding`, and so is the rule: what the evidence leaves open is refused with its reason.

    unsettled       the same sentence is stated of a time that was not accepted, or (of a timeline) any event was not
    ambiguous_span  another sentence is about nearly the same interval, so "what happens then" has two answers

Nothing is denied: people who annotate a video leave out what they do not care for, so what they do not say may well be
there. For the same reason "everything in order" is asked only of sets that are meant to be complete (`dense`).

    event   "a child leans on a bicycle." [15.3, 17.0)
    sample  Q 'When does this happen: "a child leans on a bicycle."'  A "At <time>."  tgt_s (15.3, 17.0)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from reelmill.annotators.annotator import step_name
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.grounding import DENSE_CAPTION, GROUNDING, SPAN_CAPTION
from reelmill.pipelines.views.happenings import FAMILY, united
from reelmill.pipelines.views.phrasing import (
    TIME,
    Label,
    Material,
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

EVENTS = Column.of("events", tuple[Event, ...])


@dataclass(frozen=True, kw_only=True)
class CompileStated(Worded):
    """Samples of one clip from its stated events. A row without an accepted one is refused.

    `ambiguous_tiou`: a span is not asked about where another sentence's overlaps it this much. `dense`: the sentences
    are meant to tell all of the video, so that a timeline may be asked for.
    """

    ambiguous_tiou: float = 0.5
    dense: bool = False
    phrasings: str = "stated"
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, EVENTS, BASE, PROVENANCE)
    looked_at: ClassVar[str] = "stated events of the clip"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        events = [e for e in arrow.typed(tuple[Event, ...], row["events"]) if e.kind is EventKind.STATED]
        if not any(e.verdict.accepted for e in events):
            raise Unusable("no_accepted_event", f"{len(events)} stated, none accepted")
        view = _Sentences(self, self.material(row), events)
        return {"samples": tuple(sorted(view.samples(), key=lambda s: s.key))}


class _Sentences:
    """The samples of one clip. Events of one sentence (but for case and spaces) are one happening, whoever says it."""

    def __init__(self, step: CompileStated, clip: Material, events: Sequence[Event]) -> None:
        self.step, self.clip = step, clip
        self.events = sorted(events, key=lambda e: (e.span.start_s, e.span.end_s, e.phrase, e.key))
        self.of: dict[str, list[Event]] = defaultdict(list)
        for event in self.events:
            self.of[_folded(event.phrase)].append(event)

    def samples(self) -> Iterator[Sample]:
        for told, events in self.of.items():
            accepted = [e for e in events if e.verdict.accepted]
            if accepted:
                yield self.grounding(told, events, accepted)
                yield from self.span_captions(told, accepted)
        if self.step.dense:
            yield from self.dense_captions()

    def grounding(self, told: str, events: Sequence[Event], accepted: Sequence[Event]) -> Sample:
        """When is that? All the times of a sentence; refused while one of them is not settled."""
        key = sample_key(self.clip.key, FAMILY, GROUNDING, "stated", told)
        spans = united(e.span for e in accepted)
        words = {"sentence": defused(accepted[0].phrase), "times": listed([TIME] * len(spans))}
        question = Turn(Role.USER, self.worded("grounding.question", key, words), (), (), ())
        answer = Turn(Role.ASSISTANT, self.worded("grounding.answer", key, words), (), _flat(spans), ())
        return self.sample(key, GROUNDING, (question, answer), accepted, self._settled(events))

    def span_captions(self, told: str, accepted: Sequence[Event]) -> Iterator[Sample]:
        """What happens then? One sample per interval of the sentence."""
        for span in dict.fromkeys(e.span for e in accepted):
            place = micros(span.start_s), micros(span.end_s)
            key = sample_key(self.clip.key, FAMILY, SPAN_CAPTION, "stated", told, *place)
            named = [e for e in accepted if e.span == span]
            words = {"sentence": defused(named[0].phrase)}
            question = Turn(Role.USER, self.worded("span_caption.question", key, {}), _flat([span]), (), ())
            answer = Turn(Role.ASSISTANT, self.worded("span_caption.answer", key, words), (), (), ())
            yield self.sample(key, SPAN_CAPTION, (question, answer), named, self._alone(told, span))

    def dense_captions(self) -> Iterator[Sample]:
        """A timeline for each account: two people's accounts of one video, told as one, would tell things twice."""
        by_account: dict[str, list[Event]] = defaultdict(list)
        for event in self.events:
            by_account["+".join(p.localiser for p in event.proposals)].append(event)
        for account, events in sorted(by_account.items()):
            if any(e.verdict.accepted for e in events):
                yield self.dense_caption(account, events)

    def dense_caption(self, account: str, events: Sequence[Event]) -> Sample:
        """Everything in order; refused while anything of the account is not settled."""
        key = sample_key(self.clip.key, FAMILY, DENSE_CAPTION, "stated", account)
        accepted = [e for e in events if e.verdict.accepted]
        lines = {(e.span, _folded(e.phrase)): e for e in reversed(accepted)}
        named = sorted(lines.values(), key=lambda e: (e.span.start_s, e.span.end_s, e.phrase))
        told = [self.worded("dense_caption.line", key, {"sentence": defused(e.phrase)}) for e in named]
        question = Turn(Role.USER, self.worded("dense_caption.question", key, {}), (), (), ())
        answer = Turn(Role.ASSISTANT, "\n".join(told), (), _flat(e.span for e in named), ())
        return self.sample(key, DENSE_CAPTION, (question, answer), accepted, self._settled(events))

    def worded(self, path: str, key: str, words: dict[str, str]) -> str:
        return self.step.wording.pick(path, seed_for(self.step.seed, key, path), **words)

    def _settled(self, events: Sequence[Event]) -> Verdict | None:
        open_ = [e for e in events if not e.verdict.accepted]
        if not open_:
            return None
        why = ", ".join(sorted({e.verdict.reason for e in open_}))
        return rejected(step_name(self.step), "unsettled", f"{len(open_)} of {len(events)} times: {why}")

    def _alone(self, told: str, span: Span) -> Verdict | None:
        for other, events in self.of.items():
            rival = max((e.span.tiou(span) for e in events), default=0.0)
            if other != told and rival >= self.step.ambiguous_tiou:
                return rejected(step_name(self.step), "ambiguous_span", f"{other!r} overlaps it with tIoU {rival:.2f}")
        return None

    def sample(
        self, key: str, task: str, turns: tuple[Turn, ...], named: Sequence[Event], verdict: Verdict | None
    ) -> Sample:
        label = Label(
            evidence=tuple(e.key for e in named),
            confidence=min(e.confidence for e in named),
            method=joined_methods(e.method for e in named),
            verdict=verdict or ACCEPTED,
        )
        return sample(self.clip, key, FAMILY, task, self.clip.frames, turns, label)


def _folded(sentence: str) -> str:
    return " ".join(sentence.casefold().rstrip(" .!").split())


def _flat(spans: Iterable[Span]) -> tuple[float, ...]:
    return tuple(t for span in spans for t in (span.start_s, span.end_s))
