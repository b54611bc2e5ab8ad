"""Which process wrote something, and whether it still lives: leases and half-written objects are judged by it.

A process id alone says little: it is reused, and means something else in another container. So a process is known by
(machine, process id, start time). Where the start time cannot be read (no /proc), it is '' and nothing is concluded.

>>> start_of(os.getpid()) == start_of(os.getpid())
True
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path


@functools.cache
def machine() -> str:
    """Where a process id means the same: host, boot and process namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    parts = [os.uname().nodename, boot.read_text().strip() if boot.exists() else ""]
    return "/".join([*parts, str(namespace.readlink()) if namespace.is_symlink() else ""])


def start_of(pid: int) -> str:
    """Start time of a process in clock ticks since boot, '' where there is no such process, or where it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def lives(pid: int, start: str) -> bool | None:
    """Whether a process of this machine lives; None where that cannot be seen (no /proc, or hidden there)."""
    if not start:
        return None
    now = start_of(pid)
    return None if not now and _hidden(pid) else now == start


def _hidden(pid: int) -> bool:
    """True where a process is there that /proc does not show to us (mount option hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return False


@functools.cache
def mark(pid: int) -> str:
    """Short name of a process of this machine, fit for a file name: `{machine}-{pid}-{start}`."""
    return f"{_short(machine())}-{pid}-{start_of(pid)}"


def lives_by_mark(marked: str) -> bool | None:
    """Whether the process that `mark` named lives; None where it ran on another machine or that cannot be seen."""
    where, _, process = marked.partition("-")
    pid, _, start = process.partition("-")
    return lives(int(pid), start) if where == _short(machine()) and pid.isdigit() else None


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
