"""The watchdog: a run in which nothing moves for a set time is ended, and says where it stood.

Everybody who works has a `Pulse` on the run's `Board`. A thread looks at them; while any beats, or waits for something
that has a limit of its own (a decode child), the run lives. Else the stacks of all threads, decode children and actors
go into `{dataset}/stuck/`, one line says so, and the process ends with code 1: a thread in native code, or one that
waits for a lock, cannot be ended otherwise. What was committed counts; the next run goes on.

Silence is counted in looks, not by the clock, so that a process that was stopped (SIGSTOP, a frozen container) is not
taken for a stuck one. Where native code holds the interpreter's lock, this thread cannot look either; then
`faulthandler`'s own thread, which needs no lock, writes the stacks to stderr and ends the process with code 1.

    with watched(dataset, stuck_after_s=1800.0) as board:
        worker = Worker(plan, place, lease, pulse=board.pulse())
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from reelmill.annotators.pulse import Pulse, told_to
from reelmill.pipelines import _stacks
from reelmill.schemas.errors import Fault, ReelmillError
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.state.lease import Lease, release

_LOOKS = 20
_LOOK_S = (0.05, 5.0)
_SAVE_S = 30.0
_STDERR = 2
_DECODE_CHILD = "reelmill.annotators.decode.isolated"


class Elsewhere(Protocol):
    """Workers in other processes, as a back end knows them."""

    def moved(self) -> object: ...

    def hopeless(self) -> str: ...

    def doing(self) -> list[str]: ...

    def stacks(self) -> str: ...

    def clear(self) -> None: ...


class Board:
    """Who works for a run: its driver, the workers in this process, and perhaps some elsewhere."""

    def __init__(self, stuck_after_s: float = 0.0) -> None:
        self.stuck_after_s = stuck_after_s
        self.driver = Pulse()
        self.pulses = [self.driver]
        self.lease: Lease | None = None
        self.elsewhere: Elsewhere | None = None

    def pulse(self) -> Pulse:
        """One for another worker."""
        made = Pulse()
        self.pulses.append(made)
        return made

    def beats(self) -> int:
        return sum(p.beats for p in self.pulses)

    def quiet(self) -> bool:
        """True while a worker waits for something that is ended by a limit of its own."""
        return any(p.quiet() for p in self.pulses)

    def doing(self) -> list[str]:
        """What each does that does anything, workers first."""
        others = self.elsewhere.doing() if self.elsewhere else []
        workers = [said_of(p) for p in self.pulses[1:] if p.step]
        return [*workers, *others] or [said_of(self.driver)]


def said_of(pulse: Pulse) -> str:
    """
    >>> pulse = Pulse()
    >>> pulse.at("cut_clips", ["a", "b", "c", "d"])
    >>> said_of(pulse)
    'cut_clips on 4 rows (a, b, c, ...) for 0 s'
    """
    keys = ", ".join([*pulse.keys[:3], *(["..."] if len(pulse.keys) > 3 else [])])
    rows = f" on {len(pulse.keys)} row{'s'[: len(pulse.keys) > 1]} ({keys})" if keys else ""
    return f"{pulse.step or 'nothing'}{rows} for {time.monotonic() - pulse.since:.0f} s"


def look_every(stuck_after_s: float) -> float:
    """Seconds between two looks."""
    return min(max(stuck_after_s / _LOOKS, _LOOK_S[0]), _LOOK_S[1])


class Silence:
    """Adds up how long nothing moved, over looks at `mark`; a look that comes late counts as one that came in time."""

    def __init__(self, every_s: float) -> None:
        self.every_s, self.seconds = every_s, 0.0
        self._mark: object = None
        self._last = time.monotonic()

    def look(self, mark: object, *, quiet: bool) -> float:
        """Seconds of silence up to now."""
        now = time.monotonic()
        passed, self._last = min(now - self._last, 2 * self.every_s), now
        self.seconds = 0.0 if quiet or mark != self._mark else self.seconds + passed
        self._mark = mark
        return self.seconds


@contextmanager
def watched(dataset: Dataset, stuck_after_s: float) -> Iterator[Board]:
    """End this process where nothing on the board moves for `stuck_after_s` seconds during a block; 0: never."""
    board = Board(stuck_after_s)
    with told_to(board.driver):
        if not stuck_after_s:
            yield board
            return
        ended = threading.Event()
        thread = threading.Thread(target=_watch, args=(board, dataset, ended), daemon=True, name="watchdog")
        thread.start()
        try:
            yield board
        finally:
            ended.set()
            thread.join()


def _watch(board: Board, dataset: Dataset, ended: threading.Event) -> None:
    after_s = board.stuck_after_s
    here = Silence(look_every(after_s))
    far = Silence(here.every_s)
    try:
        while not ended.wait(here.every_s):
            with contextlib.suppress(OSError, ValueError):  # stderr may be closed: then only this thread watches
                faulthandler.dump_traceback_later(2 * after_s, exit=True, file=_STDERR)
            silent_s, why = here.look(board.beats(), quiet=board.quiet()), ""
            if elsewhere := board.elsewhere:
                why = elsewhere.hopeless()
                silent_s = min(silent_s, far.look(elsewhere.moved(), quiet=False)) if silent_s > after_s / 4 else 0.0
            if silent_s >= after_s or why:
                _end(board, dataset, why or f"nothing moved for {silent_s:.0f} s", ended)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _end(board: Board, dataset: Dataset, why: str, ended: threading.Event) -> None:
    """Save, tell, release, exit. What is asked for in doing so may hang too: it is given some seconds."""
    if ended.is_set():
        return
    saver = threading.Thread(target=_save_and_tell, args=(board, dataset, why), daemon=True, name="stuck")
    saver.start()
    saver.join(_SAVE_S)
    if saver.is_alive():
        faulthandler.dump_traceback(_STDERR)
    for child in _stacks.below(os.getpid()):
        if _DECODE_CHILD in _stacks.command_of(child):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)  # it leads a group: what it started ends with it
    os._exit(Fault.exit_code)


def _save_and_tell(board: Board, dataset: Dataset, why: str) -> None:
    doing = board.doing()
    what = "; ".join([*doing[:2], *([f"{len(doing) - 2} more"] if len(doing) > 2 else [])])
    name = f"stuck/{board.lease.token if board.lease else 0:06d}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.txt"
    try:
        dataset.ledger.objects.put_if_absent(name, _account(board, dataset, why, doing).encode())
        where = f"where every thread stood is in {dataset.place / name}"
    except (OSError, ReelmillError) as error:
        faulthandler.dump_traceback(_STDERR)
        where = f"where every thread stood is above (it could not be saved: {error})"
    stuck = Fault(
        f"{dataset.label} is stuck",
        seen=f"{why}: {what}",
        do=f"run again to go on; {where}; --stuck-after gives it longer",
    )
    _say(f"error: {stuck}")
    if board.elsewhere is not None:
        board.elsewhere.clear()
    if board.lease is not None:
        with contextlib.suppress(OSError, ReelmillError):  # then it is freed by this process's end
            release(dataset.ledger.objects, board.lease)


def _say(line: str) -> None:
    """A line on stderr, past any display that hid the cursor or holds a lock."""
    shown = "\r\x1b[K\x1b[?25h" if os.isatty(_STDERR) else ""
    os.write(_STDERR, f"{shown}{line}\n".encode(errors="backslashreplace"))
    sys.stdout.flush()


def _account(board: Board, dataset: Dataset, why: str, doing: list[str]) -> str:
    me, host = os.getpid(), os.uname().nodename
    parts = [
        f"{dataset.label}: {why}; the limit is {board.stuck_after_s:g} s",
        f"argv: {sys.argv}",
        "doing:",
        *(f"  {line}" for line in [*doing, f"driver: {said_of(board.driver)}"]),
        f"== process {me} on {host}, the driver",
        _stacks.own(),
        _stacks.family(me),
        board.elsewhere.stacks() if board.elsewhere else "",
    ]
    return "\n".join(p for p in parts if p) + "\n"
