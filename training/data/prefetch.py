"""A thread that makes things ahead of whoever uses them: so many and no more, errors included, closed at the end.

with Prefetch(iterator, depth=2) as ahead:
    for item in ahead: ...
ahead.waited_s      how long the user stood still
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Generic, TypeVar

from torch import Tensor

from reelmill.training.documents import Pack, Slots

Item = TypeVar("Item")


class Prefetch(Generic[Item]):
    """Items of an iterator, which runs in a thread of its own, at most `depth` ahead. What it raises is raised here."""

    def __init__(self, made: Iterator[Item], depth: int) -> None:
        self.waited_s = 0.0
        self._made, self._depth = made, depth
        self._ready: deque[Item] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)

    def __enter__(self) -> Prefetch[Item]:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            for item in self._made:
                if not self._put(item):
                    break
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, item: Item) -> bool:
        """Hand an item over as soon as there is room; False where nobody wants more."""
        with self._changed:
            self._ready.append(item)
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._ready) < self._depth or self._closed)
            return not self._closed

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        began_s = time.perf_counter()
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended)
            self.waited_s += time.perf_counter() - began_s
            if self._ready:
                self._changed.notify_all()
                return self._ready.popleft()
        if self._error is not None:
            raise self._error
        raise StopIteration


def pinned(pack: Pack) -> Pack:
    """The same pack in memory from which CUDA copies without waiting."""
    slots = {name: Slots(s.at.pin_memory(), s.values.pin_memory()) for name, s in pack.slots.items()}
    held = {name: value for name in pack.__slots__ if isinstance(value := getattr(pack, name), Tensor)}
    return replace(pack, slots=slots, **{name: value.pin_memory() for name, value in held.items()})
