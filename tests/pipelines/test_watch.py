"""What the watchdog looks at: beats, allowed silence, the clock of a process that was stopped, the stacks of others."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import toy

from reelmill.annotators.decode.isolated import Isolated
from reelmill.annotators.pulse import Pulse, beat, beating, quiet_for, told_to
from reelmill.pipelines import _stacks
from reelmill.pipelines._watch import Board, Silence, look_every
from reelmill.schemas.errors import Unusable


def test_every_row_is_a_beat_and_nobody_listens_elsewhere() -> None:
    with told_to(Pulse()) as pulse:
        toy.Measure()(pa.table({"key": ["a", "b", "bomb"], "word": ["alpha", "b", "bomb"]}))
        assert pulse.beats == 3
        assert list(beating("xyz")) == ["x", "y", "z"]
        assert pulse.beats == 6
    beat()
    assert pulse.beats == 6


def test_beats_of_threads_do_not_mix() -> None:
    pulses = [Pulse(), Pulse()]

    def work(pulse: Pulse, times: int) -> None:
        with told_to(pulse):
            for _ in range(times):
                beat()

    threads = [threading.Thread(target=work, args=(p, n)) for p, n in zip(pulses, (5, 7), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [p.beats for p in pulses] == [5, 7]


def test_silence_is_allowed_for_a_time_and_no_longer() -> None:
    board = Board(1.0)
    with told_to(board.pulse()):
        with quiet_for(60.0):
            assert board.quiet()
        assert not board.quiet()
        with quiet_for(0.0):
            assert not board.quiet()


def test_a_call_of_a_child_is_allowed_its_limit() -> None:
    pulse, seen = Pulse(), list[bool]()

    def work() -> None:
        with told_to(pulse), Isolated() as child:
            child.call("os:getpid")
            with pytest.raises(Unusable, match="decode_timeout"):
                child.call("signal:pause", wall_s=0.5)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        seen.append(pulse.quiet())
        thread.join(0.02)
    assert any(seen)
    assert not pulse.quiet()


def test_silence_adds_up_and_ends_with_a_move() -> None:
    silence, wait = Silence(0.05), threading.Event().wait
    assert silence.look("a", quiet=False) == 0.0
    wait(0.05)
    assert silence.look("a", quiet=False) > 0.0
    wait(0.05)
    assert silence.look("a", quiet=False) >= 0.09
    assert silence.look("b", quiet=False) == 0.0
    wait(0.05)
    assert silence.look("b", quiet=True) == 0.0


def test_time_in_which_the_process_was_stopped_is_no_silence() -> None:
    """A look that comes late counts as two at most, however long ago the last one was."""
    silence = Silence(0.01)
    silence.look("a", quiet=False)
    threading.Event().wait(0.3)
    assert silence.look("a", quiet=False) <= 0.02


@pytest.mark.parametrize(("after", "every"), [(0.1, 0.05), (6.0, 0.3), (3600.0, 5.0)])
def test_looks_are_neither_rare_nor_many(after: float, every: float) -> None:
    assert look_every(after) == pytest.approx(every)


def test_the_board_names_workers_that_are_busy_and_else_the_driver() -> None:
    board = Board()
    board.driver.at("listing")
    idle, busy = board.pulse(), board.pulse()
    idle.at("")
    assert board.doing() == ["listing for 0 s"]
    busy.at("cut_clips", ["a", "b", "c", "d"])
    assert board.doing() == ["cut_clips on 4 rows (a, b, c, ...) for 0 s"]


SLEEPER = """# reelmill: only such processes are asked
import faulthandler, signal, sys
if "listens" in sys.argv: faulthandler.register(signal.SIGUSR1, file=2)
def waits_here():
    print("ready", flush=True)
    while True: signal.pause()
waits_here()
"""


@pytest.fixture
def sleeper(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    with (tmp_path / "stderr").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", SLEEPER, request.param, "reelmill"], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("sleeper", ["listens"], indirect=True)
def test_a_process_that_listens_tells_its_stack(sleeper: subprocess.Popen[str]) -> None:
    assert sleeper.pid in _stacks.below(os.getpid())
    assert "in waits_here" in _stacks.asked(sleeper.pid)
    assert re.search(rf"== process {sleeper.pid}: .*\n(.*\n)+?.*in waits_here", _stacks.family(os.getpid()))
    os.kill(sleeper.pid, signal.SIGSTOP)
    assert _stacks.asked(sleeper.pid).startswith("it did not answer")


@pytest.mark.parametrize("sleeper", ["deaf"], indirect=True)
def test_a_process_that_does_not_listen_is_left_alone(sleeper: subprocess.Popen[str]) -> None:
    """SIGUSR1 ends whoever does not handle it."""
    assert _stacks.asked(sleeper.pid) == ""
    assert sleeper.poll() is None
    assert f"== process {sleeper.pid}" in _stacks.family(os.getpid())
    assert sleeper.poll() is None


def test_the_threads_of_this_process_are_told_by_name() -> None:
    go = threading.Event()
    thread = threading.Thread(target=go.wait, name="the-waiting-one")
    thread.start()
    try:
        said = _stacks.own()
    finally:
        go.set()
        thread.join()
    assert "the-waiting-one" in said
    assert "test_the_threads_of_this_process_are_told_by_name" in said
