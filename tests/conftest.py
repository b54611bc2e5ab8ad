"""What every test may lean on: one thread, a temp folder of its own, no network but this machine, the shared media.

def test_reads(shared_media): ...      # a Path; skipped visibly where the media are not there
REELMILL_MEDIA=/where/they/are make test
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import left_behind
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# Before any test module is imported: numeric libraries read these once, when they load. Workers inherit them.
_FIXED_ENV = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TZ": "UTC",
    "LC_ALL": "C.UTF-8",
}
os.environ.update(_FIXED_ENV)
for _leak in ("RAY_ADDRESS", "OPENAI_API_KEY", "OPENAI_BASE_URL", "REELMILL_FAULT"):
    os.environ.pop(_leak, None)

# A shell's background job ignores Ctrl-C, and so would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("reelmill", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("reelmill"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "reelmill")

_OWN_TMP = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-golden", action="store_true", help="write tests/golden anew from what the code does today"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a temp folder of its own, its workers (pytest -n 2) one in it. Names are short, since Ray's socket
    paths may not pass 107 bytes."""
    if _is_worker(config):
        return
    own = Path(tempfile.mkdtemp(prefix="rm-"))
    config.stash[_OWN_TMP] = own
    config.option.basetemp = config.option.basetemp or str(own / "t")
    os.environ["TMPDIR"] = str(own)
    tempfile.tempdir = str(own)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) or _is_worker(session.config):
        return  # keep what a person will want to look at
    shutil.rmtree(session.config.stash[_OWN_TMP], ignore_errors=True)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    own = config.stash[_OWN_TMP]
    if own.exists():
        terminalreporter.write_line(f"files of this run are kept in {own}")


class NetworkForbidden(RuntimeError):
    """A test reached for another machine."""


def _own_addresses() -> frozenset[str]:
    """Addresses of this machine: Ray's local cluster listens on one of them, not always on loopback."""
    names = {"localhost", socket.gethostname(), socket.getfqdn()}
    found = {"0.0.0.0", "::", "::1", ""} | names
    for name in names:
        try:
            found |= {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
        except OSError:
            continue  # a host name that does not resolve has no address to allow
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET: sends nothing, tells which of our addresses faces outward
            found.add(probe.getsockname()[0])
        except OSError:
            return frozenset(found)  # no way out at all: nothing to add
    return frozenset(found)


def _is_own(host: object, own: frozenset[str]) -> bool:
    text = host.decode() if isinstance(host, bytes) else host
    return text is None or (isinstance(text, str) and (text in own or text.startswith("127.")))


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """At the end of a run no process may be left, and hardly a thread. Set up first, so that it looks last."""
    before = set(threading.enumerate())
    yield
    lost, living = left_behind.processes(), left_behind.threads(before)
    assert not lost, f"processes outlive the tests that started them: {lost}"
    assert len(living) <= left_behind.MOST_THREADS, f"{len(living)} threads outlive their tests: {living}"


@pytest.fixture(scope="session", autouse=True)
def this_machine_only(nothing_left_behind: None) -> Iterator[None]:
    """Refuse connections and name look-ups to any other machine, for the whole run."""
    own = _own_addresses()
    patch = pytest.MonkeyPatch()
    connect, connect_ex, look_up = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def refuse(host: object) -> None:
        if not _is_own(host, own):
            raise NetworkForbidden(
                f"tests talk to this machine only; seen: {host!r}; do: use a server of the test's own"
            )

    def guarded(real: Any) -> Any:
        def call(self: socket.socket, address: Any) -> Any:
            # A datagram socket's connect sends nothing; Ray uses it to learn its own address.
            if self.family != socket.AF_UNIX and self.type & socket.SOCK_STREAM:
                refuse(address[0])
            return real(self, address)

        return call

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        refuse(host)
        return look_up(host, *args, **kwargs)

    patch.setattr(socket.socket, "connect", guarded(connect))
    patch.setattr(socket.socket, "connect_ex", guarded(connect_ex))
    patch.setattr(socket, "getaddrinfo", guarded_look_up)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """The folder of real media: env REELMILL_MEDIA, else ../shared/media beside the project. Never written to."""
    place = Path(os.environ.get("REELMILL_MEDIA", str(ROOT.parent / "shared" / "media")))
    if not (place / "MANIFEST.json").is_file():
        pytest.skip(f"no shared media in {place}; set REELMILL_MEDIA to their folder")
    return place


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def clean_env() -> dict[str, str]:
    """Environment for child processes: the fixed variables, no PYTHONPATH, the virtual environment's tools first."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSTARTUP", "PYTEST_ADDOPTS")}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    return env | _FIXED_ENV


_ROOMS = ("schemas", "annotators", "sinks", "pipelines", "training", "jobs")


@pytest.fixture(scope="session")
def wheel(root: Path, clean_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy without isolation: no network is asked and the repository gets no build folder."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in (*_ROOMS, "pyproject.toml", "README.md", "LICENSE"):
        source = root / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(build, env=clean_env, cwd=out, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return next(out.glob("*.whl"))
