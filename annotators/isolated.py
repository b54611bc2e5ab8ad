"""A persistent child process for native code on untrusted bytes, with limits on time and memory.

A decoder that loops, eats the memory or crashes takes only the child with it: the caller gets an `Unusable` that says so.
The child speaks pickle over two pipes, length first; native libraries cannot write into them (stdout goes to stderr).

>>> with Isolated() as child:
...     child.call("os.path:basename", "/a/b", wall_s=10)
'b'
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import pickle
import resource
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
from types import TracebackType
from typing import Any, BinaryIO

from reelmill.schemas.errors import Fault, ReelmillError, Unusable

WALL_S = 120.0
MEMORY_BYTES = 4 << 30

_LENGTH = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "AV_LOG_FORCE_NOCOLOR": "1",
}
_TAIL_BYTES = 2_000


class _Died(Exception):  # noqa: N818 - it is a fact, not an error
    """The child ended without an answer."""


class _TookTooLong(Exception):  # noqa: N818
    """The wall clock ran out."""


class Isolated:
    """One child, one job at a time; calls from several threads wait for each other.

    `memory_bytes` limits the address space on top of what the idle child maps. The child is started by the first call,
    after a crash, and again if somebody killed it in between; it dies with this process.
    """

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self.memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._calls = 0

    def __enter__(self) -> Isolated:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in another process starts a child of its own."""
        return _again, (self.memory_bytes,)

    @property
    def pid(self) -> int | None:
        """Process id of the living child."""
        return self._child.pid if self._child and self._child.poll() is None else None

    def call(self, function: str, *args: Any, wall_s: float = WALL_S) -> Any:
        """Answer of `module:function` called with `args` in the child, within `wall_s` seconds.

        Raises Unusable as the function does, or decode_timeout, decode_memory, decode_crashed (crashed twice). Errors of
        our own tree, ImportError and the like come through as they are; any other exception as a Fault that holds the
        child's traceback.
        """
        job = pickle.dumps((function, args), protocol=pickle.HIGHEST_PROTOCOL)
        with self._lock:
            for last in (False, True):
                fresh = self.pid is None
                try:
                    return _opened_answer(self._ask(job, wall_s))
                except _TookTooLong:
                    self._kill()
                    raise Unusable("decode_timeout", f"{function} ran longer than {wall_s:g} s") from None
                except _Died:
                    how = self._post_mortem()
                    if last and fresh:
                        raise Unusable("decode_crashed", f"{function}: {how}, twice in a fresh process") from None
                except BaseException:
                    if self.pid is not None and not self._idle:
                        self._kill()  # interrupted in mid-answer: the next call must not read this one's
                    raise
        raise AssertionError("unreachable: the second try returns or raises")

    def close(self) -> None:
        """End the child: first by closing its input, then by force."""
        with self._lock:
            if self._child is None:
                return
            for stream in (self._child.stdin, self._child.stdout):
                with contextlib.suppress(OSError):
                    stream.close()  # type: ignore[union-attr]
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=1.0)
            self._kill()
