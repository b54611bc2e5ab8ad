"""Beats of workers in other processes, told through the dataset's own store: it is what driver and workers share.

`beats/{token}-{process}.json` says how often a worker has beaten, and what it does. A worker that is silent for too
long adds the stacks of its threads, and goes on: it is for the driver, who sees all of them, to end the run.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from reelmill.pipelines import _stacks
from reelmill.pipelines._watch import Board, Silence, look_every, said_of
from reelmill.schemas.errors import ReelmillError
from reelmill.sinks.state import processes
from reelmill.sinks.state.lease import Lease
from reelmill.sinks.state.objects import Objects

_FOLDER = "beats"
_IDLE = "nothing"
_LEAST_S = 0.2
_DEATHS = 4


class Teller:
    """In a worker: tells the store when it has moved, about as often as the driver looks."""

    def __init__(self, board: Board, objects: Objects, lease: Lease) -> None:
        self.board, self.objects = board, objects
        self.name = f"{_FOLDER}/{lease.token:06d}-{processes.mark(os.getpid())}.json"
        self.every_s = max(_LEAST_S, look_every(board.stuck_after_s))
        self.silence = Silence(self.every_s)
        self.counted = 0
        self.ended = threading.Event()

    def run(self) -> None:
        """Until the process ends."""
        self.tell("")
        said = False
        while not self.ended.wait(self.every_s):
            silent_s = self.silence.look(self.board.beats(), quiet=self.board.quiet())
            if silent_s == 0.0:
                said = False
                self.tell("")
            elif silent_s >= self.board.stuck_after_s and not said:
                said = True
                self.tell(f"{_stacks.own()}\n{_stacks.family(os.getpid())}")

    def tell(self, stacks: str) -> None:
        """One look that saw it move, or its stacks."""
        self.counted += not stacks
        doing = [said_of(p) for p in self.board.pulses if p.step] or [_IDLE]
        me = {"host": os.uname().nodename, "machine": processes.machine(), "pid": os.getpid()}
        said = me | {"count": self.counted, "doing": doing[0], "at": time.time(), "stacks": stacks}
        with suppress(ReelmillError, OSError):  # a missed beat is no reason to end
            self.objects.put(self.name, json.dumps(said).encode())


class Told:
    """In the driver: what the `size` workers of a lease have told, and the groups that are `left`, by their first key.

    `room` says what there is for a worker that never began.

    A worker that dies is started again, under another name. Where a row kills its worker that has no end: workers that
    die again and again without finishing a group in between are hopeless.
    """

    def __init__(
        self, objects: Objects, lease: Lease, size: int, left: dict[str, list[str]], room: Callable[[], str]
    ) -> None:
        self.objects, self.lease, self.size, self.left, self.room = objects, lease, size, left, room
        self._known, self._progressed = size, False

    def _names(self) -> list[str]:
        return [n for n in self.objects.list(_FOLDER) if n.startswith(f"{self.lease.token:06d}-")]

    def _said(self) -> list[dict[str, Any]]:
        found = []
        for name in self._names():
            with suppress(FileNotFoundError):
                said = json.loads(self.objects.get(f"{_FOLDER}/{name}"))
                found.append(said | {"lives": processes.lives_by_mark(name[7:].removesuffix(".json")) is not False})
        return found

    def finished(self, first: str) -> None:
        """The group that begins with this key is done."""
        self.left.pop(first, None)
        self._progressed = True

    def hopeless(self) -> str:
        """What makes waiting useless, '' where nothing does."""
        try:
            begun = len(self._names())
        except (ReelmillError, OSError):
            return ""
        if self._progressed:
            self._known, self._progressed = max(begun, self.size), False
        died = begun - self._known
        return f"{died} workers died one after another, and no group was finished" if died > _DEATHS else ""

    def moved(self) -> object:
        """Something else whenever a worker has moved."""
        try:
            return [(s["machine"], s["pid"], s["count"]) for s in self._said()]
        except (ReelmillError, OSError):
            return None  # a store that does not answer is silence too

    def doing(self) -> list[str]:
        """What each busy worker did when it was last heard of, and what is not finished."""
        said = self._said()
        if not said:
            return [f"no worker has begun: {self.room()}"]
        busy = [s for s in said if s["lives"] and s["doing"] != _IDLE]
        lines = [f"{s['doing']}, told {_ago(s)} s ago by process {s['pid']} on {s['host']}" for s in busy]
        keys = [key for group in list(self.left.values()) for key in group]
        return [*lines, f"not finished: {len(keys)} ({', '.join(keys[:3])}{', ...' if keys[3:] else ''})"]

    def stacks(self) -> str:
        """Stacks of the workers that are not below this process: told by themselves, or asked for on this machine."""
        near, parts = set(_stacks.below(os.getpid())), []
        for one in self._said():
            here = one["machine"] == processes.machine()
            if not one["lives"] or (here and one["pid"] in near):
                continue
            stacks = one["stacks"] or (_stacks.asked(one["pid"]) if here else "") or "it told nothing"
            parts.append(f"== process {one['pid']} on {one['host']}: {one['doing']}\n{stacks}")
        return "\n".join(parts)

    def clear(self) -> None:
        """Remove the beats of this lease and of earlier ones."""
        with suppress(ReelmillError, OSError):
            for name in self.objects.list(_FOLDER):
                if name[:6] <= f"{self.lease.token:06d}":
                    self.objects.delete(f"{_FOLDER}/{name}")


def _ago(said: dict[str, Any]) -> str:
    return f"{max(0.0, time.time() - said['at']):.0f}"
