"""One process for each run: two that write one folder would mix their steps.

The system frees the lock when the process ends, however it ends; a file that is left behind locks nothing.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelmill.schemas.errors import Busy
from reelmill.sinks.state.objects import store_trouble

LOCK = ".lock"


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """A run's folder, made where it is missing, for this process alone. Raises Busy where another one has it, and
    StoreUnusable where no folder can be."""
    with store_trouble(f"run {run}"):
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / LOCK).open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(f"run {run}", seen="a process that trains it now", do="wait for it, or name another") from error
        yield
