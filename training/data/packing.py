"""Isolated packing: documents of unequal length into rows of at most `length` tokens, none of them cut.

One row at a time, from a buffer: the document that waits longest, then again and again the largest that still fits.
The second half is one bin of first-fit-decreasing (Johnson et al. 1974); the first keeps large and odd ones from
waiting for ever, so no document is left more than `buffer` rows behind those it came with.

>>> packer = Packer[str](10, buffer=4)
>>> for name, tokens in {"a": 3, "b": 9, "c": 6, "d": 1}.items():
...     packer.add(name, name, tokens)
>>> packer.row(), packer.row()
(['a', 'c', 'd'], ['b'])
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import Generic, TypeVar

Item = TypeVar("Item")
_ROWS_HELD = 2
"""With less than a row at hand no choice would fill it: 128 documents of 112 tokens filled 90 % of a row of 16k."""


class Packer(Generic[Item]):
    """`waiting` are the documents that are in no row yet, by arrival; `refused` those that are longer than a row, by
    name, with their tokens."""

    def __init__(self, length: int, buffer: int) -> None:
        self.length, self.buffer = length, buffer
        self.refused: dict[str, int] = {}
        self._held: dict[int, Item] = {}
        self._sizes: dict[int, int] = {}
        self._by_size: list[tuple[int, int]] = []
        self._arrived = self._tokens = 0

    @property
    def waiting(self) -> list[Item]:
        return list(self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    @property
    def full(self) -> bool:
        """Whether enough waits to choose from: `buffer` documents, and two rows' worth however short they are."""
        return len(self._held) >= self.buffer and self._tokens >= _ROWS_HELD * self.length

    def add(self, item: Item, name: str, tokens: int) -> None:
        """Take a document, or refuse one that no row holds."""
        if tokens > self.length:
            self.refused[name] = tokens
            return
        number, self._arrived = self._arrived, self._arrived + 1
        self._held[number], self._sizes[number] = item, tokens
        self._tokens += tokens
        insort(self._by_size, (tokens, -number))  # of equal ones the oldest is the last, and found first

    def row(self) -> list[Item]:
        """The next row, in order of arrival; empty where nothing waits."""
        chosen, room = list[int](), self.length
        while (number := self._next(room, first=not chosen)) is not None:
            chosen.append(number)
            room -= self._take(number)
        return [self._held.pop(number) for number in sorted(chosen)]

    def _next(self, room: int, *, first: bool) -> int | None:
        if first:
            return next(iter(self._held), None)
        at = bisect_right(self._by_size, (room, 1))
        return -self._by_size[at - 1][1] if at else None

    def _take(self, number: int) -> int:
        tokens = self._sizes.pop(number)
        self._tokens -= tokens
        del self._by_size[bisect_right(self._by_size, (tokens, -number)) - 1]
        return tokens
