"""A persistent child process for native code on untrusted bytes, with limits on time and memory.

A decoder that loops, eats the memory or crashes takes only the child with it: the caller gets an `Unusable` that says
so. The child speaks pickle over two pipes, length first; native libraries cannot write into them (stdout goes to
stderr, and stderr is kept for the message of a crash). It bounds accidents; it is no sandbox against an attacker.

>>> with Isolated() as child:
...     child.call("os.path:basename", "/a/b", wall_s=10)
'b'
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import IO, Any

from reelmill.schemas.errors import Fault, Unusable

WALL_S = 120.0
MEMORY_BYTES = 4 << 30

_START_S = 60.0
_CLOSE_S = 1.0
_TAIL_BYTES = 2_000
_NOISE_BYTES = 1 << 20
_LENGTH = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1
_OPENCV_NO_MEMORY = -4
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
}


class _DiedError(Exception):
    """The child ended without an answer."""


class Isolated:
    """One child, one job at a time; calls from several threads wait for each other.

    `memory_bytes` limits the child's address space. The child is started by the first call, after a crash, and again
    where somebody killed it in between; it dies with this process. A pickled copy starts a child of its own.
    """

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self.memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._starter: ThreadPoolExecutor | None = None
        self._errors: IO[bytes] | None = None

    def __enter__(self) -> Isolated:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.memory_bytes,)

    @property
    def pid(self) -> int | None:
        """Process id of the living child; None before the first call and after a crash."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def call(self, function: str, *args: Any, wall_s: float = WALL_S) -> Any:
        """What `module:function` returns for `args` in the child, within `wall_s` seconds.

        Raises Unusable as the function does, and decode_timeout, decode_memory, decode_crashed (twice, the second time
        in a fresh process). Any other exception is raised again as it was, with the child's traceback as a note.
        """
        job = pickle.dumps((function, args), protocol=pickle.HIGHEST_PROTOCOL)
        with self._lock:
            try:
                answer = self._ask(function, job, wall_s)
            except _DiedError:
                answer = self._ask_again(function, job, wall_s)
        return _opened(answer, function)

    def close(self) -> None:
        """End the child: first by closing its input, then by force. A later call starts a new one."""
        with self._lock:
            if self._child is not None:
                with contextlib.suppress(OSError):
                    _pipe(self._child.stdin).close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._child.wait(timeout=_CLOSE_S)
                self._end()
            if self._starter is not None:
                self._starter.shutdown()
                self._starter = None
            if self._errors is not None:
                self._errors.close()
                self._errors = None

    def _ask_again(self, function: str, job: bytes, wall_s: float) -> dict[str, Any]:
        try:
            return self._ask(function, job, wall_s)
        except _DiedError as died:
            raise Unusable("decode_crashed", f"{function}: {died}; twice, the second time in a fresh process") from died

    def _ask(self, function: str, job: bytes, wall_s: float) -> dict[str, Any]:
        if self.pid is None:
            self._start()
        elif self._errors is not None and os.fstat(self._errors.fileno()).st_size > _NOISE_BYTES:
            self._errors.truncate(0)
        try:
            answer = self._exchange(job, wall_s)
        except TimeoutError as late:
            raise Unusable("decode_timeout", f"{function} was ended after {wall_s:g} s") from late
        if "no_memory" in answer:
            self._end()  # what it still holds would starve the next job
        return answer

    def _exchange(self, message: bytes, wall_s: float) -> dict[str, Any]:
        """Send one message and wait for its answer; the child does not outlive a broken exchange."""
        child = self._child
        if child is None:
            raise Fault("isolated child", seen="asked before it was started", do="report this")
        clock = _Clock(child, wall_s)
        try:
            with clock:
                _send(_pipe(child.stdin), message)
                answer: dict[str, Any] = pickle.loads(_receive(_pipe(child.stdout)))  # noqa: S301 - our own child
        except (EOFError, OSError) as broken:
            how = self._end()
            if clock.rang:
                raise TimeoutError(how) from broken
            raise _DiedError(how) from broken
        except BaseException:
            self._end()  # interrupted in mid-answer: the next call must not read the rest of this one
            raise
        return answer

    def _start(self) -> None:
        self._end()
        if self._errors is None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object, see close()
            fcntl.fcntl(self._errors, fcntl.F_SETFL, os.O_APPEND)
        # The kernel's parent-death signal follows the *thread* that started the child, so that thread must stay.
        self._starter = self._starter or ThreadPoolExecutor(1, thread_name_prefix="isolated-starter")
        self._child = self._starter.submit(self._spawn, self._errors).result()
        try:
            self._exchange(pickle.dumps((self.memory_bytes, sys.path)), _START_S)
        except (_DiedError, TimeoutError) as failed:
            raise Fault("isolated child", seen=f"it did not start: {failed}", do="check the installation") from failed

    def _spawn(self, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "reelmill.annotators.decode.isolated", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | _ONE_THREAD,
            start_new_session=True,  # a Ctrl-C in the terminal is the parent's affair; its own group can be ended whole
        )

    def _end(self) -> str:
        """Make sure that the child is gone; says how it ended and what it last wrote to stderr."""
        child, self._child = self._child, None
        if child is None:
            return "no child"
        if child.poll() is None:
            _kill(child)
        code = child.wait()
        for stream in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                _pipe(stream).close()
        return f"{_how(code)}{self._last_words()}"

    def _last_words(self) -> str:
        """What the child wrote to stderr, its end; the file is emptied for the next one."""
        if self._errors is None:
            return ""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _TAIL_BYTES))
        tail = self._errors.read().decode(errors="replace").strip()
        self._errors.truncate(0)
        return f"; it last wrote: {tail[-300:]}" if tail else ""


class _Clock:
    """Ends a child when the time is up; `rang` says whether it did."""

    def __init__(self, child: subprocess.Popen[bytes], wall_s: float) -> None:
        self.rang = False
        self._child = child
        self._timer = threading.Timer(wall_s, self._ring)
        self._timer.daemon = True

    def _ring(self) -> None:
        self.rang = True
        _kill(self._child)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()


def _again(memory_bytes: int) -> Isolated:
    return Isolated(memory_bytes=memory_bytes)


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise Fault("isolated child", seen="a pipe that was never opened", do="report this")
    return stream


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started (ffprobe), by the group that it leads."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {-code} ({signal.Signals(-code).name})"


def _opened(answer: dict[str, Any], function: str) -> Any:
    """The value of an answer, or its error raised here."""
    if "value" in answer:
        return answer["value"]
    if "no_memory" in answer:
        raise Unusable("decode_memory", f"{function}: {answer['no_memory']}")
    error = pickle.loads(answer["error"]) if answer["error"] else None  # noqa: S301 - our own child
    if error is None:
        raise Fault(function, seen=f"an error that cannot be pickled\n{answer['trace']}", do="read the traceback")
    if not isinstance(error, Unusable):
        error.add_note(f"in the isolated child:\n{answer['trace']}")
    raise error


def _send(stream: IO[bytes], message: bytes) -> None:
    stream.write(_LENGTH.pack(len(message)))
    stream.write(message)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes:
    """One whole message. Raises EOFError where the other side is gone."""
    size = _LENGTH.unpack(_exactly(stream, _LENGTH.size))[0]
    return _exactly(stream, size)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError(f"{len(data)} of {size} bytes")
    return data


# ---- the child's side ------------------------------------------------------------------------------------------------


def _serve(parent_pid: int) -> None:
    """Answer jobs until the input ends."""
    _die_with(parent_pid)
    requests, replies = _own_pipes()
    memory_bytes, sys.path[:] = pickle.loads(_receive(requests))  # noqa: S301 - our own parent
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    _send(replies, pickle.dumps({"value": "ready"}))
    while True:
        try:
            job = _receive(requests)
        except EOFError:
            return
        _send(replies, _answered(job))


def _die_with(parent_pid: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):  # not Linux: the end of the input does it, between jobs
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit("the parent was gone before the child began")


def _own_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Move the pipes away from descriptors 0 and 1, which native libraries and `print` write to."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return requests, replies


def _answered(job: bytes) -> bytes:
    try:
        name, args = pickle.loads(job)  # noqa: S301 - our own parent
        module, _, function = name.partition(":")
        value = getattr(importlib.import_module(module), function)(*args)
        return pickle.dumps({"value": value}, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        if _is_memory(error):
            return pickle.dumps({"no_memory": f"{type(error).__name__}: {error}".rstrip(": ")})
        trace = "".join(traceback.format_exception(error))[-4000:]
        return pickle.dumps({"error": _pickled(error), "trace": trace})


def _is_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return True
    return type(error).__module__ == "cv2" and getattr(error, "code", 0) == _OPENCV_NO_MEMORY


def _pickled(error: Exception) -> bytes:
    """The exception as bytes, without its traceback; empty where it cannot make the journey and back."""
    try:
        data = pickle.dumps(error)
        pickle.loads(data)  # noqa: S301 - what was just made
    except Exception:
        return b""
    return data


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
