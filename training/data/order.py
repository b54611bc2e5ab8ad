"""In which order units (samples, or clips with all their samples) come, epoch after epoch, and where it stands.

Shards come in a drawn order, their units pass through a buffer of references, and each draw from it is a hash of
(seed, epoch, number of the draw): a place in the stream is a few numbers, and what follows it is known without what
came before. Reading runs mostly forward through a few shards, while the mixing is as wide as the buffer.

>>> order = Order([3, 5], seed=0, buffer=2, epochs=1)
>>> sorted(order)
[0, 1, 2, 3, 4]
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reelmill.schemas.errors import BadInput
from reelmill.schemas.keys import seed_for


class Order:
    """Numbers of units, forever or for some epochs; each epoch gives every unit once.

    `ends[i]` is how many units lie in the first i + 1 shards. `buffer` 0 keeps the published order. `part` of `parts`
    takes every `parts`-th unit, so that as many processes share one epoch.
    """

    def __init__(
        self,
        ends: Sequence[int],
        seed: int,
        buffer: int,
        epochs: int | None = None,
        part: int = 0,
        parts: int = 1,
    ) -> None:
        if not 0 <= part < parts:
            raise BadInput(f"part {part} of {parts}", seen="no such part", do="count parts from 0")
        self.ends, self.seed, self.buffer, self.epochs = tuple(ends), seed, buffer, epochs
        self.part, self.parts = part, parts
        self.epoch, self.shard, self.unit, self.drawn = 0, 0, 0, 0
        self.waiting: list[int] = []
        self._begin()

    def _begin(self) -> None:
        """The shards of this epoch."""
        self.shards = list(range(len(self.ends)))
        if self.buffer:
            random.Random(seed_for(self.seed, str(self.epoch), "shards")).shuffle(self.shards)

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        while self.epochs is None or self.epoch < self.epochs:
            while (unit := self._draw()) is not None:
                self.drawn += 1
                if (self.drawn - 1) % self.parts == self.part:
                    return unit
            self.epoch, self.shard, self.unit, self.drawn = self.epoch + 1, 0, 0, 0
            self._begin()
        raise StopIteration

    def _draw(self) -> int | None:
        """The next unit of the epoch, None at its end."""
        while len(self.waiting) < max(1, self.buffer) and (unit := self._read()) is not None:
            self.waiting.append(unit)
        if not self.waiting:
            return None
        at = seed_for(self.seed, f"{self.epoch}:{self.drawn}", "draw") % len(self.waiting)
        self.waiting[at], self.waiting[-1] = self.waiting[-1], self.waiting[at]
        return self.waiting.pop()

    def _read(self) -> int | None:
        while self.shard < len(self.shards):
            shard = self.shards[self.shard]
            start = self.ends[shard - 1] if shard else 0
            if start + self.unit < self.ends[shard]:
                self.unit += 1
                return start + self.unit - 1
            self.shard, self.unit = self.shard + 1, 0
        return None

    def state(self) -> dict[str, Any]:
        """Where the stream stands, as plain data."""
        held = {name: getattr(self, name) for name in ("epoch", "shard", "unit", "drawn")}
        return {**held, "waiting": list(self.waiting), "by": self._by()}

    def _by(self) -> list[int]:
        """What decides the order, and must be the same where a state is taken up."""
        return [self.seed, self.buffer, self.part, self.parts, len(self.ends), self.ends[-1]]

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Raises BadInput on one of another seed, buffer, part or dataset."""
        if state["by"] != self._by():
            what = "seed, buffer, part, parts, shards, units"
            seen = f"{what} {state['by']} in the state, {self._by()} here"
            raise BadInput("the state of a data stream", seen=seen, do="resume with the settings it was saved with")
        self.epoch, self.shard, self.unit, self.drawn = (state[n] for n in ("epoch", "shard", "unit", "drawn"))
        self.waiting = list(state["waiting"])
        self._begin()
