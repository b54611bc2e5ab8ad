"""A submitted Ray job: a local head, the wheel as the only code that travels, the same command line as on a laptop."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    own = {"RAY_AUTH_MODE": "disabled", "PIP_NO_DEPS": "1", "PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "200"}
    return os.environ | own


@pytest.fixture(scope="module")
def head(environment: dict[str, str]) -> Iterator[str]:
    """Address of a head node of our own, ended by the ids of its own processes."""
    folder = Path(tempfile.mkdtemp(prefix="rm", dir="/tmp"))  # socket paths inside have a limit of 107 bytes
    port, dashboard = free_port(), free_port()
    options = [f"--port={port}", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}"]
    command = [str(BIN / "ray"), "start", "--head", "--num-cpus=2", "--include-dashboard=true", "--block", *options]
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
    address = f"http://127.0.0.1:{dashboard}"
    deadline = time.monotonic() + 90
    while not answers(f"{address}/api/version"):
        assert time.monotonic() < deadline, (folder / "head.log").read_text()
        assert process.poll() is None, (folder / "head.log").read_text()
        threading.Event().wait(0.1)  # it needs the core to get ready on
    yield address
    for pid in [*descendants(process.pid), process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


def submit(
    head: str, environment: dict[str, str], wheel: Path, cwd: Path, *words: str
) -> subprocess.CompletedProcess[str]:
    needs = json.dumps({"py_modules": [str(wheel)]})
    command = [str(BIN / "ray"), "job", "submit", "--address", head, "--runtime-env-json", needs, "--", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=220, check=False)


@pytest.mark.timeout(300)
def test_a_submitted_job_runs_a_recipe_with_the_wheel_alone(
    head: str, environment: dict[str, str], wheel: Path, tmp_path: Path
) -> None:
    media = tmp_path / "media"
    media.mkdir()
    (media / "notes.txt").write_text("no picture")
    from PIL import Image

    Image.new("RGB", (64, 48), "white").save(media / "white.png")
    words = ["run", "media", "--media", str(media), "--store", str(tmp_path / "store"), "--name", "job", "--on", "ray"]
    where = "import reelmill.schemas.keys as k; print('code from', k.__file__)"
    told = submit(
        head, environment, wheel, tmp_path, "sh", "-c", f'python -c "{where}"; exec reelmill {" ".join(words)}'
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "py_modules_files" in told.stdout.split("code from")[-1].splitlines()[0]
    assert "media-job@1: 1 accepted, 1 rejected, 0 pending" in told.stdout
    assert (tmp_path / "store" / "media-job" / "1" / "record.json").exists()
