"""Named points at every step that leaves something on disk, so that faults can be put exactly there.

Here, and not in `sinks`, because the reply cache of `annotators` writes too; it knows nothing but the standard library.

Unset, a point costs one look-up. `REELMILL_FAULT=commit.written:kill` kills the process with SIGKILL when the point is
reached, `commit.written:kill:3` the third time, `commit.written:full:*` every time. Other actions: `full` raises a full
disk, `denied` a refused permission, `error` an exception that nobody foresaw, `stop` makes the process stand still
(SIGSTOP) as a sleeping laptop does, `slow` waits a moment, `count` only counts. The chaos tests walk through `POINTS`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

POINTS = (
    "folder.made",
    "object.write",
    "object.synced",
    "object.renamed",
    "object.deleted",
    "digests.written",
    "lease.taken",
    "lease.beat",
    "seal.written",
    "snapshot.written",
    "reply.write",
    "reply.written",
    "reply.linked",
    "part.written",
    "commit.before",
    "commit.written",
    "fault.written",
    "lease.released",
    "record.written",
    "void.written",
    "garbage.deleted",
    "pack.begun",
    "samples.spread",
    "samples.sorted",
    "rows.waiting",
    "rows.set_aside",
    "table.begun",
    "table.rows",
    "rows.cleared",
    "table.written",
    "clip.cut",
    "clip.renamed",
    "shard.begun",
    "shard.write",
    "shard.closed",
    "shard.indexed",
    "shard.renamed",
    "clips.cleared",
    "meta.written",
    "catalog.begun",
    "catalog.written",
    "catalog.renamed",
    "card.written",
    "card.replaced",
    "manifest.written",
    "samples.cleared",
    "pack.link",
    "pack.linked",
    "pack.before",
    "pack.swapped",
    "pack.cleared",
    "gallery.begun",
    "gallery.picture",
    "gallery.written",
    "gallery.set_aside",
    "gallery.swapped",
    "gallery.cleared",
)
"""Roughly in the order in which a run comes to them."""
TRAIN_POINTS = (
    "plan.written",
    "words.written",
    "log.cut",
    "checkpoint.begun",
    "checkpoint.weights",
    "checkpoint.rest",
    "checkpoint.at",
    "checkpoint.renamed",
    "checkpoint.aside",
    "checkpoint.dropped",
)
"""Those of a run that trains; struck by tests/chaos/test_training_kills.py."""
_SLOW_S = 0.02
_EVERY = "*"
_seen: Counter[str] = Counter()
_here = threading.local()


def reach(point: str) -> None:
    """Mark that `point` is reached; do there what `REELMILL_FAULT` asks for, if anything."""
    wanted = os.environ.get("REELMILL_FAULT", "")
    if not wanted:
        return
    point = getattr(_here, "name", point)
    name, action, nth = [*wanted.split(":"), "1"][:3]
    _seen[point] += 1
    if name == point and nth in (_EVERY, str(_seen[point])):
        _act(action, point)


@contextlib.contextmanager
def known_as(name: str) -> Iterator[None]:
    """Count whatever this thread reaches meanwhile under one name: a beat comes when the clock says so, and would
    make the count of other points another one each time."""
    _here.name = name
    try:
        yield
    finally:
        del _here.name


def times_reached() -> dict[str, int]:
    """How often each point was reached in this process; counted only while `REELMILL_FAULT` is set."""
    return dict(_seen)


def _act(action: str, point: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
        return
    if action == "slow":
        time.sleep(_SLOW_S)
        return
    if action == "error":
        raise RuntimeError(f"asked for at {point}")
    if action == "full":
        raise OSError(errno.ENOSPC, f"No space left on device (asked for at {point})")
    if action == "denied":
        raise OSError(errno.EACCES, f"Permission denied (asked for at {point})")
    if action != "count":
        raise ValueError(f"REELMILL_FAULT: action {action!r} at {point}; want kill, stop, slow, error, full or denied")
