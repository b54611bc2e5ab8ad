"""What a command costs, as a whole tree of processes, and how results are kept: dated JSON, a page and a picture.

CPU time is that of every process that the command started, orphans too (Ray leaves some): from a control group of its
own where this user may make one, else from what the kernel adds up for waited-for children. Memory is PSS, so that
pages which processes share count once; sampling costs time, so it is a run of its own.

    costs = in_turn({"bare": [...], "ours": [...]}, rounds=5)
    page = Result("light_work", "Light work against a bare script", rounds=5)
    page.table(("what", "CPU-s"), [(name, median(c, "cpu_s")) for name, c in costs.items()])
    page.save(bars("CPU-seconds", {"bare": 28.1, "ours": 31.0}, limit=("decode alone", 11.2)))
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import json
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("av", "duckdb", "imagehash", "numpy", "opencv-python-headless", "pillow", "pyarrow", "rapidocr", "ray")
_PR_SET_CHILD_SUBREAPER = 36
_SAMPLE_S = 0.2
_ORPHANS_S = 30.0
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}


@dataclass(frozen=True, slots=True)
class Cost:
    """One run of a command. `pss_mb`: the highest sum over its processes, by second; empty where it was not sampled."""

    wall_s: float
    cpu_s: float
    pss_mb: tuple[tuple[float, float], ...] = ()

    @property
    def peak_mb(self) -> float:
        return max((mb for _, mb in self.pss_mb), default=0.0)


def cost(argv: Sequence[str], *, env: Mapping[str, str] | None = None, memory: bool = False) -> Cost:
    """Run a command to its end, its orphans too. Raises CalledProcessError with its output where it fails."""
    _adopt_orphans()
    with _group() as group:
        started, before = time.monotonic(), _children_cpu_s()
        shell = ["sh", "-c", f'echo $$ > "{group}/cgroup.procs"; exec "$@"', "sh", *argv] if group else list(argv)
        child = subprocess.Popen(
            shell, env={**os.environ, **_ONE_THREAD, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        with _sampled(child.pid, memory) as samples:
            output, _ = child.communicate()
        wall_s = time.monotonic() - started
        _wait_for_orphans()
        cpu_s = _group_cpu_s(group) if group else _children_cpu_s() - before
    if child.returncode:
        failed = subprocess.CalledProcessError(child.returncode, list(argv), output)
        failed.add_note(output.decode(errors="replace")[-3000:])
        raise failed
    return Cost(wall_s, cpu_s, tuple(samples))


def in_turn(
    commands: Mapping[str, Sequence[str]], rounds: int, *, before: Callable[[str], object] | None = None
) -> dict[str, list[Cost]]:
    """Each command once a round, so that a busy spell of the machine hits all; `before` is called before each run."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for number in range(rounds):
        for name, argv in commands.items():
            if before is not None:
                before(name)
            costs[name].append(cost(argv))
            one = costs[name][-1]
            say(f"round {number + 1} of {rounds}, {name}: {one.cpu_s:.2f} CPU-s, {one.wall_s:.2f} s")
    return costs


def median(costs: Sequence[Cost], name: str) -> float:
    """Median of one field over runs."""
    return statistics.median(float(getattr(one, name)) for one in costs)


def say(line: str) -> None:
    """Progress, at once, apart from any result on stdout."""
    print(line, file=sys.stderr, flush=True)


# ---- results ---------------------------------------------------------------------------------------------------------


def facts() -> dict[str, Any]:
    """The machine and the versions, so that a figure can be placed later."""
    git = shutil.which("git")
    told = subprocess.run([git or "true", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    names = (*LIBRARIES, "webdataset", "scenedetect-headless")
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {_cpu_model()}, {len(os.sched_getaffinity(0))} CPUs",
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in names},
        "commit": told.stdout.strip() or "unknown",
        "load_average": round(os.getloadavg()[0], 1),
        "cpu_counted_by": "control group" if _group_root() else "waited-for children",
    }


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next((at.partition(":")[2].strip() for at in lines if at.startswith("model name")), "unknown CPU")
    return "unknown CPU"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


@dataclass
class Result:
    """One benchmark's dated page: tables and sentences in order, the raw numbers, and a picture."""

    name: str
    title: str
    rounds: int = 1
    raw: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    started_load: float = field(default_factory=lambda: os.getloadavg()[0])

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add a table; floats are shown with three digits that count."""
        self.lines += ["", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        self.lines += [f"| {' | '.join(_shown(cell) for cell in row)} |" for row in rows]
        self.lines.append("")

    def note(self, sentence: str) -> None:
        self.lines += ["", sentence]

    def keep(self, name: str, costs: Sequence[Cost]) -> None:
        """Put single runs into the JSON, beside the medians of the page."""
        self.raw[name] = [{"wall_s": c.wall_s, "cpu_s": c.cpu_s, "peak_mb": c.peak_mb} for c in costs]

    def save(self, figure: Any = None, folder: Path = RESULTS) -> Path:
        """Write NAME-DATE.json, .md and (with a matplotlib figure) .png; returns the page's path."""
        folder.mkdir(parents=True, exist_ok=True)
        known = facts() | {"load_average_at_start": round(self.started_load, 1), "rounds": self.rounds}
        page = folder / f"{self.name}-{known['date']}.md"
        if figure is not None:
            figure.savefig(page.with_suffix(".png"), dpi=110, bbox_inches="tight")
            self.note(f"![{self.title}]({page.with_suffix('.png').name})")
        page.with_suffix(".json").write_text(json.dumps({"facts": known, "raw": self.raw}, indent=1) + "\n")
        libraries = ", ".join(f"{k} {v}" for k, v in known["libraries"].items())
        head = f"{known['machine']}, {known['memory_gb']} GiB; Python {known['python']}; {libraries}."
        load = f"Load {known['load_average_at_start']} at the start, {known['load_average']} at the end"
        how = f"Medians of {self.rounds}. {load}; CPU counted by {known['cpu_counted_by']}; commit {known['commit']}."
        page.write_text("\n".join([f"# {self.title} ({known['date']})", "", head, how, *self.lines]) + "\n")
        say(f"saved {page}")
        return page


def _shown(cell: object) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.3g}"


def bars(what: str, values: Mapping[str, float], *, limit: tuple[str, float] | None = None) -> Any:
    """A figure of horizontal bars with their numbers, and a dashed line at what they are held against."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.6 + 0.45 * len(values)))
    axes = figure.subplots()
    shown = axes.barh(list(values), list(values.values()), color="#3b6ea5")
    axes.bar_label(shown, labels=[_shown(v) for v in values.values()], padding=3)
    axes.invert_yaxis()
    axes.set_xlabel(what)
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    if limit is not None:
        axes.axvline(limit[1], color="#b03030", linestyle="--", label=f"{limit[0]}, {_shown(limit[1])}")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


# ---- the tree of processes -------------------------------------------------------------------------------------------


def _adopt_orphans() -> None:
    """Become the parent of whatever the command leaves behind, so that it can be waited for."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _wait_for_orphans() -> None:
    """Until no child is left; those that stay longer than half a minute are ended."""
    until = time.monotonic() + _ORPHANS_S
    while descendants(os.getpid()):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if time.monotonic() > until:
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _group_root() -> Path | None:
    """A folder in which control groups that count CPU can be made: version 1's cpuacct, or version 2's tree."""
    for root, counter in (("/sys/fs/cgroup/cpuacct", "cpuacct.usage"), ("/sys/fs/cgroup", "cpu.stat")):
        if (Path(root) / counter).exists() and os.access(root, os.W_OK):
            return Path(root)
    return None


@contextlib.contextmanager
def _group() -> Iterator[Path | None]:
    root = _group_root()
    if root is None:
        yield None
        return
    group = root / f"bench-{uuid.uuid4().hex[:8]}"
    group.mkdir()
    try:
        yield group
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def _group_cpu_s(group: Path) -> float:
    if (group / "cpuacct.usage").exists():
        return int((group / "cpuacct.usage").read_text()) / 1e9
    lines = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return int(lines["usage_usec"]) / 1e6


def descendants(pid: int) -> list[int]:
    """Processes below one, zombies too."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(entry.name))
    found, waiting = list[int](), [pid]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


@contextlib.contextmanager
def _sampled(pid: int, wanted: bool) -> Iterator[list[tuple[float, float]]]:
    samples: list[tuple[float, float]] = []
    if not wanted:
        yield samples
        return
    ended, started = threading.Event(), time.monotonic()

    def sample() -> None:
        while not ended.wait(_SAMPLE_S):
            pss = sum(pss_mb(p) for p in (pid, *descendants(pid)))
            samples.append((round(time.monotonic() - started, 2), round(pss, 1)))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def pss_mb(pid: int) -> float:
    """Proportional set size of one process; 0 for one that is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
