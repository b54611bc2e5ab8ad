"""What is asked about a micro clip, answered from its truth: when, where, which first, and what happens.

    when_appear  when_arrive  when_depart    When is the red circle visible?      <time>
    when_move                                When does the red circle move?       <time>
    where_still  where_moving                Where is the red circle at <time>?   <box>
    order                                    Which came first, A or B?            A
    caption                                  What happens?                        all events, in drawn order

The task names the verb and `method` the number of things (`truth:objects=2`), because a pooled figure hides that one
verb is learned and another is not. One wording each: the smallest models are to learn to see, not to paraphrase.
"""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from reelmill.pipelines.scenes.micro import MicroClip, MicroPreset
from reelmill.schemas import arrow
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.keys import canonical_json, child_key, media_key, micros, seed_for
from reelmill.schemas.media import FrameRef, Kind, MediaRef, ShownFrame
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.span import Span
from reelmill.schemas.tube import Box, Tube
from reelmill.schemas.verdict import ACCEPTED

RENDERER = "micro-1"
FAMILY, STEP, LICENCE = "micro", "micro_samples", "CC0-1.0"
_JPEG_QUALITY = 95
"""With full colour resolution: halved chroma would smear a shape of six pixels into its ground."""
_CLIP_SIGNS = 20
"""Signs of a sample's key that are its clip's, so that samples of a clip lie side by side in the shards: 100 bits."""
TOLD = (EventKind.ENTERS, EventKind.LEAVES, EventKind.MOVES)
"""`stops` is left out: it goes without saying where a movement ends."""


@dataclass(frozen=True, slots=True)
class MicroFrames:
    """The stored frames of a clip: their JPEGs, and what is said of each."""

    jpegs: tuple[bytes, ...]
    shown: tuple[ShownFrame, ...]


def clip_digest(seed: int, index: int, preset: MicroPreset) -> str:
    """Identity of a clip: what it is drawn from, not the bytes that an encoder gives."""
    said = {"renderer": RENDERER, "seed": seed, "index": index, "parameters": arrow.plain(preset)}
    return hashlib.sha256(canonical_json(said).encode()).hexdigest()


def clip_key(digest: str) -> str:
    """Key of the clip that a digest names."""
    return child_key(media_key(digest), "clip", 0)


def stored(clip: MicroClip) -> MicroFrames:
    """Every frame of a clip as JPEG."""
    jpegs = tuple(_jpeg(Image.fromarray(frame)) for frame in clip.frames)
    height_px, width_px = clip.frames.shape[1:3]
    shown = tuple(
        ShownFrame(i, at_s, width_px, height_px, hashlib.sha256(jpeg).hexdigest(), 0, len(jpeg))
        for i, (at_s, jpeg) in enumerate(zip(clip.at_s, jpegs, strict=True))
    )
    return MicroFrames(jpegs, shown)


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True)
    return out.getvalue()


def samples(clip: MicroClip, frames: MicroFrames, digest: str, seed: int, dataset: str, boxes: int = 1) -> list[Sample]:
    """All samples of a clip with a tube or more, by rising key. A sample depends on (seed, clip, task) alone. A thing's
    box is asked for in as many as `boxes` frames that show it. A label's method and confidence are those of tubes."""
    made = _Asked(clip, frames, digest, seed, dataset, boxes)
    return sorted(made.samples(), key=lambda s: s.key)


class _Asked:
    """The questions about one clip."""

    def __init__(self, clip: MicroClip, frames: MicroFrames, digest: str, seed: int, dataset: str, boxes: int) -> None:
        self.clip, self.key, self.seed, self.boxes = clip, clip_key(digest), seed, boxes
        height_px, width_px = clip.frames.shape[1:3]
        span = Span(0.0, clip.duration_s)
        self.media = MediaRef("", digest, Kind.VIDEO, width_px, height_px, clip.duration_s, span, LICENCE)
        self.frames = tuple(FrameRef(dataset, self.key, f.frame, f.at_s, f.sha256) for f in frames.shown)
        self.method = clip.tubes[0].method
        self.link = Provenance(STEP, self.method, RENDERER, "", "", seed, digest, "every frame", dataset)
        self.edges_s = (*clip.at_s, clip.duration_s)

    def samples(self) -> Iterator[Sample]:
        """Each question that the clip has an answer to."""
        for tube in self.clip.tubes:
            yield from self._when(tube)
            yield from self._where(tube)
        yield from self._order()
        if told := [e for e in self.clip.events if e.kind in TOLD]:
            yield self._caption(told)

    def _of(self, tube: Tube) -> dict[EventKind, Event]:
        return {e.kind: e for e in self.clip.events if e.subject_id == tube.tube_id}

    def _when(self, tube: Tube) -> Iterator[Sample]:
        events = self._of(tube)
        if moves := events.get(EventKind.MOVES):
            yield self._spanned("when_move", f"When does {tube.phrase} move?", moves.span, [moves])
        enters, leaves = EventKind.ENTERS in events, EventKind.LEAVES in events
        if enters or leaves:
            act = "appear" if enters and leaves else "arrive" if enters else "depart"
            span = Span(tube.at_s[0], tube.end_s)
            yield self._spanned(f"when_{act}", f"When is {tube.phrase} visible?", span, list(events.values()))

    def _spanned(self, task: str, question: str, span: Span, events: Sequence[Event]) -> Sample:
        answer = Turn(Role.ASSISTANT, "<time>", (), (span.start_s, span.end_s), ())
        return self._sample(task, events[0].subject, _asked(question), answer, events)

    def _where(self, tube: Tube) -> Iterator[Sample]:
        """At drawn frames that show it; a frame is half open, like every span."""
        shown = range(len(tube.at_s))
        for number, at in enumerate(self._draw(f"where {tube.tube_id}").sample(shown, min(self.boxes, len(shown)))):
            yield self._box(tube, at, f"{tube.phrase} {number}" if number else tube.phrase)

    def _box(self, tube: Tube, at: int, name: str) -> Sample:
        first = self.edges_s.index(tube.at_s[at])
        src_s = (self.edges_s[first], self.edges_s[first + 1])
        moves = self._of(tube).get(EventKind.MOVES)
        moving = moves is not None and moves.span.start_s <= src_s[0] < moves.span.end_s
        question = Turn(Role.USER, f"Where is {tube.phrase} at <time>?", src_s, (), ())
        answer = Turn(Role.ASSISTANT, "<box>", (), (), (_inside(tube, at),))
        return self._sample("where_moving" if moving else "where_still", name, question, answer, ())

    def _order(self) -> Iterator[Sample]:
        """Two things that begin something at least two frames apart, named in drawn order."""
        draw = self._draw("order")
        told = [e for e in self.clip.events if e.kind in TOLD]
        apart = 2 * self.edges_s[1]
        pairs = [
            (a, b)
            for a in told
            for b in told
            if a.subject_id != b.subject_id and b.span.start_s - a.span.start_s >= apart
        ]
        if pairs:
            first, then = draw.choice(pairs)
            one, other = (first, then) if draw.random() < 0.5 else (then, first)
            question = _asked(f"Which came first: {one.phrase} or {other.phrase}?")
            answer = Turn(Role.ASSISTANT, sentence(first), (), (), ())
            yield self._sample("order", "", question, answer, (first, then))

    def _caption(self, told: Sequence[Event]) -> Sample:
        """In drawn order, so that nothing about order is learned from it: preference over orders starts at chance."""
        events = list(told)
        self._draw("caption").shuffle(events)
        answer = Turn(Role.ASSISTANT, " ".join(sentence(e) for e in events), (), (), ())
        return self._sample("caption", "", _asked("What happens?"), answer, events)

    def _draw(self, name: str) -> random.Random:
        return random.Random(seed_for(self.seed, self.key, name))

    def _sample(self, task: str, of: str, question: Turn, answer: Turn, events: Sequence[Event]) -> Sample:
        return Sample(
            key=self.key[:_CLIP_SIGNS] + child_key(self.key, "sample", task, of)[: len(self.key) - _CLIP_SIGNS],
            parent_key=self.key,
            family=FAMILY,
            task=task,
            media=self.media,
            frames=self.frames,
            turns=(question, answer),
            evidence=tuple(self._event_key(e) for e in events),
            label_confidence=min(t.confidence for t in self.clip.tubes),
            method=f"{self.method}:objects={len(self.clip.tubes)}",
            provenance=(self.link,),
            verdict=ACCEPTED,
        )

    def _event_key(self, event: Event) -> str:
        place = micros(event.span.start_s), micros(event.span.end_s)
        return child_key(self.key, "event", str(event.kind), event.subject_id, *place)


def _asked(question: str) -> Turn:
    return Turn(Role.USER, question, (), (), ())


def sentence(event: Event) -> str:
    return f"{event.phrase[:1].upper()}{event.phrase[1:]}."


def _inside(tube: Tube, at: int) -> Box:
    return tube.boxes[at].clipped(tube.frame_width_px, tube.frame_height_px)
