"""A model that watches: frames come as they are seen, questions at any time, memory stays under a budget.

A question (`ask`) is a branch that goes on from what was read so far, and so is what the model says by itself (`say`):
no later frame or question sees it. What later ones are to see is handed over by `hear`: then frames and words follow
one another as in the rows of training/data/live.py.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from reelmill.schemas.errors import BadInput
from reelmill.training.answering import Answer, State, spoken
from reelmill.training.attention import Cache
from reelmill.training.documents import IGNORED, Document, Pack, Slot, packed
from reelmill.training.reducers.combine import Grid, groups
from reelmill.training.reducers.select import changed
from reelmill.training.seams import Around, Hook, StreamCache
from reelmill.training.splice import spliced
from reelmill.training.trunk import Causal, following
from reelmill.training.values import Seq
from reelmill.training.vlm import VLM

_NONE = np.zeros((0, 1, 1, 3), np.uint8)
"""No frames."""


@dataclass(frozen=True, slots=True)
class Recent:
    """The newest `newest` frames, and the `first` ones besides, which much attention goes to (StreamingLLM, arXiv
    2309.17453). Kept tokens keep their positions, where that paper counts them anew."""

    newest: int
    first: int = 0

    def keeps(self, frames: Sequence[int]) -> Collection[int]:
        """Frames are numbered from 0."""
        return {f for f in frames if f < self.first} | set(frames[max(0, len(frames) - self.newest) :])


class Stream:
    """One video as it comes. `before` are ids that stand before it, `duration_s` is what times are shares of: the
    model was trained on shares of a clip, and a stream has no end to count from.

    `keep` is asked after each push which frames stay; without one all do, as in VideoLLM-online (arXiv 2406.11816).
    Words before the video always stay. Raises BadInput for a model that must see a whole video, or the question, before
    it can read a frame.
    """

    def __init__(
        self,
        model: VLM,
        *,
        duration_s: float,
        before: Sequence[int] = (),
        keep: StreamCache | None = None,
        budget: int | None = None,
    ) -> None:
        tower: Any = model.tower
        frame_by_frame(model.reducer, model.hooks, tower.grid, by_words=model.by_words)
        self.model, self.duration_s, self.keep, self.budget = model, duration_s, keep, budget
        self.cache, self.frames, self.seen = Cache(), list[int](), 0
        self._tokens, self._next, self._words, self._last = 0, 0, 0, _NONE
        self._state: State | None = None
        if before:
            self.hear(before)

    def push(self, frames: np.ndarray, at_s: Sequence[float]) -> None:
        """Sees frames uint8 [n, H, W, 3], n at least 1, and their times in seconds; then some may be forgotten."""
        with torch.no_grad():
            self._read(self._row(frames, at_s), self._next)
        new = range(self.seen, self.seen + len(frames))
        self.frames, self.seen, self._last = [*self.frames, *new], new.stop, frames[-1:]
        kept = set(self.frames if self.keep is None else self.keep.keeps(self.frames))
        if len(kept) < len(self.frames):
            self.frames = [f for f in self.frames if f in kept]
            self.cache.only(self.frames)

    def ask(self, ids: Sequence[int], *, end: int, slots: Sequence[Slot] = (), longest: int = 64) -> Answer:
        """A greedy answer to a prompt, from the frames that are held."""
        with torch.no_grad():
            row = self._placed(self.model.row(self._pack(ids, branch=1, slots=slots)), self._words)
            return spoken(self.model, row, 1, self.cache.fork(), end=end, longest=longest)[0][0]

    def hear(self, ids: Sequence[int], slots: Sequence[Slot] = ()) -> None:
        """Reads words that later frames and words see; `slots` are placed in them."""
        with torch.no_grad():
            self._read(self.model.row(self._pack(ids, branch=0, slots=slots)), self._words)

    def say(self, *, end: int, sure: float = 0.0, longest: int = 64) -> Answer:
        """What the model says by itself behind what was read last; no ids where it is silent, which it is where `end`
        comes first. Where that is less likely than `sure` it speaks in any case (LIVE's threshold).

        Raises ValueError where nothing was read.
        """
        if self._state is None:
            raise ValueError("say: nothing was read, so there is nothing to speak of")
        with torch.no_grad():
            return self._state.forked().speak(end=end, longest=longest, sure=sure)[0][0]

    def fork(self) -> Stream:
        """A stream that goes on from here by itself."""
        other = copy(self)
        other.cache = self.cache.fork()
        other._state = None if self._state is None else replace(self._state, cache=other.cache)
        return other

    def _pack(
        self,
        ids: Sequence[int],
        *,
        branch: int,
        slots: Sequence[Slot] = (),
        frames: np.ndarray = _NONE,
        at_s: Sequence[float] = (),
    ) -> Pack:
        of = np.array(ids, np.int64)
        labels, branches, times = np.full_like(of, IGNORED), np.full_like(of, branch), np.array(at_s, np.float64)
        document = Document(("stream",), of, labels, branches, tuple(slots), frames, times, self.duration_s, apart=True)
        return packed([document]).to(next(self.model.parameters()).device)

    def _row(self, frames: np.ndarray, at_s: Sequence[float]) -> Seq:
        """New frames alone. A tower that looks at changes is shown the frame before them again."""
        again = len(self._last) if getattr(self.model.tower, "difference", False) else 0
        shown = np.concatenate([self._last, frames]) if again else frames
        pack = self._pack([self.model.visual_id], branch=0, frames=shown, at_s=[*at_s[:again], *at_s])
        pack = replace(pack, frame=pack.frame + self.seen - again)
        words = self.model.words(pack)
        vis, words = self.model.see(pack, words, self.budget)
        if vis is not None and again:
            vis = groups(vis, torch.arange(again, vis.groups, device=vis.x.device))
        return spliced(pack, words, vis, self.model.visual_id, self.model.axes)

    def _read(self, row: Seq, position: int) -> None:
        """Adds branch 0 to the memory. Words go on from the last position that the policy gave."""
        self._next += int(following(Causal(), row)[-1])
        row = self._placed(row, position)
        self._state = State.begun(self.model, row, 1, self.cache)
        self._tokens += row.length
        self._words = int(following(self.model.policy, row)[-1])

    def _placed(self, row: Seq, position: int) -> Seq:
        """A row that begins at a position, behind all that was read. Slots are in its states; none is learned from."""
        before = torch.full_like(row.before, -1)
        after = None if row.after is None else row.after + position
        index = row.index + self._tokens
        return replace(row, pos=row.pos + position, index=index, before=before, slots={}, after=after)


def frame_by_frame(reducer: nn.Module, hooks: Sequence[Hook | Around], grid: Grid, *, by_words: bool) -> None:
    """Raises BadInput for a model whose view of a frame depends on later frames or on what is asked."""
    whole = [type(h).__name__ for h in hooks if isinstance(h, Hook) and h.at]
    if by_words:
        seen = "what it sees depends on the words"
    elif whole:
        seen = f"{', '.join(whole)} changes the row of a whole video"
    elif not _by_frame(reducer, grid):
        seen = "its reducer joins or compares frames"
    else:
        return
    raise BadInput("a stream of this model", seen=seen, do="choose a variant that reads each frame by itself")


def _by_frame(reducer: Any, grid: Grid) -> bool:
    try:
        own = [reducer.shape(frames, grid, None)[0] for frames in (1, 2)] == [1, 2]
    except ValueError:  # a number of frames that windows do not tile
        return False
    return own and not any(getattr(stage, "score", None) is changed for stage in reducer.modules())
