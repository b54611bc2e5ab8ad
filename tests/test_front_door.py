"""The front door: `.ci/run` reports what the suite said; `make` explains itself and stops with words where it must."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def with_stub(folder: Path, name: str, script: str) -> dict[str, str]:
    """Environment whose PATH finds a stand-in for one program first."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return dict(os.environ) | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("code", "closing"), [(0, "== 41 passed in 3.05s =="), (1, "= 1 failed, 40 passed in 65.1s (0:01:05) =")]
)
def test_ci_runs_make_test_and_ends_as_the_suite_ended(code: int, closing: str, root: Path, tmp_path: Path) -> None:
    env = with_stub(tmp_path, "make", f'echo "called: $*"; echo "{closing}"; echo after; exit {code}')
    done = subprocess.run(
        [str(root / ".ci" / "run")], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code
    assert "called: test\n" in done.stdout
    assert done.stdout.splitlines()[-1] == f"ci: pytest closed with: {closing}"


def test_ci_says_so_when_the_suite_never_ended(root: Path, tmp_path: Path) -> None:
    env = with_stub(tmp_path, "make", "echo setup: failed >&2; exit 2")
    done = subprocess.run([str(root / ".ci" / "run")], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "did not get to its end" in done.stdout.splitlines()[-1]


def make(root: Path, cwd: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-f", str(root / "Makefile"), *args]
    env = {
        k: v for k, v in os.environ.items() if not k.startswith("MAKE")
    }  # the make that started the tests is not ours
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60)


def test_make_alone_lists_every_target(root: Path, tmp_path: Path) -> None:
    listed = make(root, tmp_path)
    assert listed.returncode == 0
    shown = {line.split()[1] for line in listed.stdout.splitlines() if line.startswith("  make ")}
    asked = {"help", "setup", "setup-demo", "demo", "demo-teacher", "test", "check", "check-vllm-cpu", "docs", "bench"}
    assert (
        asked
        | {
            "bench-gpu",
            "bench-packing",
            "chaos",
            "check-exports",
            "check-training",
            "check-versions",
            "clean",
            "demo-train",
        }
        == shown
    )


def test_without_a_new_python_setup_says_what_to_do_and_leaves_no_stamp(root: Path, tmp_path: Path) -> None:
    (tmp_path / "constraints").mkdir()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "constraints" / "cpu.txt").touch()
    refused = make(root, tmp_path, "setup", "PYTHON=")
    assert refused.returncode != 0
    assert "no Python >= 3.11 found" in refused.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_python_that_is_not_there_is_one_line_and_nothing_is_made(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(root / "benchmarks" / "check_versions.py"), str(tmp_path / "made")]
    env = dict(os.environ) | {"PATH": str(tmp_path)}
    refused = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert refused.stdout.startswith("check-versions: no Python 3.12, 3.13, 3.11 found on PATH and in pyenv; install")
    assert not (tmp_path / "made").exists()


def test_the_typing_tree_is_made_again_over_an_old_one(root: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert make(root, tmp_path, "typing").returncode == 0
    links = {p.name: str(p.readlink()) for p in (tmp_path / ".typing" / "reelmill").iterdir()}
    assert links == {
        room: f"../../{room}" for room in ("schemas", "annotators", "sinks", "pipelines", "training", "jobs")
    }
