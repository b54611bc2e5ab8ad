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
import errno
import faulthandler
import fcntl
import importlib
import os
import pickle
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any

from reelmill.annotators.pulse import child_worked, quiet_for
from reelmill.schemas.errors import Fault, Unusable

WALL_S = 120.0
MEMORY_BYTES = 4 << 30

_START_S = 60.0
_CLOSE_S = 1.0
_KILL_S = 5.0
_TAIL_BYTES = 2_000
_NOISE_BYTES = 1 << 20
_LENGTH = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1
_OPENCV_NO_MEMORY = -4
# What a process says that was refused memory and did not bear it: Python, C, C++, Rust, OpenCV, ONNX Runtime.
_NO_MEMORY_WORDS = re.compile(
    r"MemoryError|bad[_ ]alloc|(can't|cannot|failed to|unable to) allocate|memory allocation of|out of memory",
    re.IGNORECASE,
)
_FULL_SHARE = 0.6
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
}


class _DiedError(Exception):
    """The child ended without an answer; `no_memory` where it was memory that it lacked."""

    def __init__(self, how: str, *, no_memory: bool = False) -> None:
        self.no_memory = no_memory
        super().__init__(how)


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
        self._born_with = 0

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
            reason = "decode_memory" if died.no_memory else "decode_crashed"
            raise Unusable(reason, f"{function}: {died}; twice, the second time in a fresh process") from died

    def _ask(self, function: str, job: bytes, wall_s: float) -> dict[str, Any]:
        if self.pid is None:
            self._start()
        elif self._errors is not None and os.fstat(self._errors.fileno()).st_size > _NOISE_BYTES:
            self._errors.truncate(0)
        try:
            with quiet_for(wall_s + _KILL_S):
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
            ended = self._end()
            if clock.rang:
                raise TimeoutError(ended.how) from broken
            raise _DiedError(ended.how, no_memory=ended.lacked_memory(self.memory_bytes)) from broken
        except BaseException:
            self._end()  # interrupted in mid-answer: the next call must not read the rest of this one
            raise
        child_worked(answer.pop("cpu_s"))
        return answer

    def _start(self) -> None:
        self._end()
        if self._errors is None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object, see close()
            fcntl.fcntl(self._errors, fcntl.F_SETFL, os.O_APPEND)
        # The kernel's parent-death signal follows the *thread* that started the child, so that thread must stay.
        self._starter = self._starter or ThreadPoolExecutor(1, thread_name_prefix="isolated-starter")
        for last in (False, True):  # killed while it starts: no more the row's fault, nor ours, than later
            self._child = self._starter.submit(self._spawn, self._errors).result()
            try:
                with quiet_for(_START_S + _KILL_S):
                    self._born_with = self._exchange(pickle.dumps((self.memory_bytes, sys.path)), _START_S)["value"]
                return
            except (_DiedError, TimeoutError) as failed:
                if last or isinstance(failed, TimeoutError):
                    seen = f"it did not start: {failed}"
                    raise Fault("isolated child", seen=seen, do="check the installation") from failed

    def _spawn(self, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "reelmill.annotators.decode.isolated", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | _ONE_THREAD,
            start_new_session=True,  # a Ctrl-C in the terminal is the parent's affair; its own group can be ended whole
        )

    def _end(self) -> _Ended:
        """Make sure that the child is gone; says how it ended."""
        child, self._child = self._child, None
        if child is None:
            return _Ended("no child", "", 0)
        if _runs(child):
            _kill(child)
        peak = _reaped(child)
        peak = peak if peak > self._born_with else 0  # the kernel begins a child's peak with that of its parent
        for stream in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                _pipe(stream).close()
        return _Ended(_how(child.wait()), self._last_words(), peak)

    def _last_words(self) -> str:
        """What the child wrote to stderr, its end; the file is emptied for the next one."""
        if self._errors is None:
            return ""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _TAIL_BYTES))
        tail = self._errors.read().decode(errors="replace").strip()
        self._errors.truncate(0)
        return tail


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a child ended: by which code or signal, what it last wrote, and its peak of resident memory.

    0 is an unknown peak: not above what the process that started it had resident by then.
    """

    by: str
    words: str
    peak_bytes: int

    @property
    def how(self) -> str:
        peak = f" with {self.peak_bytes / 2**20:.0f} MiB at its peak" if self.peak_bytes else ""
        return f"{self.by}{peak}" + (f"; it last wrote: {self.words[-300:]}" if self.words else "")

    def lacked_memory(self, limit_bytes: int) -> bool:
        """True where it said so, or crashed with most of what it may have: native code seldom says so."""
        return bool(_NO_MEMORY_WORDS.search(self.words)) or self.peak_bytes > _FULL_SHARE * limit_bytes


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
    """End the child and whatever it started, by the group that it leads."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _runs(child: subprocess.Popen[bytes]) -> bool:
    """Whether a child is still there, without taking note of its end: what it used is told only once."""
    look = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return child.returncode is None and os.waitid(os.P_PID, child.pid, look) is None


def _reaped(child: subprocess.Popen[bytes]) -> int:
    """Wait for a child that is ending; its peak of resident memory in bytes, 0 where it was waited for before."""
    if child.returncode is not None:
        return 0
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return _peak_bytes(used)


def _peak_bytes(used: resource.struct_rusage) -> int:
    return used.ru_maxrss * 1024


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
    born = {"value": _peak_bytes(resource.getrusage(resource.RUSAGE_SELF)), "cpu_s": time.process_time()}
    _send(replies, pickle.dumps(born))
    while True:
        try:
            job = _receive(requests)
        except EOFError:
            return
        _send(replies, _answered(job))


def _die_with(parent_pid: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.register(signal.SIGUSR1, file=2)  # asked by a watchdog where it stands, it writes so to its stderr
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
    """The pickled answer to a job, with the processor time that it took. Pickling a value may need memory too."""
    before_s = time.process_time()
    try:
        name, args = pickle.loads(job)  # noqa: S301 - our own parent
        module, _, function = name.partition(":")
        value = getattr(importlib.import_module(module), function)(*args)
        return _dumped(before_s, value=value)
    except Exception as error:
        if _is_memory(error):
            traceback.clear_frames(error.__traceback__)  # what was eaten is held there, and an answer needs some too
            return _dumped(before_s, no_memory=f"{type(error).__name__}: {error}".rstrip(": "))
        trace = "".join(traceback.format_exception(error))[-4000:]
        return _dumped(before_s, error=_pickled(error), trace=trace)


def _dumped(before_s: float, **answer: Any) -> bytes:
    return pickle.dumps(answer | {"cpu_s": time.process_time() - before_s}, protocol=pickle.HIGHEST_PROTOCOL)


def _is_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    if type(error).__module__ == "cv2" and getattr(error, "code", 0) == _OPENCV_NO_MEMORY:
        return True
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY_WORDS.search(str(error)))


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
