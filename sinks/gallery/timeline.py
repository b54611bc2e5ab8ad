"""The time-line of a sample: what is asked, answered, followed or said when, and what the evidence proposed.

Spans of one kind that overlap stand on lanes of their own, so that none hides another.

>>> [[s.start_s for s in lane] for lane in lanes([Span(0, 2), Span(1, 3), Span(2, 4)])]
[[0, 2], [1]]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from reelmill.schemas.sample import GroundedSample, PreferenceSample, Role, Sample, StreamSample
from reelmill.schemas.span import Span
from reelmill.sinks.gallery.words import seconds

_WIDE_PC = 4.0
"""A band at least this wide has room for its number."""
_TOLD = 2
"""So many spans of a line are written out beside its name; more are read at the bands and in the words."""


@dataclass(frozen=True, slots=True)
class Band:
    """One bar of a time-line, in seconds and percent. `kind` is src, tgt, tube, spoke, silence,
    accepted or rejected; `mark` its number or tube."""

    kind: str
    start_s: float
    end_s: float
    left_pc: float
    width_pc: float
    mark: str = ""

    @property
    def roomy(self) -> bool:
        return self.width_pc >= _WIDE_PC


@dataclass(frozen=True, slots=True)
class Track:
    """One line of a time-line; `head` opens a group (an event), `note` says what a person should know of the line.

    `evidence` says that it shows what the label rests on, and not what the sample says.
    """

    head: str
    name: str
    note: str
    bands: tuple[Band, ...]
    evidence: bool = False

    @property
    def times(self) -> str:
        """Its bands in words, for whoever does not see them."""
        if self.bands and self.bands[0].kind == "spoke":
            return ", ".join(f"at {b.start_s:.2f} s" for b in self.bands)
        return ", ".join(seconds(b.start_s, b.end_s) for b in self.bands) or self.note


def spans(times: Sequence[float]) -> list[Span]:
    """The pairs of a turn's times that are intervals."""
    pairs = zip(times[::2], times[1::2], strict=False)
    return [Span(s, e) for s, e in pairs if 0.0 <= s < e]


def percent(at_s: float, sample: Sample) -> float:
    """Where an instant lies, from 0 to 100; 0 of a medium without duration."""
    duration_s = sample.media.duration_s
    return round(min(max(at_s / duration_s, 0.0), 1.0) * 100, 3) if duration_s > 0 else 0.0


def lanes(found: Iterable[Span]) -> list[list[Span]]:
    """Spans on as few lines as show each one whole: in order, each on the first line whose last one has ended."""
    lines: list[list[Span]] = []
    for span in found:
        free = next((line for line in lines if line[-1].end_s <= span.start_s), None)
        if free is None:
            lines.append([span])
        else:
            free.append(span)
    return lines


def tracks(sample: Sample, events: Sequence[dict[str, Any]]) -> tuple[Track, ...]:
    """What the sample says, then a group for each event with every localiser's proposal."""
    return (*_said(sample), *_own(sample), *(track for event in events for track in _proposed(event, sample)))


def _band(kind: str, start_s: float, end_s: float, sample: Sample, mark: str = "") -> Band:
    left, right = percent(start_s, sample), percent(end_s, sample)
    return Band(kind, start_s, end_s, left, round(max(right - left, 0.4), 3), mark)


def _lined(name: str, kind: str, found: Sequence[Span], sample: Sample) -> Iterator[Track]:
    """One line for each lane. Spans are numbered as the words count them, where there are several."""
    numbers = {id(span): str(i + 1) for i, span in enumerate(found)} if len(found) > 1 else {}
    told = ", ".join(seconds(s.start_s, s.end_s) for s in found) if len(found) <= _TOLD else f"{len(found)} spans"
    for i, lane in enumerate(lanes(sorted(found, key=lambda s: (s.start_s, s.end_s)))):
        bands = tuple(_band(kind, s.start_s, s.end_s, sample, numbers.get(id(s), "")) for s in lane)
        yield Track("", "" if i else name, "" if i else told, bands)


def _said(sample: Sample) -> Iterator[Track]:
    pair = isinstance(sample, PreferenceSample)
    for name, kind in (("asked", "src"), ("chosen" if pair else "answered", "tgt")):
        found = [s for t in sample.turns for s in spans(t.src_s if kind == "src" else t.tgt_s)]
        yield from _lined(name, kind, found, sample)


def _own(sample: Sample) -> Iterator[Track]:
    """What only some kinds of sample say of times: the rejected side of a pair, tubes, and when turns are said."""
    if isinstance(sample, PreferenceSample):
        yield from _lined("rejected", "rejected", [s for t in sample.rejected for s in spans(t.tgt_s)], sample)
    if isinstance(sample, GroundedSample):
        for n, tube in enumerate(sample.tubes, 1):
            for span in spans((min(tube.at_s, default=0.0), tube.end_s)):
                note = seconds(span.start_s, span.end_s)
                yield Track("", f"tube T{n}", note, (_band("tube", span.start_s, span.end_s, sample, f"T{n}"),))
    if isinstance(sample, StreamSample):
        yield from _streamed(sample)


def _streamed(sample: StreamSample) -> Iterator[Track]:
    for role, name in ((Role.USER, "user speaks"), (Role.ASSISTANT, "assistant speaks")):
        said_s = [s for t, s in zip(sample.turns, sample.turns_at_s, strict=True) if t.role is role]
        bands = tuple(_band("spoke", s, s, sample, str(n)) for n, s in enumerate(said_s, 1))
        note = ", ".join(f"{s:.2f} s" for s in said_s) if len(said_s) <= _TOLD else f"{len(said_s)} times"
        yield Track("", name, note, bands)
    silent = silences(sample)
    note = f"{sum(s.duration_s for s in silent):.2f} s to be silent"
    yield Track("", "silence", note, tuple(_band("silence", s.start_s, s.end_s, sample) for s in silent))


def silences(sample: StreamSample) -> list[Span]:
    """What lies between the turns of a stream, and between them and the ends of the time in which it is watched."""
    inside = [t for t in sample.turns_at_s if sample.watch_from_s < t < sample.watch_until_s]
    edges = [sample.watch_from_s, *inside, sample.watch_until_s]
    return [Span(a, b) for a, b in pairwise(edges) if a < b]


def _proposed(event: dict[str, Any], sample: Sample) -> Iterator[Track]:
    kind = "accepted" if event["verdict"]["state"] == "accepted" else "rejected"
    head = f"{event['phrase']}: {kind}" + (f", {event['verdict']['reason']}" if kind == "rejected" else "")
    for i, proposal in enumerate(event["proposals"]):
        span = Span(**proposal["span"]) if proposal["span"] else None
        note = f"score {proposal['score']:.2f}" if span else "found nothing"
        bands = (_band(kind, span.start_s, span.end_s, sample),) if span else ()
        yield Track("" if i else head, proposal["localiser"], note, bands, evidence=True)
