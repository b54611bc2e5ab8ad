"""One writer per dataset: a lease is a numbered object, and the number is its fencing token.

Taking lease n+1 voids whatever holders of n or less commit from then on (see `ledger.Ledger.seal`): workers of a killed
driver go on writing for a second or more. A holder on this machine is known to be dead or alive by its process (a
stopped one is alive). One elsewhere is known by a counter that it raises; the watcher looks at it over its own
monotonic time, so no wall clock matters. If it stands still for longer it loses its lease, and what it writes on waking
is void.

    with held(objects, take(objects, what="dataset clips@1")) as lease: ...
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from reelmill.schemas.errors import Busy, StaleWriter, StoreUnusable
from reelmill.schemas.points import known_as, reach
from reelmill.sinks.state import processes
from reelmill.sinks.state.objects import Objects
from reelmill.sinks.state.records import read_record, record_bytes

BEAT_S = 5.0
DEAD_AFTER_S = 30.0
_POLL_S = 0.25
_LEASE = re.compile(r"(\d+)\.json")


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a dataset. Plain data: it travels to workers."""

    token: int


def token_name(token: int) -> str:
    return f"leases/{token:06d}.json"


def newest_token(objects: Objects) -> int:
    """Number of the last lease taken on a dataset, 0 where there was none."""
    return max((int(found[1]) for n in objects.list("leases") if (found := _LEASE.fullmatch(n))), default=0)


def require_newest(objects: Objects, lease: Lease) -> None:
    """Raise StaleWriter where a newer lease exists: a cheap check before a commit (the seal is the real one)."""
    newest = newest_token(objects)
    if newest != lease.token:
        raise StaleWriter(f"the run with lease {lease.token}", seen=f"lease {newest} was taken", do="stop this worker")


def _holder() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "machine": processes.machine(),
        "host": os.uname().nodename,
        "pid": pid,
        "start": processes.start_of(pid),
        "argv": [a.encode(errors="backslashreplace").decode() for a in sys.argv],  # names of files need not be UTF-8
        "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def untold(holder: dict[str, Any]) -> None:
    """Nobody is told who holds the lease."""


def _read_holder(objects: Objects, what: str, token: int) -> dict[str, Any]:
    mend = "make sure that no run writes this dataset, then restore or delete that file"
    return read_record(objects, what, token_name(token), mend)


def _alive(objects: Objects, what: str, token: int, watch_s: float) -> bool:
    """True where the holder of a lease still works. On another machine this takes up to `watch_s` to find out."""
    stem = f"leases/{token:06d}"
    if f"{token:06d}.released" in objects.list("leases"):
        return False
    holder = _read_holder(objects, what, token)
    if holder["machine"] == processes.machine():
        lives = processes.lives(holder["pid"], holder["start"])
        if lives is not None:
            return lives
    return _beats(objects, f"{stem}.beat", watch_s)


def _beats(objects: Objects, name: str, watch_s: float) -> bool:
    first, started = _beat(objects, name), time.monotonic()
    while time.monotonic() - started < watch_s:
        time.sleep(_POLL_S)
        if _beat(objects, name) != first:
            return True
    return False


def _beat(objects: Objects, name: str) -> bytes:
    try:
        return objects.get(name)
    except FileNotFoundError:
        return b""


def take(
    objects: Objects,
    *,
    what: str,
    wait_s: float = 0.0,
    dead_after_s: float = DEAD_AFTER_S,
    waiting: Callable[[dict[str, Any]], None] = untold,
) -> Lease:
    """Take the next lease of the dataset named `what`, or wait up to `wait_s` seconds for a live holder to end.

    Raises Busy when the holder is still alive then. `waiting` is told who holds it, once.
    """
    started, told = time.monotonic(), False
    while True:
        newest = newest_token(objects)
        if newest == 0 or not _alive(objects, what, newest, dead_after_s):
            if objects.put_if_absent(token_name(newest + 1), record_bytes(_holder())):
                reach("lease.taken")
                return Lease(newest + 1)
            continue
        holder = _read_holder(objects, what, newest)
        if time.monotonic() - started >= wait_s:
            seen = f"process {holder['pid']} on {holder['host']} since {holder['taken_at']}"
            raise Busy(what, seen=seen, do="wait for it or end it")
        if not told:
            waiting(holder)
            told = True
        time.sleep(_POLL_S)


@contextmanager
def held(objects: Objects, lease: Lease) -> Iterator[Lease]:
    """Keep a lease alive by raising its counter, and release it at the end (also after an error)."""
    ended = threading.Event()
    thread = threading.Thread(target=_keep_beating, args=(objects, lease, ended), daemon=True, name="lease-beat")
    thread.start()
    try:
        yield lease
    finally:
        ended.set()
        thread.join()
        with suppress(StoreUnusable):  # a full disk must not hide why the run ended; a dead process frees its lease too
            release(objects, lease)


def release(objects: Objects, lease: Lease) -> None:
    """Say that a lease is no longer held."""
    with known_as("lease.released"):
        objects.put_if_absent(f"leases/{lease.token:06d}.released", b"{}")
        reach("lease.released")


def _keep_beating(objects: Objects, lease: Lease, ended: threading.Event) -> None:
    count = 0
    while not ended.wait(BEAT_S if count else 0.0):
        count += 1
        # a missed beat is no reason to end: the run itself meets that trouble
        with suppress(StoreUnusable, OSError), known_as("lease.beat"):
            objects.put(f"leases/{lease.token:06d}.beat", str(count).encode())
