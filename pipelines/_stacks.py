"""Where processes stand: the stacks of every thread of this one, of those below it, and of any that answers SIGUSR1.

Other processes are asked through `faulthandler`, in C, from a signal handler, so that a thread which holds the
interpreter's lock in native code answers too. Decode children and actors on Ray register for it, and answer into their
stderr, which is a file. It stops at 100 threads, so this process, which can ask Python, does not use it for itself.

>>> "MainThread" in own()
True
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import BinaryIO

_ANSWER_S, _STILL_S, _LOOK_S = 5.0, 0.2, 0.02
"""Stacks come line by line, and a busy machine may pause in between."""
_BEGUN = b"most recent call first"
_OURS = re.compile(r"reelmill|^ray::")


def own() -> str:
    """Stacks of all threads of this process, with their names, the main thread's first."""
    frames = sys._current_frames()
    threads = sorted(threading.enumerate(), key=lambda thread: thread is not threading.main_thread())
    return "\n".join(_stack(t.name, frames[t.ident]) for t in threads if t.ident in frames)


def _stack(name: str, frame: FrameType) -> str:
    return "".join([f"Thread {name} (most recent call last):\n", *traceback.format_stack(frame)]).rstrip()


def below(pid: int) -> list[int]:
    """Ids of all processes that `pid` started, and those that they started, sorted."""
    parents = {child: parent for child, parent in map(_parent, _processes()) if parent}
    found, new = set[int](), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return sorted(found)


def _processes() -> list[int]:
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]


def _parent(pid: int) -> tuple[int, int]:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return pid, int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid, 0


def asked(pid: int) -> str:
    """What a process answers to SIGUSR1, '' where it does not listen to it: others would be ended by it."""
    answers = Path(f"/proc/{pid}/fd/2")
    try:
        if not _listens(pid) or not answers.is_file():
            return ""
        with answers.open("rb") as stream:  # opened first: it may end while it answers, and its descriptors with it
            stream.seek(0, os.SEEK_END)
            os.kill(pid, signal.SIGUSR1)
            return _answer(stream) or "it did not answer: it does not run, or hangs in the kernel"
    except (OSError, ValueError):
        return ""  # it has ended


def _answer(answers: BinaryIO) -> str:
    """What is added to a file from here on, once it holds still."""
    data, until, changed = b"", time.monotonic() + _ANSWER_S, time.monotonic()
    while time.monotonic() < until:
        time.sleep(_LOOK_S)
        if more := answers.read():
            data, changed = data + more, time.monotonic()
        elif _BEGUN in data and time.monotonic() - changed > _STILL_S:
            break
    return data.decode(errors="replace").rstrip()


def _listens(pid: int) -> bool:
    """Whether a process handles SIGUSR1."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGUSR1 - 1) & 1)


def family(pid: int) -> str:
    """What the processes below `pid` answer, each under a line that names it. Only ours and Ray's are asked."""
    told = [(child, command_of(child)) for child in below(pid)]
    return "\n".join(f"== process {n}: {c[:200]}\n{asked(n) if _OURS.search(c) else ''}".rstrip() for n, c in told)


def command_of(pid: int) -> str:
    """A process's command line, '' where it has ended."""
    with contextlib.suppress(OSError):
        return " ".join(Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").split())
    return ""
