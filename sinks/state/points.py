"""Named points at every write, rename, commit, lease and pack step, so that faults can be put exactly there.

Unset, a point costs one look-up. `REELMILL_FAULT=commit.written:kill` kills the process with SIGKILL when the point is
reached, `commit.written:kill:3` the third time. Other actions: `full` raises a full disk, `denied` a refused permission,
`error` an exception that nobody foresaw, `stop` makes the process stand still (SIGSTOP) as a sleeping laptop does,
`slow` waits a moment every time, `count` only counts. The chaos tests walk through `POINTS`.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections import Counter

POINTS = (
    "object.write",
    "object.synced",
    "object.renamed",
    "digests.written",
    "lease.taken",
    "seal.written",
    "snapshot.written",
    "part.written",
    "commit.before",
    "commit.written",
    "fault.written",
    "lease.released",
    "void.written",
    "garbage.deleted",
    "record.written",
    "pack.begun",
    "table.begun",
    "table.written",
    "shard.write",
    "shard.closed",
    "shard.renamed",
    "meta.written",
    "catalog.begun",
    "catalog.written",
    "card.written",
    "manifest.written",
    "pack.linked",
    "pack.before",
    "pack.swapped",
    "pack.cleared",
    "gallery.begun",
    "gallery.written",
    "gallery.set_aside",
    "gallery.swapped",
)
_SLOW_S = 0.02
_seen: Counter[str] = Counter()


def reach(point: str) -> None:
    """Mark that `point` is reached; do there what `REELMILL_FAULT` asks for, if anything."""
    wanted = os.environ.get("REELMILL_FAULT", "")
    if not wanted:
        return
    name, action, nth = [*wanted.split(":"), "1"][:3]
    _seen[point] += 1
    if name == point and (_seen[point] == int(nth) or action == "slow"):
        _act(action, point)


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
    raise ValueError(f"REELMILL_FAULT: action {action!r} at {point}; want kill, stop, slow, error, full or denied")
