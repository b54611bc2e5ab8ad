"""Samples to documents: token ids, what is learned of them, branches, slots, and which frames are shown.

One beginning and its continuations (training/documents.py):

    dialogue            branch 0  opening and medium        branch 1  questions and answers
    pair                branch 0  all that both sides share branch 1  chosen    branch 2  rejected
    several of a clip   branch 0  opening and medium        branch k  the k-th sample's dialogue
    stream              branch 0  frames one by one, with what is said behind each (training/data/live.py)

Learned are answers and the mark that ends each; never the first token of a branch, whose predecessor lies elsewhere.
The whole of each path is tokenised at once, as a chat template does it, and cut where the branches part.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import takewhile
from typing import Any

import numpy as np

from reelmill.schemas.errors import BadInput
from reelmill.schemas.media import Kind
from reelmill.schemas.sample import Role, Turn
from reelmill.sinks.publishing.packed import PackedFrame, PackedPreference, PackedSample, PackedStream
from reelmill.training.data.form import PLAIN, Form, slot_mark
from reelmill.training.data.frames import drawn
from reelmill.training.data.live import script, watched
from reelmill.training.data.wording import Spells, Wording, Written, harmless
from reelmill.training.documents import IGNORED, Document, Slot
from reelmill.training.seams import Slicer
from reelmill.training.slicers.cut import Cut


@dataclass(frozen=True)
class Tokens:
    """Writes samples as documents. `tokenizer` is a fast tokenizer of Hugging Face that has the form's marks.

    `codecs` by name ("time", "box") write numbers; `size_px` is the side of the tower's square, `max_frames` the most
    frames that are shown of a medium. A `slicer` cuts pictures. Raises BadInput where the tokenizer lacks a mark.
    """

    tokenizer: Any
    size_px: int
    form: Form = PLAIN
    codecs: Mapping[str, Spells] = field(default_factory=dict)
    max_frames: int | None = None
    slicer: Slicer | None = None

    def __post_init__(self) -> None:
        for mark in self.form.marks:
            self._id(mark)

    @property
    def visual_id(self) -> int:
        """The id in whose place all visual tokens of a document enter."""
        return self._id(self.form.visual)

    @property
    def end_id(self) -> int:
        """The id that closes an answer, and says silence in a stream."""
        return self._id(self.form.end)

    def _id(self, mark: str) -> int:
        found = self.tokenizer.get_added_vocab().get(mark)
        if found is None:
            do = "load it with `reelmill.training.data.tokenizer.loaded`, which adds what is missing"
            raise BadInput(f"the tokenizer has no token {mark!r}", seen=f"{len(self.tokenizer)} tokens", do=do)
        return int(found)

    @cached_property
    def _slot_ids(self) -> dict[str, int]:
        added = self.tokenizer.get_added_vocab()
        names = sorted({name for codec in self.codecs.values() for name in codec.names})
        return {name: added[slot_mark(name)] for name in names if slot_mark(name) in added}

    @cached_property
    def _harmless(self) -> Any:
        known = self.tokenizer.added_tokens_decoder.values()
        return partial(harmless, marks=sorted(token.content for token in known if token.special))

    def shown(self, sample: PackedSample) -> list[PackedFrame]:
        """The frames of a sample that are shown. Raises BadInput where it has none."""
        held = [f for f in sample.frames if f.member is not None]
        if isinstance(sample, PackedStream):
            held = [f for f in held if watched(sample, f)]
        if not held:
            raise BadInput(f"sample {sample.key}", seen="no stored frames", do="pack it with media frames")
        return [held[i] for i in drawn(len(held), self.max_frames)]

    def cut(self, sample: PackedSample) -> Cut | None:
        """How a sample's picture is cut, by the size in which it is stored; None for what stays whole."""
        if self.slicer is None or sample.media.kind != Kind.IMAGE:
            return None
        (stored,) = self.shown(sample)
        cut = self.slicer(stored.width_px, stored.height_px)
        return None if cut.plain else cut

    def document(self, samples: Sequence[PackedSample]) -> Document:
        """One sample, or several about the same frames, as a document whose pixels are not read yet: its `frames` are
        zeros that take no memory.

        Raises BadInput on samples without words, and as `Wording` does.
        """
        frames, medium, cut = self.shown(samples[0]), samples[0].media, self.cut(samples[0])
        if isinstance(samples[0], PackedStream):
            ids, labels, branch, slots = self._interleaved(samples, frames)
        else:
            ids, labels, branch, slots = self._tokenised(*self._lines(samples))
        crops = None if cut is None else np.array(cut.shares())
        at_s = np.array([f.at_s for f in frames]) if crops is None else np.zeros(len(crops))
        return Document(
            keys=tuple(s.key for s in samples),
            ids=ids,
            labels=labels,
            branch=branch,
            slots=slots,
            frames=np.broadcast_to(np.uint8(0), (len(at_s), self.size_px, self.size_px, 3)),
            at_s=at_s,
            duration_s=medium.duration_s,
            crops=crops,
            apart=isinstance(samples[0], PackedStream),
            pair=isinstance(samples[0], PackedPreference),
        )

    def _opening(self, sample: PackedSample) -> str:
        cut = self.cut(sample)
        if self.slicer is None or cut is None:
            return self.form.opening
        return self.form.opened(self.slicer.text(cut, self.form.visual))

    def _lines(self, samples: Sequence[PackedSample]) -> tuple[_Line, list[_Line]]:
        """What the branches share, and each of them."""
        for sample in samples:
            _require_words(sample)
        first, start = samples[0], _Line(self._opening(samples[0]))
        if not isinstance(first, PackedPreference):
            return start, [self._spoken(_Line(""), s.turns, Wording(s, self.codecs, self._harmless)) for s in samples]
        if len(samples) > 1:
            raise BadInput(
                f"pair {first.key}", seen="other samples beside it", do="give each pair a document of its own"
            )
        both = len(first.turns) - len(first.rejected)
        wording = Wording(first, self.codecs, self._harmless)
        shared = self._spoken(start, first.turns[:both], wording)
        sides = (first.turns[both:], first.rejected)
        return shared, [self._spoken(_Line(""), side, wording, from_turn=both) for side in sides]

    def _spoken(self, line: _Line, turns: Sequence[Turn], wording: Wording, from_turn: int = 0) -> _Line:
        """A line with turns after it. The opening has the mark of the first question already."""
        for number, turn in enumerate(turns, from_turn):
            line.text += "" if number == 0 and turn.role == Role.USER else self.form.before(turn.role)
            line.say(wording.written(turn), self.form.end if turn.role == Role.ASSISTANT else "")
        return line

    def _tokenised(self, shared: _Line, branches: Sequence[_Line]) -> _Arrays:
        paths = [self._encoded(shared.text + b.text) for b in branches]
        cut = _parting(paths, len(shared.text))
        lines = [shared, *(b.moved(len(shared.text)) for b in branches)]
        pieces = [paths[0][:cut], *(path[cut:] for path in paths)]
        ids = np.array([t.id for piece in pieces for t in piece], np.int64)
        learned = [lines[k].learns(t) or shared.learns(t) for k, piece in enumerate(pieces) for t in piece]
        branch = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
        labels = np.where(learned, ids, IGNORED)
        return ids, labels, branch, self._slots(ids, [s for line in lines for s in line.slots])

    def _interleaved(self, samples: Sequence[PackedSample], frames: Sequence[PackedFrame]) -> _Arrays:
        """A stream, whose label says silence at the token before which it is due."""
        stream = samples[0]
        if len(samples) > 1 or not isinstance(stream, PackedStream):
            raise BadInput(f"stream {stream.key}", seen="other samples beside it", do="give it a document of its own")
        made = script(stream, frames, self.form, Wording(stream, self.codecs, self._harmless).written)
        line = _Line(made.text, tuple(made.learned), tuple(made.slots))
        tokens = self._encoded(made.text)
        ids = np.array([t.id for t in tokens], np.int64)
        labels = np.where([line.learns(t) for t in tokens], ids, IGNORED)
        ends = [t.end for t in tokens]
        labels[[bisect_right(ends, place) for place in made.silent]] = self.end_id
        return ids, labels, np.zeros_like(ids), self._slots(ids, line.slots)

    def _encoded(self, text: str) -> list[_Token]:
        said = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False)
        return [_Token(i, end) for i, (_, end) in zip(said["input_ids"], said["offset_mapping"], strict=True)]

    def _slots(self, ids: np.ndarray, said: Sequence[tuple[str, tuple[float, ...]]]) -> tuple[Slot, ...]:
        places = np.flatnonzero(np.isin(ids, list(self._slot_ids.values()))) if said else np.array([], np.int64)
        if len(places) != len(said):
            lacking = sorted({slot_mark(name) for name, _ in said} - {slot_mark(n) for n in self._slot_ids})
            do = "load the tokenizer with the codecs' names"
            raise BadInput("the tokenizer has no token for numbers", seen=f"no {', '.join(lacking)}", do=do)
        return tuple(Slot(int(at), name, values) for at, (name, values) in zip(places, said, strict=True))


_Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, tuple[Slot, ...]]


@dataclass(frozen=True, slots=True)
class _Token:
    """A token id and where in the text it ends."""

    id: int
    end: int


@dataclass(slots=True)
class _Line:
    """Text as it grows, which stretches of it are learned, and the numbers of its slot marks in order."""

    text: str
    learned: tuple[tuple[int, int], ...] = ()
    slots: tuple[tuple[str, tuple[float, ...]], ...] = ()

    def say(self, written: Written, end: str) -> None:
        """Add a turn; with an end mark it is an answer and learned."""
        start = len(self.text)
        self.text += written.text + end
        self.slots += written.slots
        if end:
            self.learned += ((start, len(self.text)),)

    def moved(self, by: int) -> _Line:
        return _Line(self.text, tuple((a + by, b + by) for a, b in self.learned), self.slots)

    def learns(self, token: _Token) -> bool:
        return any(a < token.end <= b for a, b in self.learned)


def _parting(paths: Sequence[Sequence[_Token]], shared: int) -> int:
    """How many tokens all paths share: those that end within the shared text and are the same in each."""
    whole = sum(1 for _ in takewhile(lambda t: t.end <= shared, paths[0]))
    same = takewhile(lambda i: len({path[i].id for path in paths}) == 1, range(min(whole, *map(len, paths))))
    return sum(1 for _ in same)


def _require_words(sample: PackedSample) -> None:
    if not any(turn.role == Role.ASSISTANT for turn in sample.turns):
        raise BadInput(
            f"sample {sample.key} of task {sample.task!r}", seen="no answer to learn", do="choose a dialogue"
        )
