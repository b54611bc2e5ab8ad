"""What a worker is doing, told while it does it, so that a watchdog in another thread can see whether anything moves.

Steps need not know: `each_row` beats after every row, and `Isolated` says how long its child may be silent. A step that
is long busy with something else calls `beat` now and then.

>>> with told_to(Pulse()) as pulse:
...     pulse.at("cut_clips", ["a", "b"])
...     beat()
>>> pulse.step, pulse.keys, pulse.beats
('cut_clips', ('a', 'b'), 2)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")


class Pulse:
    """One worker's. Written by that worker's thread alone, read by any: each field is replaced whole.

    `step` is '' while the worker has nothing to do; `since` and `quiet_until` are instants of `time.monotonic()`.
    `children_s` is the processor time that its child processes have told of.
    """

    __slots__ = ("beats", "children_s", "keys", "quiet_until", "since", "step")

    def __init__(self) -> None:
        self.step, self.keys, self.beats, self.children_s = "", tuple[str, ...](), 0, 0.0
        self.since = self.quiet_until = time.monotonic()

    def at(self, step: str, keys: Sequence[str] = ()) -> None:
        """Another step begins, on a group of keys."""
        self.step, self.keys, self.since = step, tuple(keys), time.monotonic()
        self.beats += 1

    def beat(self) -> None:
        """Something was done."""
        self.beats += 1

    @property
    def cpu_s(self) -> float:
        """Processor time of this worker's thread and of its children, from some instant on. Ask in its own thread."""
        return time.thread_time() + self.children_s

    def quiet(self) -> bool:
        """True while silence is no bad sign: whoever is waited for is ended by a limit of its own."""
        return time.monotonic() < self.quiet_until


_told: ContextVar[Pulse] = ContextVar("pulse")


@contextmanager
def told_to(pulse: Pulse) -> Iterator[Pulse]:
    """Beats of this thread go to `pulse` for the length of a block."""
    before = _told.set(pulse)
    try:
        yield pulse
    finally:
        _told.reset(before)


def beat() -> None:
    """Tell whoever watches this thread that something was done."""
    pulse = _told.get(None)
    if pulse is not None:
        pulse.beat()


def child_worked(cpu_s: float) -> None:
    """Tell whoever watches this thread that a child process of it used so much processor time."""
    pulse = _told.get(None)
    if pulse is not None:
        pulse.children_s += cpu_s


def beating(items: Iterable[Item]) -> Iterator[Item]:
    """The items as they come, with a beat for each."""
    for item in items:
        beat()
        yield item


@contextmanager
def quiet_for(seconds: float) -> Iterator[None]:
    """Nothing may be heard of this thread for up to `seconds`: what it waits for is ended then."""
    pulse = _told.get(None) or Pulse()
    pulse.quiet_until = time.monotonic() + seconds
    try:
        yield
    finally:
        pulse.quiet_until = 0.0
        pulse.beat()
