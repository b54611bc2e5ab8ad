"""One writer per dataset: a lease is a numbered object, and the number is its fencing token.

Taking lease n+1 voids whatever holders of n or less commit from then on (see `ledger.Ledger.seal`): workers of a killed
driver go on writing for a second or more. A holder on this machine is known to be dead or alive by its process; one
elsewhere by a counter that it raises: the watcher looks at it over its own monotonic time, so no wall clock matters.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelmill.schemas.errors import Busy, StaleWriter, StoreUnusable
from reelmill.sinks.objects import Objects
from reelmill.sinks.points import reach

BEAT_S = 5.0
DEAD_AFTER_S = 30.0
_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write a dataset. Plain data: it travels to workers."""

    token: int


def token_name(token: int) -> str:
    return f"leases/{token:06d}.json"


def newest_token(objects: Objects) -> int:
    """Number of the last lease taken on a dataset, 0 where there was none."""
    tokens = [int(n.split(".")[0]) for n in objects.list("leases") if n.endswith(".json")]
    return max(tokens, default=0)


def require_newest(objects: Objects, lease: Lease) -> None:
    """Raise StaleWriter where a newer lease exists: a cheap check before a commit (the seal is the real one)."""
    newest = newest_token(objects)
    if newest != lease.token:
        raise StaleWriter(f"the run with lease {lease.token}", seen=f"lease {newest} was taken", do="stop this worker")


def machine() -> str:
    """Where a process id means the same: host, boot and process namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    parts = [os.uname().nodename, boot.read_text().strip() if boot.exists() else ""]
    return "/".join([*parts, str(namespace.readlink()) if namespace.exists() else ""])


def process_start(pid: int) -> str:
    """Start time of a process in clock ticks since boot, '' where there is no such process (pids are reused)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _holder() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "machine": machine(),
        "pid": pid,
        "start": process_start(pid),
        "argv": sys.argv,
        "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _alive(objects: Objects, token: int, watch_s: float) -> bool:
    """True where the holder of a lease still works. On another machine this takes up to `watch_s` to find out."""
    stem = f"leases/{token:06d}"
    if f"{token:06d}.released" in objects.list("leases"):
        return False
    holder = json.loads(objects.get(f"{stem}.json"))
    if holder["machine"] == machine():
        return process_start(holder["pid"]) == holder["start"] != ""
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
    waiting: Callable[[dict[str, Any]], None] = lambda holder: None,
) -> Lease:
    """Take the next lease of the dataset named `what`, or wait up to `wait_s` seconds for a live holder to end.

    Raises Busy when the holder is still alive then. `waiting` is told who holds it, once.
    """
    started, told = time.monotonic(), False
    while True:
        newest = newest_token(objects)
        if newest == 0 or not _alive(objects, newest, dead_after_s):
            if objects.put_if_absent(token_name(newest + 1), json.dumps(_holder()).encode()):
                reach("lease.taken")
                return Lease(newest + 1)
            continue
        holder = json.loads(objects.get(token_name(newest)))
        if time.monotonic() - started >= wait_s:
            raise Busy(what, seen=f"process {holder['pid']} since {holder['taken_at']}", do="wait for it or end it")
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
            objects.put_if_absent(f"leases/{lease.token:06d}.released", b"{}")


def _keep_beating(objects: Objects, lease: Lease, ended: threading.Event) -> None:
    count = 0
    while not ended.wait(BEAT_S if count else 0.0):
        count += 1
        with suppress(StoreUnusable):  # a missed beat is no reason to end; the run itself meets the same trouble
            objects.put(f"leases/{lease.token:06d}.beat", str(count).encode())
