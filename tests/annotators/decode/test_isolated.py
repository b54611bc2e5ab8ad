"""The child process for native code: limits on time and memory, crashes, restarts; every one of them done for real."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from reelmill.annotators.decode.isolated import Isolated
from reelmill.annotators.pulse import Pulse, told_to
from reelmill.schemas.errors import Fault, NotFound, Unusable

JOBS = """
import ctypes, os, signal, sys, time
import numpy as np
from reelmill.schemas.errors import NotFound, Unusable

def pid(): return os.getpid()
def loops():
    while True: pass
def eats(): return [np.ones(1 << 27) for _ in range(64)]
def eats_crumbs():
    held = []
    while True: held.append(bytearray(10_000))
def eats_natively():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    while True: ctypes.memset(libc.malloc(1 << 24), 1, 1 << 24)
def is_refused_at_once():
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\\n")
    os.abort()
def says_no_memory(): raise RuntimeError("onnxruntime: std::bad_alloc")
def crashes(): os.kill(os.getpid(), signal.SIGSEGV)
def crashes_once(mark):
    if not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGABRT)
    return "second time"
def last_words():
    os.write(2, b"the decoder said: bad huffman code")
    os.abort()
def refuses(): raise Unusable("too_dark", "luma 2 of 255")
def wrong(): return {}["missing"]
def not_found(): raise NotFound("engine 'x'", seen="none", do="choose one")
def no_module(): import no_such_module
class Odd(Exception):
    def __init__(self, a, b): super().__init__(a)
def odd(): raise Odd(1, 2)
def noisy():
    print("from python")
    ctypes.CDLL(None).puts(b"from native code")
    os.write(1, b"x" * 100_000)
    return sys.stdin.read()
def echo(value): return value
def burns(seconds):
    start = time.process_time()
    while time.process_time() - start < seconds: pass
def threads():
    import cv2
    return cv2.getNumThreads(), os.environ["OMP_NUM_THREADS"]
def unpicklable(): return lambda: 0
def grandchild():
    import subprocess
    return subprocess.Popen(["sleep", "600"]).pid
def core():
    import resource
    return resource.getrlimit(resource.RLIMIT_CORE)
def waits_once(mark):
    if not os.path.exists(mark):
        open(mark, "w").close()
        signal.pause()
    return "answer"
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    (tmp_path / "isolated_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(str(tmp_path))
    with Isolated(memory_bytes=2 << 30) as isolated:  # more than this process has resident after other tests
        yield isolated


def call(child, name, *args, wall_s=30.0):
    return child.call(f"isolated_jobs:{name}", *args, wall_s=wall_s)


def gone(pid: int, within_s: float = 10.0) -> bool:
    """True once a process has ended (or is only waiting to be reaped)."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        os.sched_yield()
    return False


def test_one_child_serves_many_jobs(child):
    first = call(child, "pid")
    assert first == call(child, "pid") == child.pid != os.getpid()
    payload = {"bytes": b"\x00" * 3_000_000, "text": "ü"}
    assert call(child, "echo", payload) == payload


def test_a_loop_is_ended_and_the_next_job_runs(child):
    before = call(child, "pid")
    with pytest.raises(Unusable) as ended:
        call(child, "loops", wall_s=0.3)
    assert ended.value.reason == "decode_timeout"
    assert gone(before)
    assert call(child, "pid") != before


def test_eating_memory_is_unusable_and_does_not_starve_the_next_job(child):
    with pytest.raises(Unusable) as ended:
        call(child, "eats")
    assert ended.value.reason == "decode_memory"
    assert call(child, "echo", 1) == 1


@pytest.mark.parametrize("job", ["eats_crumbs", "eats_natively", "is_refused_at_once", "says_no_memory"])
def test_memory_is_named_also_where_native_code_does_not_bear_the_lack_of_it(child, job):
    """A `malloc` that nobody checked is a crash by its signal; the reason must be the true one."""
    with pytest.raises(Unusable) as ended:
        call(child, job)
    assert ended.value.reason == "decode_memory", ended.value.detail
    assert call(child, "echo", 1) == 1


def test_a_crash_is_tried_once_more(child, tmp_path):
    assert call(child, "crashes_once", str(tmp_path / "mark")) == "second time"


def test_a_second_crash_names_the_signal_and_the_last_words(child):
    with pytest.raises(Unusable) as ended:
        call(child, "crashes")
    assert ended.value.reason == "decode_crashed"
    assert "signal 11 (SIGSEGV)" in ended.value.detail
    with pytest.raises(Unusable, match="bad huffman code"):
        call(child, "last_words")
    assert call(child, "echo", 1) == 1


def test_a_large_driver_does_not_lend_its_size_to_a_crash(tmp_path):
    """The kernel begins the peak of a child with that of the process that starts it."""
    (tmp_path / "isolated_jobs.py").write_text(JOBS)
    driver = """
from reelmill.annotators.decode.isolated import Isolated
from reelmill.schemas.errors import Unusable
held = b"1" * (900 << 20)
with Isolated(memory_bytes=1 << 30) as child:
    try:
        child.call("isolated_jobs:crashes", wall_s=60)
    except Unusable as ended:
        print(ended.reason, "MiB" in ended.detail)
"""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    said = subprocess.run([sys.executable, "-c", driver], env=env, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["decode_crashed", "False"]


def test_killed_from_outside_while_idle(child):
    before = call(child, "pid")
    os.kill(before, signal.SIGKILL)
    assert call(child, "pid") != before


@pytest.mark.parametrize("kills", [1, 2])
def test_killed_from_outside_while_starting(child, monkeypatch, kills):
    spawn, killed = child._spawn, list[int]()

    def spawned(errors):
        made = spawn(errors)
        if len(killed) < kills:
            made.kill()
            killed.append(made.pid)
        return made

    monkeypatch.setattr(child, "_spawn", spawned)
    if kills == 1:
        assert call(child, "echo", "hear") == "hear"
    else:
        with pytest.raises(Fault, match=r"did not start: signal 9 \(SIGKILL\)"):
            call(child, "echo", "hear")
    assert len(killed) == kills


def test_killed_from_outside_while_working(child, tmp_path):
    before, mark = call(child, "pid"), tmp_path / "mark"

    def kill_once_it_works() -> None:
        while not mark.exists():
            os.sched_yield()
        os.kill(before, signal.SIGKILL)

    killer = threading.Thread(target=kill_once_it_works)
    killer.start()
    assert call(child, "waits_once", str(mark)) == "answer"
    killer.join()
    assert call(child, "pid") != before


def test_judgement_and_errors_come_through_as_they_are(child):
    with pytest.raises(Unusable) as judged:
        call(child, "refuses")
    assert (judged.value.reason, judged.value.detail) == ("too_dark", "luma 2 of 255")
    with pytest.raises(NotFound, match="choose one"):
        call(child, "not_found")
    with pytest.raises(KeyError) as wrong:
        call(child, "wrong")
    assert "isolated_jobs.py" in wrong.value.__notes__[0]
    with pytest.raises(ModuleNotFoundError):
        call(child, "no_module")
    with pytest.raises(Exception, match="cannot be pickled"):
        call(child, "odd")
    with pytest.raises((pickle.PicklingError, AttributeError)):
        call(child, "unpicklable")
    assert call(child, "echo", 1) == 1


def test_output_of_native_code_does_not_spoil_the_answers(child, capfd):
    assert call(child, "noisy") == ""
    assert call(child, "echo", 2) == 2
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_one_thread_and_no_core_files(child):
    assert call(child, "threads") == (1, "1")
    assert call(child, "core") == (0, 0)


def test_calls_from_several_threads_do_not_mix(child):
    got: dict[int, int] = {}
    threads = [threading.Thread(target=lambda n=n: got.__setitem__(n, call(child, "echo", n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {n: n for n in range(8)}


def test_the_child_outlives_the_thread_that_started_it(child):
    pids = []
    thread = threading.Thread(target=lambda: pids.append(call(child, "pid")))
    thread.start()
    thread.join()
    assert call(child, "pid") == pids[0]


def test_close_ends_the_child_and_a_later_call_starts_another(child):
    before = call(child, "pid")
    child.close()
    assert gone(before)
    assert child.pid is None
    assert call(child, "echo", 3) == 3


def test_what_the_child_started_ends_with_it(child):
    started = call(child, "grandchild")
    with pytest.raises(Unusable):
        call(child, "loops", wall_s=0.2)
    assert gone(started)


def test_a_pickled_copy_has_a_child_of_its_own(child):
    with pickle.loads(pickle.dumps(child)) as copy:
        assert copy.memory_bytes == child.memory_bytes
        assert call(copy, "pid") != call(child, "pid")


@pytest.mark.parametrize("job", ["os:getpid", "isolated_jobs:loops"])
def test_the_child_dies_with_its_parent(child, tmp_path, clean_env, job):
    """Also in the middle of a job that never looks at its input."""
    program = f"""
import sys, threading
sys.path.insert(0, {str(tmp_path)!r})
from reelmill.annotators.decode.isolated import Isolated
child = Isolated()
print(child.call("os:getpid"), flush=True)
child.call({job!r}, wall_s=600)
sys.stdin.read()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_env
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not gone(pid, within_s=0.0)
    parent.kill()
    parent.communicate()
    assert gone(pid)


def test_the_childs_processor_time_is_told(child):
    with told_to(Pulse()) as pulse:
        child.call("isolated_jobs:echo", 1)
        started_s = pulse.children_s
        child.call("isolated_jobs:burns", 0.2)
    assert started_s > 0.0
    assert 0.2 <= pulse.children_s - started_s < 1.0
