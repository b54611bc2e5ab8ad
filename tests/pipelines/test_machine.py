"""What a process may use: affinity is asked for real, control groups are folders of files as the kernel writes them."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reelmill.pipelines import _machine
from reelmill.pipelines._machine import usable_bytes, usable_cpus

HERE = len(os.sched_getaffinity(0))
GIB = 1 << 30


def v2(root: Path, cpu: str = "max 100000", memory: str = "max", above: str = "max 100000") -> Path:
    """A process in the group /box/job of a v2 tree."""
    files = {
        "proc/self/cgroup": "0::/box/job\n",
        "proc/meminfo": "MemTotal: 9999999 kB\nMemAvailable:    6291456 kB\n",
        "sys/fs/cgroup/box/cpu.max": above,
        "sys/fs/cgroup/box/job/cpu.max": cpu,
        "sys/fs/cgroup/box/job/memory.max": memory,
    }
    return tree(root, files)


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


def v1(root: Path, quota: str, memory: str = "9223372036854771712") -> Path:
    """As docker mounts a v1 tree: the process's path is the host's, and only its own group can be seen."""
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": quota,
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": memory,
    }
    return tree(root, files)


def test_no_quota_leaves_the_affinity(tmp_path: Path) -> None:
    assert usable_cpus(v2(tmp_path)) == HERE
    assert usable_cpus(v1(tmp_path / "old", "-1")) == HERE
    assert usable_cpus(tmp_path / "nothing") == HERE


@pytest.mark.parametrize(("quota", "cpus"), [("150000 100000", 1.5), ("50000 100000", 0.5), ("6400000 100000", HERE)])
def test_a_quota_narrows(tmp_path: Path, quota: str, cpus: float) -> None:
    assert usable_cpus(v2(tmp_path / "own", cpu=quota)) == min(cpus, HERE)
    assert usable_cpus(v2(tmp_path / "above", above=quota)) == min(cpus, HERE)
    assert usable_cpus(v1(tmp_path / "old", quota.split()[0])) == min(cpus, HERE)


def test_memory_is_the_least_of_what_is_there_and_what_is_granted(tmp_path: Path) -> None:
    assert usable_bytes(v2(tmp_path)) == 6 * GIB
    assert usable_bytes(v2(tmp_path, memory=str(2 * GIB))) == 2 * GIB
    assert usable_bytes(v1(tmp_path / "old", "-1", str(3 * GIB))) == 3 * GIB
    assert usable_bytes(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("cpus", "room", "workers"),
    [(1.5, None, 2), (0.2, None, 1), (16.0, 2 * GIB, 4), (16.0, GIB // 4, 1), (4.0, 64 * GIB, 4)],
)
def test_workers_by_default(monkeypatch: pytest.MonkeyPatch, cpus: float, room: int | None, workers: int) -> None:
    monkeypatch.setattr(_machine, "usable_cpus", lambda: cpus)
    monkeypatch.setattr(_machine, "usable_bytes", lambda: room)
    assert _machine.default_workers() == workers


def test_a_process_held_to_one_core_makes_one_worker() -> None:
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    program += "from reelmill.pipelines._run import Local; print(Local().workers)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "1\n"


def test_this_machine_is_seen() -> None:
    assert 0 < usable_cpus() <= HERE
    assert 1 <= _machine.default_workers() <= math.ceil(HERE)
    assert _machine.gpus() >= 0


def test_hidden_gpus_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert _machine.gpus() == 0
