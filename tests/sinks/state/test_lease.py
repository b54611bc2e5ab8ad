"""One writer at a time: live, dead, stopped, far away, with a reused process id or a wrong clock. Real processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reelmill.schemas.errors import Busy, Corrupt, StaleWriter, StoreUnusable
from reelmill.sinks.state import lease as leases
from reelmill.sinks.state import processes
from reelmill.sinks.state.lease import Lease, held, newest_token, require_newest, take
from reelmill.sinks.state.objects import LocalObjects
from reelmill.sinks.state.records import record_bytes

FORKS = multiprocessing.get_context("fork")
WHAT = "dataset clips@1"


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return LocalObjects(tmp_path)


class Holder:
    """A process that holds the lease until it is told to end, or killed."""

    def __init__(self, objects: LocalObjects, beat_s: float = 0.05) -> None:
        self.line, far = FORKS.Pipe()
        self.process: Any = FORKS.Process(target=self._hold, args=(objects, far, beat_s))
        self.process.start()
        self.token = self.line.recv()

    @staticmethod
    def _hold(objects: LocalObjects, line: Any, beat_s: float) -> None:
        leases.BEAT_S = beat_s
        with held(objects, take(objects, what=WHAT)) as lease:
            line.send(lease.token)
            line.recv()

    def end(self, *_: object) -> None:
        self.line.send("end")

    def kill(self) -> None:
        """As kill -9; it stays a zombie, since nobody asks how it ended."""
        os.kill(self.process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def holder(objects: LocalObjects) -> Iterator[Holder]:
    one = Holder(objects)
    yield one
    one.process.kill()
    one.process.join(10)


def edit(objects: LocalObjects, token: int, **changes: object) -> None:
    said = json.loads(objects.get(leases.token_name(token)))
    del said["sha256"]
    objects.put(leases.token_name(token), record_bytes(said | changes))


def released(objects: LocalObjects) -> list[str]:
    return [n for n in objects.list("leases") if n.endswith(".released")]


# ---- on this machine -------------------------------------------------------------------------------------------------


def test_a_live_holder_is_named(objects: LocalObjects, holder: Holder) -> None:
    with pytest.raises(Busy, match=rf"^{WHAT} is being written by another run; seen: process {holder.process.pid} on "):
        take(objects, what=WHAT)
    assert Busy.exit_code == 2
    assert newest_token(objects) == 1


def test_a_killed_holder_is_followed_at_once(objects: LocalObjects, holder: Holder) -> None:
    holder.kill()
    started = time.monotonic()
    assert take(objects, what=WHAT, dead_after_s=600) == Lease(2)
    assert time.monotonic() - started < 60


def test_a_stopped_holder_is_alive(objects: LocalObjects, holder: Holder) -> None:
    os.kill(holder.process.pid, signal.SIGSTOP)
    os.waitpid(holder.process.pid, os.WUNTRACED)
    with pytest.raises(Busy):
        take(objects, what=WHAT, dead_after_s=0.1)


def test_waiting_ends_with_the_holder(objects: LocalObjects, holder: Holder) -> None:
    told: list[int] = []

    def waiting(who: dict[str, Any]) -> None:
        told.append(who["pid"])
        holder.end()

    assert take(objects, what=WHAT, wait_s=60, waiting=waiting) == Lease(2)
    assert told == [holder.process.pid]
    assert released(objects) == ["000001.released"]


def test_waiting_has_an_end(objects: LocalObjects, holder: Holder) -> None:
    started = time.monotonic()
    with pytest.raises(Busy):
        take(objects, what=WHAT, wait_s=0.5)
    assert time.monotonic() - started >= 0.5


def test_a_reused_process_id_is_no_holder(objects: LocalObjects, holder: Holder) -> None:
    edit(objects, 1, start="12345")
    assert take(objects, what=WHAT, dead_after_s=600) == Lease(2)


def test_a_process_is_its_own_rival(objects: LocalObjects) -> None:
    with held(objects, take(objects, what=WHAT)), pytest.raises(Busy, match=f"process {os.getpid()} "):
        take(objects, what=WHAT)


@pytest.mark.parametrize("away_s", [-20 * 365 * 86400.0, 20 * 365 * 86400.0])
def test_no_wall_clock_matters(
    objects: LocalObjects, holder: Holder, monkeypatch: pytest.MonkeyPatch, away_s: float
) -> None:
    now, gmtime = time.time, time.gmtime
    monkeypatch.setattr(time, "time", lambda: now() + away_s)
    monkeypatch.setattr(time, "gmtime", lambda: gmtime(now() + away_s))
    with pytest.raises(Busy):
        take(objects, what=WHAT, dead_after_s=0.1)
    edit(objects, 1, machine="elsewhere", taken_at="1970-01-01T00:00:00Z")
    with pytest.raises(Busy):
        take(objects, what=WHAT, dead_after_s=20)
    holder.kill()
    assert take(objects, what=WHAT, dead_after_s=0.5) == Lease(2)


# ---- elsewhere -------------------------------------------------------------------------------------------------------


def test_a_holder_elsewhere_lives_while_it_beats(objects: LocalObjects, holder: Holder) -> None:
    edit(objects, 1, machine="elsewhere", host="node7")
    with pytest.raises(Busy, match="on node7 since"):
        take(objects, what=WHAT, dead_after_s=20)
    os.kill(holder.process.pid, signal.SIGSTOP)
    os.waitpid(holder.process.pid, os.WUNTRACED)
    started = time.monotonic()
    assert take(objects, what=WHAT, dead_after_s=0.6) == Lease(2)
    assert time.monotonic() - started >= 0.6


def test_a_holder_elsewhere_that_never_beat_is_given_time(objects: LocalObjects) -> None:
    take(objects, what=WHAT)
    edit(objects, 1, machine="elsewhere")
    started = time.monotonic()
    assert take(objects, what=WHAT, dead_after_s=0.4) == Lease(2)
    assert time.monotonic() - started >= 0.4


def test_where_processes_have_no_start_time_beats_decide(objects: LocalObjects, holder: Holder) -> None:
    edit(objects, 1, start="")
    with pytest.raises(Busy):
        take(objects, what=WHAT, dead_after_s=20)


def test_the_process_of_another_user_that_is_hidden_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(pid: int, number: int) -> None:
        raise PermissionError

    assert processes.lives(os.getpid(), processes.start_of(os.getpid())) is True
    assert processes.lives(2**22 + 1, "77") is False
    monkeypatch.setattr(processes, "start_of", lambda pid: "")
    monkeypatch.setattr(os, "kill", forbidden)
    assert processes.lives(1, "77") is None


# ---- races, release --------------------------------------------------------------------------------------------------


def _rival(objects: LocalObjects, gate: Any, answers: Any) -> None:
    gate.wait(60)
    try:
        answers.put(take(objects, what=WHAT).token)
    except Busy:
        answers.put(None)
    gate.wait(60)  # the winner lives until all have asked


@pytest.mark.parametrize("before", [0, 1])
def test_of_many_takers_one_wins(objects: LocalObjects, before: int) -> None:
    if before:
        take(objects, what=WHAT)
        edit(objects, 1, start="0")
    gate, answers = FORKS.Barrier(4), FORKS.Queue()
    rivals: list[Any] = [FORKS.Process(target=_rival, args=(objects, gate, answers)) for _ in range(4)]
    for rival in rivals:
        rival.start()
    told = [answers.get(timeout=60) for _ in rivals]
    for rival in rivals:
        rival.join(60)
    assert sorted(told, key=str) == [before + 1, None, None, None]
    assert newest_token(objects) == before + 1


@pytest.mark.parametrize("error", [None, ValueError("a bug"), KeyboardInterrupt()])
def test_a_lease_ends_with_its_run_however_that_ends(objects: LocalObjects, error: BaseException | None) -> None:
    def run() -> None:
        with held(objects, take(objects, what=WHAT)):
            if error is not None:
                raise error

    if error is None:
        run()
    else:
        with pytest.raises(type(error)):
            run()
    assert released(objects) == ["000001.released"]
    assert take(objects, what=WHAT) == Lease(2)


def test_a_full_disk_does_not_hide_why_a_run_ended(objects: LocalObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(LocalObjects):
        def put_if_absent(self, name: str, data: bytes) -> bool:
            raise StoreUnusable(str(self.root), seen="No space left on device")

        def put(self, name: str, data: bytes) -> None:
            raise OSError("a beat that was missed")

    with pytest.raises(ValueError, match="the reason"), held(Full(objects.root), Lease(1)):
        raise ValueError("the reason")


def test_the_first_of_two_leases_is_stale(objects: LocalObjects) -> None:
    with held(objects, take(objects, what=WHAT)) as first:
        require_newest(objects, first)
    take(objects, what=WHAT)
    with pytest.raises(StaleWriter, match="the run with lease 1 lost its lease; seen: lease 2 was taken"):
        require_newest(objects, first)


# ---- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format": 1, "pid"', b"\xff\xfe", b"[1]"])
def test_a_damaged_lease_is_not_taken_for_a_dead_one(objects: LocalObjects, data: bytes) -> None:
    take(objects, what=WHAT)
    objects.put(leases.token_name(1), data)
    with pytest.raises(Corrupt, match=r"leases/000001.json is corrupt; seen: .*; do: make sure that no run"):
        take(objects, what=WHAT)


def test_other_files_among_the_leases_are_let_be(objects: LocalObjects) -> None:
    for name in ("000009 (copy).json", "notes.txt", "latest.json"):
        objects.put(f"leases/{name}", b"{}")
    assert take(objects, what=WHAT) == Lease(1)


def test_a_command_line_that_is_no_text_is_no_trouble(objects: LocalObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["reelmill", "clips", "/media/\udcff.mp4"])
    assert take(objects, what=WHAT) == Lease(1)
    assert json.loads(objects.get(leases.token_name(1)))["argv"][2] == "/media/\\udcff.mp4"
