"""State changes of a clip: when each thing begins and ends what it does, and how sure of it the evidence is.

A change is a start or an end that can be seen: neither the clip's first instant nor its end, for what began before or
goes on after is not in the clip.

>>> from reelmill.schemas.event import EventKind
>>> walk = Stretch("the dog", "t1", EventKind.MOVES, Span(1.0, 6.0), ())
>>> [(c.at_s, c.starts) for c in changes([walk], until_s=6.0)]
[(1.0, True)]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reelmill.pipelines.views.happenings import claims, united
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.span import Span

_END_S = 1e-3
"""What is nearer than this to the clip's end is that end: no frame is so short, and times are rounded on their way."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One thing does one kind of thing throughout `span`; `events` are those that say so."""

    subject: str
    subject_id: str
    kind: EventKind
    span: Span
    events: tuple[Event, ...]

    def at(self, at_s: float) -> bool:
        """Whether it is going on at an instant."""
        return self.span.start_s <= at_s < self.span.end_s


@dataclass(frozen=True, slots=True)
class Change:
    """A stretch begins (`starts`) or ends at `at_s`."""

    at_s: float
    starts: bool
    stretch: Stretch


def stretches(events: Iterable[Event]) -> tuple[Stretch, ...]:
    """Events of one thing and kind as stretches that do not touch, in order of their start."""
    groups: dict[tuple[str, str, EventKind], list[Event]] = defaultdict(list)
    for event in events:
        groups[event.subject, event.subject_id, event.kind].append(event)
    found = [
        Stretch(*name, span, tuple(e for e in group if e.span.overlap_s(span) > 0))
        for name, group in groups.items()
        for span in united(e.span for e in group)
    ]
    return tuple(sorted(found, key=lambda s: (s.span.start_s, s.span.end_s, s.subject, s.subject_id, s.kind)))


def changes(of: Iterable[Stretch], until_s: float) -> tuple[Change, ...]:
    """Every start and end inside the clip, which ends at `until_s`, in order; of one instant ends first."""
    both = [Change(t, starts, s) for s in of for t, starts in ((s.span.start_s, True), (s.span.end_s, False))]
    seen = [c for c in both if 0.0 < c.at_s < until_s - _END_S]
    return tuple(sorted(seen, key=lambda c: (c.at_s, c.starts, c.stretch.subject, c.stretch.subject_id)))


def doubtful_s(events: Iterable[Event]) -> tuple[float, ...]:
    """Every instant at which something begins or ends, or does so in the eyes of some localiser. Rising."""
    spans = [s for e in events for s in (*claims(e), *(p.span for p in e.proposals if p.span is not None))]
    return tuple(sorted({t for s in spans for t in (s.start_s, s.end_s)}))


def apart_s(events: Sequence[Event]) -> float | None:
    """The most by which a localiser places an end of one of the events elsewhere, in seconds; None where there is no
    event that a second localiser found too."""
    seconds = [(e.span, p.span) for e in events for p in e.proposals if p.span is not None and p.span != e.span]
    if not any(len([p for p in e.proposals if p.span is not None]) > 1 for e in events):
        return None
    gaps = [max(abs(a.start_s - b.start_s), abs(a.end_s - b.end_s)) for a, b in seconds]
    return max(gaps, default=0.0)


def clear_of(at_s: float, doubtful: Sequence[float], guard_s: float) -> bool:
    """Whether an instant is at least `guard_s` away from every doubtful one."""
    return all(abs(at_s - t) >= guard_s for t in doubtful)
