"""Packed rows from published datasets, made ahead of the step that learns from them, resumed to the byte.

    order of units -> documents without pixels -> rows -> pixels of those documents -> `Pack`

Rows are planned from words alone, so that hundreds of documents may wait for a gap that fits them without a frame in
memory; frames are read and decoded by a pool of threads once a row is settled. A state is a few numbers and references,
and it is that of the last pack that was handed out, whatever lies ready behind it.

    loader = Loader([Source(opened(folder))], tokens, 16_384, counts=lambda d: len(d.ids) - 1 + 64 * len(d.frames))
    for pack in loader:
        ...
        saved = loader.state()          # json.dumps takes it
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch

from reelmill.schemas.errors import BadInput
from reelmill.schemas.keys import seed_for
from reelmill.training.data.frames import Kept, stacked
from reelmill.training.data.mixing import Mix
from reelmill.training.data.order import Order
from reelmill.training.data.packing import Packer
from reelmill.training.data.prefetch import Prefetch, pinned
from reelmill.training.data.shards import Split
from reelmill.training.data.tokens import Tokens
from reelmill.training.data.units import Units, alone, documents_of, together
from reelmill.training.documents import Document, Pack, packed

State = Mapping[str, Any]
_ROWS_AHEAD = 2
"""Rows whose frames are decoded at the same time: while one is awaited the pool has work on the next."""


@dataclass(frozen=True)
class Source:
    """A split and its share of the documents. `shared` joins samples of one clip in one document, at most `branches`:
    the video once, then a branch for each."""

    split: Split
    weight: float = 1.0
    shared: bool = False
    branches: int = 8

    @cached_property
    def units(self) -> Units:
        return together(self.split, self.branches) if self.shared else alone(self.split)


@dataclass(frozen=True, slots=True, eq=False)
class _Draft:
    """A document without pixels: the `place`-th of a unit, and where its frames lie."""

    source: int
    unit: int
    place: int
    document: Document
    number: int
    members: tuple[str, ...]

    @property
    def reference(self) -> tuple[int, int, int]:
        return self.source, self.unit, self.place


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`shuffle` units and `waiting` documents are held to mix and to pack; shuffle 0 keeps the published order.
    Forever, or for `epochs` of every source. `part` of `parts` takes its share of each epoch."""

    length: int
    seed: int = 0
    shuffle: int = 2048
    waiting: int = 512
    epochs: int | None = None
    part: int = 0
    parts: int = 1


class Loader:
    """Iterates over packs and goes on from where it stood. `counts` says how many tokens a document takes in a row, its
    visual tokens included; the same is needed to resume.

    `own` (r, n) is for n processes that share the rows of one stream: this one decodes and gives the r-th of every n.
    All have the same state, which another number of them takes too; rows at the end that are fewer than n are left.
    `depth` packs lie ready, made by a thread of their own; `threads` decode. Packs are pinned where CUDA is, or as
    `pin` says; `keep_mb` of decoded frames and as much of documents are kept for the next epoch.

    Raises BadInput where no document fits into a row, and whatever reading raises, in the iteration.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        tokens: Tokens,
        settings: Settings,
        counts: Callable[[Document], int],
        *,
        threads: int = 4,
        depth: int = 2,
        pin: bool | None = None,
        keep_mb: int = 0,
        own: tuple[int, int] = (0, 1),
    ) -> None:
        self.sources, self.tokens, self.settings, self.counts = tuple(sources), tokens, settings, counts
        self.threads, self.depth, self.own = threads, depth, own
        self.pin = torch.cuda.is_available() if pin is None else pin
        self._frames, self._drafts = Kept[np.ndarray](keep_mb * 1_000_000), Kept[list[_Draft]](keep_mb * 1_000_000)
        self.waited_s = 0.0
        self._state: State | None = None

    def state(self) -> dict[str, Any]:
        """Where the stream stands after the pack that was handed out last, as plain data."""
        return {"by": self._by, "at": self._state}

    def load(self, state: State) -> None:
        """Go on from a state. Raises BadInput on one of other data or settings."""
        if state["by"] != self._by:
            changed = [n for n in {**self._by, **state["by"]} if state["by"].get(n) != self._by.get(n)]
            seen = ", ".join(f"{n} {state['by'].get(n)} in the state, {self._by.get(n)} here" for n in changed)
            raise BadInput("the state of a loader", seen=seen, do="resume with the data and settings it was saved with")
        self._state = state["at"]

    @property
    def refused(self) -> dict[str, int]:
        """Documents that no row holds, by the keys of their samples, with their tokens."""
        return dict(self._state["refused"]) if self._state else {}

    @cached_property
    def _by(self) -> dict[str, Any]:
        """What decides the stream, besides `counts`."""
        held = self.settings
        return {
            "data": [[s.split.fingerprint, s.weight, s.branches if s.shared else 1] for s in self.sources],
            "rows": [held.length, held.waiting],
            "order": [held.seed, held.shuffle, held.part, held.parts],
            "tokens": [len(self.tokens.tokenizer), self.tokens.size_px, self.tokens.max_frames],
            **({"crops": repr(self.tokens.slicer)} if self.tokens.slicer else {}),
        }

    def __iter__(self) -> Iterator[Pack]:
        """Packs from where the stream stands. Its threads end with it; close it where it is left early."""
        waited_s = self.waited_s
        with (
            ThreadPoolExecutor(self.threads, thread_name_prefix="decode") as pool,
            Prefetch(self._made(pool), self.depth) as ahead,
        ):
            for pack, state in ahead:
                self._state, self.waited_s = state, waited_s + ahead.waited_s
                yield pack

    def _made(self, pool: ThreadPoolExecutor) -> Iterator[tuple[Pack, State]]:
        ahead: deque[tuple[list[Future[Document]], State]] = deque()
        for row, state in self._own_rows():
            ahead.append(([pool.submit(self._filled, draft) for draft in row], state))
            if len(ahead) == _ROWS_AHEAD:
                yield self._pack(*ahead.popleft())
        while ahead:
            yield self._pack(*ahead.popleft())

    def _own_rows(self) -> Iterator[tuple[list[_Draft], State]]:
        """One row of every round, with the state behind the round."""
        number, of = self.own
        rows = _Stream(self, self._state).rows()
        while len(together := list(islice(rows, of))) == of:
            yield together[number][0], together[-1][1]

    def _filled(self, draft: _Draft) -> Document:
        split = self.sources[draft.source].split

        def read() -> np.ndarray:
            return stacked(split.jpegs(draft.number, draft.members), self.tokens.size_px, draft.document.crops)

        frames = self._frames.of((draft.source, draft.number), read, lambda made: made.nbytes)
        return replace(draft.document, frames=frames)

    def _pack(self, row: Sequence[Future[Document]], state: State) -> tuple[Pack, State]:
        pack = packed([filled.result() for filled in row])
        return (pinned(pack) if self.pin else pack), state

    def drafts(self, source: int, unit: int) -> list[_Draft]:
        """The documents of a unit, without pixels."""

        def size(made: list[_Draft]) -> int:
            return sum(3 * draft.document.ids.nbytes for draft in made)

        return self._drafts.of((source, unit), lambda: self._written(source, unit), size)

    def _written(self, source: int, unit: int) -> list[_Draft]:
        held = self.sources[source]
        numbers = held.units.numbers(unit)
        samples = [held.split.sample(number) for number in numbers]
        number_of = dict(zip((s.key for s in samples), numbers, strict=True))
        found = []
        for place, of_one in enumerate(documents_of(samples)):
            members = tuple(f.member for f in self.tokens.shown(of_one[0]) if f.member)
            document = self.tokens.document(of_one)
            found.append(_Draft(source, unit, place, document, number_of[of_one[0].key], members))
        return found


class _Stream:
    """The rows of a loader from a state on, each with the state after it."""

    def __init__(self, loader: Loader, state: State | None) -> None:
        self.loader, held = loader, loader.settings
        self.orders = [
            Order(s.units.ends, seed_for(held.seed, str(i), "source"), held.shuffle, held.epochs, held.part, held.parts)
            for i, s in enumerate(loader.sources)
        ]
        self.mix = Mix([s.weight for s in loader.sources])
        self.packer = Packer[_Draft](held.length, held.waiting)
        if state is not None:
            self._load(state)

    def rows(self) -> Iterator[tuple[list[_Draft], State]]:
        """Rows until every source has ended."""
        self._fill()
        while row := self.packer.row():
            yield row, self._now()
            self._fill()

    def _fill(self) -> None:
        """Take units until enough documents wait, or nothing is left to take."""
        fruitless, all_units = 0, sum(order.ends[-1] for order in self.orders)
        while not self.packer.full and (source := self.mix.turn()) is not None:
            unit = next(self.orders[source], None)
            if unit is None:
                self.mix.ended.add(source)
                continue
            before = len(self.packer)
            for draft in self.loader.drafts(source, unit):
                self._add(draft)
            fruitless = 0 if len(self.packer) > before else fruitless + 1
            if fruitless > all_units:
                least = min(self.packer.refused.values())
                seen = f"the shortest of {len(self.packer.refused)} has {least}"
                what = f"no document fits into a row of {self.packer.length} tokens"
                raise BadInput(what, seen=seen, do="use longer rows, fewer frames or fewer branches")

    def _add(self, draft: _Draft) -> None:
        self.packer.add(draft, "+".join(draft.document.keys), self.loader.counts(draft.document))

    def _now(self) -> State:
        return {
            "orders": [order.state() for order in self.orders],
            "turns": list(self.mix.turns),
            "ended": sorted(self.mix.ended),
            "waiting": [list(draft.reference) for draft in self.packer.waiting],
            "refused": dict(self.packer.refused),
        }

    def _load(self, state: State) -> None:
        for order, at in zip(self.orders, state["orders"], strict=True):
            order.load(at)
        self.mix.turns, self.mix.ended = list(state["turns"]), set(state["ended"])
        for source, unit, place in state["waiting"]:
            self._add(self.loader.drafts(source, unit)[place])
        self.packer.refused = dict(state["refused"])
