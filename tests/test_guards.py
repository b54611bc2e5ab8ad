"""The guards that every test stands behind do guard: no other machine, one thread, a temp folder of our own."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import left_behind
import pytest


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a test's output is its own."""


@pytest.mark.parametrize("url", ["http://192.0.2.7/", "http://example.com/", "https://[2001:db8::1]/"])
def test_another_machine_cannot_be_reached(url: str) -> None:
    with pytest.raises((RuntimeError, urllib.error.URLError), match="this machine only"):
        urllib.request.urlopen(url, timeout=5)


def test_a_name_is_not_even_looked_up() -> None:
    with pytest.raises(RuntimeError, match=r"seen: 'example\.org'"):
        socket.getaddrinfo("example.org", 443)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_of_the_tests_own_can_be_reached(host: str) -> None:
    server = HTTPServer(("127.0.0.1", 0), Hello)
    Thread(target=server.handle_request, daemon=True).start()
    with urllib.request.urlopen(f"http://{host}:{server.server_port}/", timeout=10) as answer:
        assert answer.read() == b"hello"
    server.server_close()


def test_numeric_libraries_have_one_thread_and_ray_no_token() -> None:
    assert {os.environ[k] for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")} == {"1"}
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


def test_temporary_files_are_this_runs_own(tmp_path: Path) -> None:
    own = Path(os.environ["TMPDIR"])
    assert own.name.startswith("rm-")
    assert own in tmp_path.resolve().parents or own in tmp_path.parents
    with tempfile.NamedTemporaryFile() as file:
        assert own in Path(file.name).parents


def test_a_thread_that_outlives_its_test_is_seen_and_one_that_ends_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_behind, "_PATIENCE_S", 0.2)
    before, over = set(threading.enumerate()), threading.Event()
    late = Thread(target=over.wait, name="outlives")
    late.start()
    assert left_behind.threads(before, most=0) == ["outlives"]
    over.set()
    late.join()
    assert left_behind.threads(before, most=0) == []


def test_a_child_is_seen_until_it_was_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_behind, "_PATIENCE_S", 0.2)
    others = left_behind.processes()
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    assert [p for p in left_behind.processes() if p not in others] == [f"{child.pid} cat"]
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert [p for p in left_behind.processes() if p not in others] == [f"{child.pid} (ended, never waited for)"]
    child.wait()
    assert left_behind.processes() == others
