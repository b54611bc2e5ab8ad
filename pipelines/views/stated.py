"""From events that somebody stated to dialogues about time, in that person's own sentences.

The forms are those of `views.happenings`, and so is the rule: what the evidence leaves open is refused with its reason.

    unsettled       the same sentence is stated of a time that was not accepted, or (of a timeline) any event was not
    ambiguous_span  another sentence is about nearly the same interval, so "what happens then" has two answers

Nothing is denied: people who annotate a video leave out what they do not care for, so what they do not say may well be
there. For the same reason "everything in order" is asked only of sets that are meant to be complete (`dense`).

    event   "a child leans on a bicycle." [15.3, 17.0)
    sample  Q 'When does this happen: "a child leans on a bicycle."'  A "At <time>."  tgt_s (15.3, 17.0)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from reelmill.annotators.events import EVENTS
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.happenings import ClipView, Happening
from reelmill.pipelines.views.phrasing import defused
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.sample import Sample
from reelmill.schemas.verdict import Verdict


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
    revision: ClassVar[str] = "2"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        events = [e for e in arrow.typed(tuple[Event, ...], row["events"]) if e.kind is EventKind.STATED]
        if not any(e.verdict.accepted for e in events):
            raise Unusable("no_accepted_event", f"{len(events)} stated, none accepted")
        view = _Sentences(self, self.material(row), events, self.ambiguous_tiou)
        found = [*view.times(), *(view.timelines() if self.dense else ())]
        return {"samples": tuple(sorted(found, key=lambda s: s.key))}


class _Sentences(ClipView):
    """The samples of one clip, in the forms of every view of times. Events of one sentence (but for case and spaces)
    are one happening, whoever says it."""

    def known(self, event: Event) -> Event:
        return replace(event, subject=_folded(event.phrase))

    def words_of(self, event: Event) -> dict[str, str]:
        return {"sentence": defused(event.phrase)}

    def named_alone(self, happening: Happening) -> Verdict | None:
        """Always: "a dog" says less than "a dog runs", but what is quoted stands for itself."""

    def timelines(self) -> Iterator[Sample]:
        """A timeline for each account: two people's accounts of one video, told as one, would tell things twice."""
        by_account: dict[str, list[Event]] = defaultdict(list)
        for event in self.events:
            by_account["+".join(p.localiser for p in event.proposals)].append(event)
        for account, events in sorted(by_account.items()):
            if any(e.verdict.accepted for e in events):
                yield self.dense_caption(events, 1.0, account)


def _folded(sentence: str) -> str:
    return " ".join(sentence.casefold().rstrip(" .!").split())
