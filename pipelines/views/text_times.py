"""From texts over time to questions with times: when is it on screen, what is, what comes next, for how long.

LLaVAR and the sets after it know pictures alone. A track's start and end are known to within one stored frame, so a
question whose answer depends on less is refused. Refusals:

    no_text         no text was followed in the clip
    text_stays      every text is on screen from the first frame to the last, so nothing can be asked of time
    unsettled       (a sample) the answer depends on what lies between two stored frames, or on lines dropped as unsure
    ambiguous_text  (a sample) the words fit another text of the clip too

    tracks  "OPENING" [0, 2.0)   "CHAPTER 2" [2.0, 6.0)
    sample  Q 'When is "CHAPTER 2" on screen?'  A "It is shown at <time>."  tgt_s (2.0, 6.0)
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from reelmill.annotators.annotator import step_name
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.annotators.text import READ, TRACKS, UNSURE
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.checks import normalised, occurs
from reelmill.pipelines.views.happenings import united
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
from reelmill.pipelines.views.transcription import FAMILY, TEXT_ENGINE, says_much
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.keys import micros, seed_for
from reelmill.schemas.media import ShownFrame
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.text import TextTrack
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

WHEN, AT, AFTER, DURATION = "text_when", "text_at", "text_after", "text_duration"
_EDGE_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class CompileTextTimes(Worded):
    """Samples of one clip from its texts over time.

    A text is asked about when read as surely as `confidence_min`; two texts whose likeness (`difflib`) reaches
    `same_text` may be two readings of one. A stretch is asked about from `stretch_min_s` on. A length in seconds is
    told where it is at least `duration_min_s`, and known to within `duration_doubt` of itself.
    """

    confidence_min: float = 0.9
    same_text: float = 0.8
    stretch_min_s: float = 0.5
    duration_min_s: float = 3.0
    duration_doubt: float = 0.34
    phrasings: str = "text_times"
    needs: ClassVar[tuple[Column, ...]] = (
        *(KEY, MEDIA, FRAMES, BASE, PROVENANCE),
        *(TRACKS, TEXT_ENGINE, READ, UNSURE),
    )
    looked_at: ClassVar[str] = "texts over the shown frames"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        clip = self.material(row, row["text_engine"])
        tracks = arrow.typed(tuple[TextTrack, ...], row["text_tracks"])
        shown = [_Shown(i, t, defused(t.text), clip.duration_s) for i, t in enumerate(tracks)]
        shown = [one for one in shown if one.text]
        if not shown:
            raise Unusable("no_text", f"0 texts followed through {len(clip.frames)} shown frame(s)")
        if all(one.stays for one in shown):
            raise Unusable("text_stays", f"{len(shown)} text(s), all from the first frame to the last")
        read = set(row["text_frames"])
        read_s = [f.at_s for f in clip.frames if f.frame in read]
        view = _View(self, clip, shown, read_s, row["text_unsure"])
        samples = tuple(sorted(view.samples(), key=lambda s: s.key))
        if not samples:
            raise Unusable("no_question", f"{len(shown)} text(s), none sure and long enough to ask about")
        return {"samples": samples}


@dataclass(frozen=True, slots=True)
class _Shown:
    """A track with its harmless text. `number` is its place among the clip's tracks."""

    number: int
    track: TextTrack
    text: str
    duration_s: float

    @property
    def start_zone(self) -> tuple[float, float]:
        """The true start lies in it; of no length where the text is there from the clip's first frame on."""
        start_s = self.track.span.start_s
        after_s = self.track.start_after_s
        return (start_s if after_s is None else after_s), start_s

    @property
    def end_zone(self) -> tuple[float, float]:
        """The true end lies in it; of no length where the text stays to the end of the clip."""
        end_s = min(self.track.span.end_s, self.duration_s)
        return (end_s if end_s >= self.duration_s - _EDGE_S else self.track.seen_until_s), end_s

    @property
    def span(self) -> Span:
        return Span(self.track.span.start_s, self.end_zone[1])

    @property
    def stays(self) -> bool:
        return self.track.start_after_s is None and self.end_zone[0] == self.end_zone[1]

    @property
    def sure_s(self) -> float:
        """How long it is shown at the least."""
        return self.end_zone[0] - self.start_zone[1]

    @property
    def doubt_s(self) -> float:
        """How much longer it may be shown."""
        return sum(b - a for a, b in (self.start_zone, self.end_zone))


class _View:
    """The samples of one clip. Wordings are drawn per sample, so that no sample depends on another."""

    def __init__(
        self, step: CompileTextTimes, clip: Material, shown: Sequence[_Shown], read_s: Sequence[float], unsure: int
    ) -> None:
        self.step, self.clip, self.shown, self.read_s, self.unsure = step, clip, shown, read_s, unsure
        groups: dict[str, list[_Shown]] = defaultdict(list)
        for one in shown:
            groups[normalised(one.text)].append(one)
        self.named = {words: found for words, found in sorted(groups.items()) if self._asks_well(found)}

    def _asks_well(self, found: Sequence[_Shown]) -> bool:
        text = found[0].text
        sure = all(one.track.confidence >= self.step.confidence_min for one in found)
        return sure and says_much(text) and '"' not in text

    def samples(self) -> Iterator[Sample]:
        for words, found in self.named.items():
            if not all(one.stays for one in found):
                yield self.when(words, found)
            if len(found) == 1:
                yield from self.after(words, found[0])
                yield from self.duration(words, found[0])
        yield from self.at()

    def when(self, words: str, found: Sequence[_Shown]) -> Sample:
        """When is it on screen? All of its times; unsettled where one of them may be shorter than its doubt."""
        spans = united(one.span for one in found)
        key = self.key(WHEN, words)
        brief = [one for one in found if one.sure_s < one.doubt_s]
        open_ = f"shown for {brief[0].sure_s:.2f} s, perhaps {brief[0].doubt_s:.2f} s more" if brief else ""
        told = {"text": found[0].text, "times": listed([TIME] * len(spans))}
        return self.sample(key, WHEN, told, found, self._other(words) or self._unsettled(open_), answer=spans)

    def after(self, words: str, one: _Shown) -> Iterator[Sample]:
        """What appears next after it has appeared?"""
        later = sorted((o for o in self.shown if o.span.start_s > one.span.start_s), key=lambda o: o.span.start_s)
        if not later or not self._asks_well([later[0]]):
            return
        following = later[0]
        key = self.key(AFTER, words)
        told = {"text": one.text, "answer": following.text}
        verdict = self._other(words) or self._unsettled(self._order(one, following) or self._dropped())
        yield self.sample(key, AFTER, told, (one, following), verdict)

    def _order(self, one: _Shown, following: _Shown) -> str:
        """Why it is open which text comes next: a third one begins within a stored frame of either."""
        for other in self.shown:
            if other is not one and _meet(other.start_zone, one.start_zone):
                return f"{other.text!r} begins within one stored frame of {one.text!r}"
            if other is not following and other is not one and _meet(other.start_zone, following.start_zone):
                return f"{other.text!r} begins within one stored frame of {following.text!r}"
        return ""

    def duration(self, words: str, one: _Shown) -> Iterator[Sample]:
        """For how long is it shown? In whole seconds, from the middle of what is possible."""
        seconds = round(one.sure_s + one.doubt_s / 2)
        if one.stays or seconds < self.step.duration_min_s:
            return
        wide = one.doubt_s > self.step.duration_doubt * seconds
        open_ = f"between {one.sure_s:.2f} and {one.sure_s + one.doubt_s:.2f} s" if wide else ""
        told = {"text": one.text, "seconds": str(seconds)}
        verdict = self._other(words) or self._unsettled(open_)
        yield self.sample(self.key(DURATION, words), DURATION, told, (one,), verdict)

    def at(self) -> Iterator[Sample]:
        """What is on screen throughout this stretch? Stretches in which no text may begin or end, with a read frame."""
        for stretch in self.stretches():
            there = [o for o in self.shown if o.span.start_s <= stretch.start_s and stretch.end_s <= o.end_zone[0]]
            read = any(stretch.start_s <= t < stretch.end_s for t in self.read_s)
            if not there or not read or stretch.end_s - stretch.start_s < self.step.stretch_min_s:
                continue
            there.sort(key=lambda o: (o.track.sightings[0].box.y0_px, o.track.sightings[0].box.x0_px))
            key = self.key(AT, micros(stretch.start_s), micros(stretch.end_s))
            told = {"answer": "\n".join(o.text for o in there)}
            unsure = [o.text for o in there if o.track.confidence < self.step.confidence_min]
            open_ = self._dropped() or (f"{unsure[0]!r} was not surely read" if unsure else "")
            yield self.sample(key, AT, told, there, self._unsettled(open_), asked=(stretch,))

    def stretches(self) -> list[Span]:
        """The clip without the times in which a text may begin or end."""
        zones = sorted(zone for one in self.shown for zone in (one.start_zone, one.end_zone))
        found, free_s = [], 0.0
        for start_s, end_s in [*zones, (self.clip.duration_s, self.clip.duration_s)]:
            if start_s > free_s:
                found.append(Span(free_s, start_s))
            free_s = max(free_s, end_s)
        return found

    def _dropped(self) -> str:
        return f"{self.unsure} line(s) dropped as unsure" if self.unsure else ""

    def _unsettled(self, why: str) -> Verdict | None:
        return rejected(step_name(self.step), "unsettled", why) if why else None

    def _other(self, words: str) -> Verdict | None:
        """Another text that the words fit too, or that may be another reading of them."""
        for other in self.shown:
            theirs = normalised(other.text)
            if theirs != words and (occurs(other.text, words) or self._alike(words, theirs)):
                return rejected(step_name(self.step), "ambiguous_text", f"{words!r} also fits {other.text!r}")
        return None

    def _alike(self, one: str, other: str) -> bool:
        return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() >= self.step.same_text

    def key(self, task: str, *identity: str | int) -> str:
        return sample_key(self.clip.key, FAMILY, task, *identity)

    def sample(
        self,
        key: str,
        task: str,
        words: dict[str, str],
        found: Sequence[_Shown],
        verdict: Verdict | None,
        *,
        asked: Sequence[Span] = (),
        answer: Sequence[Span] = (),
    ) -> Sample:
        wording, seed = self.step.wording, self.step.seed
        question = wording.pick(f"{task}.question", seed_for(seed, key, "question"), **words)
        told = wording.pick(f"{task}.answer", seed_for(seed, key, "answer"), **words)
        turns = (Turn(Role.USER, question, _flat(asked), (), ()), Turn(Role.ASSISTANT, told, (), _flat(answer), ()))
        label = Label(
            evidence=tuple(f"track{one.number}" for one in found),
            confidence=min(one.track.confidence for one in found),
            method=joined_methods(one.track.method for one in found),
            verdict=verdict or ACCEPTED,
        )
        frames: Sequence[ShownFrame] = self.clip.frames
        return sample(self.clip, key, FAMILY, task, frames, turns, label)


def _meet(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two zones share a time. Two texts that are there from the first frame on begin together for certain."""
    if one[0] == one[1] or other[0] == other[1]:
        return False
    return one[0] < other[1] and other[0] < one[1]


def _flat(spans: Iterable[Span]) -> tuple[float, ...]:
    return tuple(t for span in spans for t in (span.start_s, span.end_s))
