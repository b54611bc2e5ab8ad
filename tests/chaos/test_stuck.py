"""A run in which nothing moves is ended with code 1, says where it stood, and goes on when it is run again.

Each hang is a real one in a process of its own: at a lock, in native code, in native code that holds the interpreter's
lock, in a decode child that does, in an actor on Ray, on a cluster whose CPUs somebody else holds.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import recount
import toy

from reelmill.sinks.dataset import Dataset
from reelmill.sinks.state.processes import start_of

FULL = os.environ.get("REELMILL_CHAOS") == "full"
WORDS = "alpha beta gamma delta hang eta theta"
STUCK_S = 6
FIXTURES = str(Path(toy.__file__).parent)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
LOCAL = ("locked", "childish", "patient", *(("asleep", "holding") if FULL else ()))
full = pytest.mark.skipif(not FULL, reason="more ways to hang: REELMILL_CHAOS=full")


@dataclass
class Ended:
    """A run of `hanging:NAME` that has ended."""

    folder: Path
    code: int
    said: str

    @property
    def dataset(self) -> Dataset:
        return Dataset(self.folder / "store" / "words-w" / "1")

    @property
    def account(self) -> str:
        """What was saved of where it stood; one file, whole."""
        (saved,) = (self.dataset.folder / "stuck").iterdir()
        assert re.fullmatch(r"000001-\d{8}T\d{6}Z\.txt", saved.name)
        assert str(saved) in self.said
        return saved.read_text()


def begin(name: str, folder: Path, *flags: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "words.txt").write_text(WORDS)
    words = ["run", f"hanging:{name}", "--media", "words.txt", "--store", "store", "--name", "w", *flags]
    return subprocess.Popen(
        [sys.executable, "-m", "reelmill.jobs.cli", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": FIXTURES} | (env or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(folder: Path, process: subprocess.Popen[str]) -> Ended:
    said = process.communicate(timeout=150)[1]
    return Ended(folder, process.returncode, said)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """Every local hang, side by side: they mostly wait."""
    folders = {name: tmp_path_factory.mktemp("stuck") / name for name in LOCAL}
    begun = {name: begin(name, folder, "--stuck-after", str(STUCK_S)) for name, folder in folders.items()}
    return {name: ended(folders[name], process) for name, process in begun.items()}


def require_goes_on(run: Ended, *flags: str) -> None:
    """What is on disk is whole, the lease is free at once, and the next run does the rest."""
    recount.require_whole_objects(run.folder / "store")
    pending = run.dataset.counts().pending
    assert 1 <= pending <= len(WORDS.split())
    again = ended(run.folder, begin("locked", run.folder, "--wait", "0", *flags, env={"HANGING_MENDED": "1"}))
    assert again.code == 0, again.said
    assert recount.taken(run.dataset.folder).keys()
    rows, _ = recount.rows_and_children(run.dataset.folder)
    assert {r["key"] for r in rows} == set(WORDS.split())


@pytest.mark.parametrize("name", ["locked", "childish", pytest.param("asleep", marks=full)])
def test_a_stuck_run_is_ended_and_tells_where_it_stood(runs: dict[str, Ended], name: str) -> None:
    run = runs[name]
    assert run.code == 1, run.said
    (line,) = [one for one in run.said.splitlines() if one.startswith("error: ")]
    assert re.search(
        r"words-w@1 is stuck; seen: nothing moved for \d+ s: measure on 1 row \(hang\) for \d+ s; do: ", line
    )
    assert "hanging.py" in run.account
    assert "in _hang" in run.account
    assert "MainThread" in run.account
    assert run.dataset.counts().closes
    if name != "locked":  # which goes on in the next test
        require_goes_on(run)


def test_status_says_that_a_run_was_ended_as_stuck(runs: dict[str, Ended], capsys: pytest.CaptureFixture[str]) -> None:
    from reelmill.jobs import inspecting

    run = runs["locked"]
    inspecting.status(run.folder / "store", "")
    assert f"1 runs ended as stuck, the last one here: {run.dataset.folder}/stuck/000001-" in capsys.readouterr().out
    require_goes_on(run)
    inspecting.status(run.folder / "store", "")
    assert "stuck" not in capsys.readouterr().out


def test_a_decode_child_tells_its_stack_though_it_holds_its_lock_and_is_ended(runs: dict[str, Ended]) -> None:
    found = re.search(
        r"== process (\d+): .*decode\.isolated.*\n(?:.*\n)*?.*hanging\.py\", line \d+ in holds",
        runs["childish"].account,
    )
    assert found is not None
    assert start_of(int(found[1])) == ""


@full
def test_the_interpreter_itself_may_be_held(runs: dict[str, Ended]) -> None:
    """Then no thread of Python can save anything: the stacks come on stderr."""
    run = runs["holding"]
    assert run.code == 1
    assert "hanging.py" in run.said
    assert "in _hang" in run.said
    require_goes_on(run)


def test_a_child_within_its_own_limit_counts_as_alive(runs: dict[str, Ended]) -> None:
    run = runs["patient"]
    assert run.code == 0, run.said
    (row,) = (
        run.dataset.rejects().filter(run.dataset.rejects()["level"].to_numpy(zero_copy_only=False) == "row").to_pylist()
    )
    assert (row["key"], row["reason"]) == ("hang", "decode_timeout")
    assert not (run.dataset.folder / "stuck").exists()


# ---- on Ray ----------------------------------------------------------------------------------------------------------

RAY = ("--on", "ray", "--workers", "2", "--stuck-after", "20")


@full
@pytest.mark.ray
@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("locked", r"nothing moved for \d+ s: measure on 1 row \(hang\)"),
        ("holding", r"nothing moved for \d+ s: .*not finished: \d+ \(hang"),
        ("deadly", r"5 workers died one after another, and no group was finished: .*not finished: \d+ \(hang"),
    ],
)
def test_an_actor_that_hangs_or_dies_again_and_again_is_noticed(tmp_path: Path, name: str, seen: str) -> None:
    run = ended(tmp_path, begin(name, tmp_path, *RAY))
    assert run.code == 1, run.said
    assert re.search(rf"error: words-w@1 is stuck; seen: {seen}", run.said), run.said
    if name != "deadly":
        assert re.search(r"MapWorker(.*\n)*?.*hanging\.py.* in _hang", run.account)
    assert run.dataset.counts().closes
    require_goes_on(run)


HELD = """
import contextlib, ray
from reelmill.jobs import cli
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
@ray.remote(num_cpus=1)
class Holder:
    def here(self): return True
holder = Holder.remote()
ray.get(holder.here.remote())
from reelmill.jobs import cluster
cluster.connected = lambda *_: contextlib.nullcontext()
cli.main()
"""


@full
@pytest.mark.ray
def test_a_cluster_that_others_hold_is_named_as_the_reason(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text(WORDS)
    words = ["run", "hanging:locked", "--media", "words.txt", "--store", "store", "--name", "w", "--on", "ray"]
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, *words, "--stuck-after", "5"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": FIXTURES},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = ended(tmp_path, process)
    assert run.code == 1, run.said
    assert "no worker has begun: 0.75 CPUs are asked for; the cluster has 1 CPUs, 0 free" in run.said
    require_goes_on(run)
