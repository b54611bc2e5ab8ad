"""A model as one who watches: frames come one by one, at each it is silent or speaks, and the true turns go on.

The row is the one that is learned from (training/data/live.py), read piece by piece into the keys and values of a
`Stream`. A place is where it has to choose: behind a frame, and behind a question.

    <visual>|<visual><user>When?|<visual>|<visual>|<assistant>Now.<eos><visual>|      places are |
                                ^         ^        ^ due here                         its own places: 3

Whoever speaks at one of the reply's own places before the last is early. Who is silent at the last goes on in a branch
without the true reply, until the frame of the next turn or the end, and counts as speaking there at the latest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np
import torch
from torch import Tensor

from reelmill.schemas.sample import Role
from reelmill.sinks.publishing.packed import PackedStream
from reelmill.training.answering import Answer
from reelmill.training.data.live import behind
from reelmill.training.data.shards import Split
from reelmill.training.data.tokens import Tokens
from reelmill.training.documents import Document, packed
from reelmill.training.evals.likelihood import Followed, Told
from reelmill.training.evals.model import shown
from reelmill.training.head import CHUNK
from reelmill.training.streaming import Stream
from reelmill.training.vlm import VLM

_Off = tuple[int, float]
"""Frames and seconds."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A stream's document: `places` are tokens before which one has to choose, `frame` [S] the number of the frame that
    was seen last before each token, `turns` bool [S] the tokens of turns; `replies` are stretches [start, end)."""

    document: Document
    marks: np.ndarray
    places: list[int]
    frame: np.ndarray
    turns: np.ndarray
    replies: list[tuple[int, int]]

    @classmethod
    def of(cls, document: Document, visual_id: int) -> _Row:
        ids, labels = document.ids, document.labels
        visual, silent = ids == visual_id, (labels >= 0) & (labels != ids)
        edges = np.diff(np.concatenate([[0], ((labels >= 0) & ~silent).astype(np.int64), [0]]))
        starts, ends = np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)
        turns = ~visual
        turns[-1] &= not silent[-1]  # the mark that stands for the end of the stream
        return cls(
            document,
            np.flatnonzero(visual),
            sorted([*np.flatnonzero(silent).tolist(), *starts.tolist()]),
            visual.cumsum() - visual - 1,
            turns,
            list(zip(starts.tolist(), ends.tolist(), strict=True)),
        )

    def own(self, start: int) -> list[int]:
        """The places of a reply: from the turn before to where it begins."""
        before = int(np.flatnonzero(self.turns[:start]).max(initial=-1))
        return [place for place in self.places if before < place <= start]

    def until(self, start: int, end: int) -> int:
        """The frame of the next turn behind a later frame than that of a reply; the number of frames where none is."""
        later = self.turns & (self.frame > self.frame[start]) & (np.arange(len(self.turns)) >= end)
        return int(self.frame[later].min(initial=len(self.document.frames)))


@dataclass
class ModelFollower:
    """Follows the streams of a split. Silence is said where it comes first and is not less likely than `silence` (the
    threshold of LIVE; 0 asks for what is most likely). `budget` as in `VLM.row`."""

    model: VLM
    tokens: Tokens
    split: Split
    silence: float = 0.0
    budget: int | None = None

    def follow(self, streams: Sequence[PackedStream]) -> list[Followed]:
        """One for each stream. Raises BadInput for a model that must see a whole video, or the question, before it can
        read a frame."""
        return [self._follow(stream) for stream in streams]

    def replies(self, stream: PackedStream, longest: int = 64) -> list[tuple[float, str | None]]:
        """What it says at each place after the true turns before it, with the time of the frame in seconds; None is
        silence. What is said at a place is the same whatever comes later."""
        row = self._row(stream)
        said = ((place, self.say(seen, longest)) for place, seen in self._watched(row))
        return [(float(row.document.at_s[row.frame[p]]), self._text(one)) for p, one in said]

    def watched(self, stream: PackedStream) -> Iterator[Stream]:
        """The stream as it stands at each place."""
        return (seen for _, seen in self._watched(self._row(stream)))

    def document(self, stream: PackedStream) -> Document:
        """The row that is learned from, with its frames."""
        number = self.split.numbers[stream.key]
        return shown(self.tokens.document([stream]), self.tokens, self.split, number, stream)

    def _row(self, stream: PackedStream) -> _Row:
        return _Row.of(self.document(stream), self.tokens.visual_id)

    def say(self, stream: Stream, longest: int) -> Answer:
        """What it says now, of at most so many tokens; no ids where it is silent."""
        return stream.say(end=self.tokens.end_id, sure=self.silence, longest=longest)

    def _text(self, said: Answer) -> str | None:
        form = self.tokens.form
        return self.tokens.tokenizer.decode(said.ids).removeprefix(form.reply).strip() if said.ids else None

    def _watched(self, row: _Row) -> Iterator[tuple[int, Stream]]:
        """The stream as it stands at each place."""
        document, places = row.document, set(row.places)
        stream = Stream(self.model, duration_s=document.duration_s, budget=self.budget)
        last, marks = row.places[-1], set(row.marks.tolist())
        cuts = sorted({0, *places, *marks, *(mark + 1 for mark in marks)})
        for start, end in pairwise(cut for cut in cuts if cut <= last):
            if start in places:
                yield start, stream
            if start in marks:
                _see(stream, document, int(row.frame[start]) + 1)
            else:
                slots = [replace(s, at=s.at - start) for s in document.slots if start <= s.at < end]
                stream.hear(document.ids[start:end].tolist(), slots)
        yield last, stream

    def _follow(self, stream: PackedStream) -> Followed:
        row = self._row(stream)
        speaks, late = self._choices(row, stream.watch_until_s)
        told, answers = iter(self._told(row, speaks, late)), list[Told | None]()
        for turns in behind(row.document.at_s.tolist(), stream):
            for role, said in groupby(turns, key=lambda turn: turn.role):
                count = len(list(said))
                if role is Role.ASSISTANT:  # what is said behind one frame is one reply
                    answers += [next(told), *[None] * (count - 1)]
        unseen = sum(turn.role is Role.ASSISTANT for turn in stream.turns) - len(answers)
        quiet = [not speaks[place] for place in row.places if place not in dict(row.replies)]
        return Followed((*answers, *[None] * unseen), len(quiet), sum(quiet))

    def _told(self, row: _Row, speaks: Mapping[int, bool], late: Mapping[int, _Off]) -> Iterator[Told]:
        logs, right = self._likely(row)
        at_s = row.document.at_s
        for start, end in row.replies:
            own = row.own(start)
            spoke = next((n for n, place in enumerate(own) if speaks[place]), None)
            if spoke is None:
                off, off_s = late[start]
            else:
                off, off_s = spoke - len(own) + 1, float(at_s[row.frame[own[spoke]]] - at_s[row.frame[start]])
            yield Told(len(own), off, off_s, tuple(logs[start:end].tolist()), tuple(right[start:end].tolist()))

    def _choices(self, row: _Row, until_s: float) -> tuple[dict[int, bool], dict[int, _Off]]:
        """Whether it speaks, by place, and how late it is, by the start of a reply before which it never did."""
        ends = dict(row.replies)
        speaks, late = dict[int, bool](), dict[int, _Off]()
        for place, stream in self._watched(row):
            speaks[place] = bool(self.say(stream, 1).ids)
            if place in ends and not any(speaks[own] for own in row.own(place)):
                late[place] = self._late(row, stream.fork(), place, row.until(place, ends[place]), until_s)
        return speaks, late

    def _late(self, row: _Row, stream: Stream, place: int, until: int, until_s: float) -> _Off:
        """Frames and seconds behind the frame of a place at which it speaks; at `until` at the latest."""
        due, at_s = int(row.frame[place]), [*row.document.at_s.tolist(), until_s]
        for frame in range(due + 1, until):
            _see(stream, row.document, frame)
            if self.say(stream, 1).ids:
                return frame - due, at_s[frame] - at_s[due]
        return until - due, at_s[until] - at_s[due]

    def _likely(self, row: _Row) -> tuple[np.ndarray, np.ndarray]:
        """log p of each token after all true ones before it, and whether it is the likeliest there; NaN and False of
        those that nobody is to say. The row is read at once, which gives the same as piece by piece."""
        pack = packed([row.document]).to(next(self.model.parameters()).device)
        logs, right = np.full(len(pack.ids), np.nan), np.zeros(len(pack.ids), bool)
        at = row.document.labels >= 0
        with torch.no_grad():
            found = self.model.worded(self.model(pack, self.budget))
            best = self._likeliest(found.states)
        logs[at] = -found.nll.double().cpu().numpy()
        right[at] = best.cpu().numpy() == row.document.labels[at]
        return logs, right

    def _likeliest(self, states: Tensor) -> Tensor:
        """The id that each state says, int64 [K]; a class of a codec is its slot."""
        classes, parts = self.model.classes(), list[Tensor]()
        for chunk in states.split(CHUNK):
            logits = (chunk @ classes.weight.T).float()
            logits[:, self.model.visual_id] = -torch.inf
            parts.append(logits.argmax(-1))
        best = torch.cat(parts)
        for name, start in reversed(classes.start.items()):
            best = torch.where(best >= start, self.model.slot_ids[name], best)
        return best


def _see(stream: Stream, document: Document, frame: int) -> None:
    stream.push(document.frames[frame : frame + 1], document.at_s[frame : frame + 1].tolist())
