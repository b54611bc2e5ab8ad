"""Live progress in the terminal: one line per dataset, and a bar with rate and time left for the one being made.

Where the output is no terminal (a log, a job), the same facts come as plain lines: one when a dataset starts, one when
it ends, and one every few seconds between.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from reelmill.pipelines._run import Report
from reelmill.pipelines._work import Done

_LINE_EVERY_S = 5.0
_BATCHES = logging.getLogger("reelmill.annotators.engines.openai_batch")
_PIPE_COLUMNS = 10_000


def wide_console() -> Console:
    """A console that breaks no line where the output is no terminal: a log or a pipe has no edge of 80 columns."""
    told = Console()
    return told if told.is_terminal or os.environ.get("COLUMNS") else Console(width=_PIPE_COLUMNS)


class Terminal:
    """Shows a run. Use as a context manager around it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = console.is_terminal
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not self.live,
        )
        self.tasks: dict[str, TaskID] = {}
        self.lines = _Lines(self._say)
        self.seen: Counter[str] = Counter()
        self.started_at = self.told_at = time.monotonic()
        self.total = 0

    def __enter__(self) -> Terminal:
        self.progress.start()
        _BATCHES.addHandler(self.lines)
        _BATCHES.setLevel(logging.INFO)
        return self

    def __exit__(self, *error: object) -> None:
        _BATCHES.removeHandler(self.lines)
        self.progress.stop()

    def listing(self, label: str) -> Callable[[int, int], None]:
        task = self.progress.add_task(f"{label} listing", total=None, rate="", counts="")

        def told(done: int, total: int) -> None:
            self.progress.update(task, completed=done, total=total, visible=done < total)

        return told

    def waiting(self, label: str, holder: dict[str, Any]) -> None:
        self._say(f"{label}: waiting for process {holder['pid']}, which writes it since {holder['taken_at']}")

    def started(self, label: str, total: int, cached: int) -> None:
        self.seen, self.started_at, self.total = Counter(), time.monotonic(), total - cached
        if total > cached:
            counts = f"{cached} cached" if cached else ""
            self.tasks[label] = self.progress.add_task(label, total=total, completed=cached, rate="", counts=counts)
            if not self.live:
                self._say(f"{label}: {total - cached} rows to do, {cached} cached")

    def advanced(self, label: str, done: Done) -> None:
        rows = done.accepted + done.rejected + done.faults
        self.seen.update(rows=rows, accepted=done.accepted, rejected=done.rejected, faults=done.faults)
        rate = f"{self.seen['rows'] / max(1e-9, time.monotonic() - self.started_at):.1f} rows/s"
        counts = f"{self.seen['accepted']} kept, {self.seen['rejected']} rejected"
        if self.seen["faults"]:
            counts += f", {self.seen['faults']} failed"
        self.progress.update(self.tasks[label], advance=rows, rate=rate, counts=counts)
        if not self.live and time.monotonic() - self.told_at > _LINE_EVERY_S:
            self.told_at = time.monotonic()
            self._say(f"{label}: {self.seen['rows']} of {self.total} rows, {rate}, {counts}")

    def finished(self, report: Report) -> None:
        if report.label in self.tasks:
            self.progress.update(self.tasks[report.label], visible=False)
        self._say(line_of(report))

    def _say(self, line: str) -> None:
        """One whole line: a log is read by programs too."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Lines(logging.Handler):
    """Says what is logged. Batches of a provider take hours and belong to no dataset: each look at one is a line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        self.say(record.getMessage())


def line_of(report: Report) -> str:
    """One line on what a run did to a dataset."""
    counts, change = report.counts, report.change
    parts = [f"{report.label}: {counts.accepted} accepted, {counts.rejected} rejected, {counts.pending} pending"]
    if counts.children:
        parts.append(f"{counts.accepted_children} of {counts.children} children accepted")
    parts.append(f"{report.worked} worked on now, {report.cached} done before")
    changes = {"new": change.added, "vanished": change.vanished, "back": change.returned, "renamed": change.renamed}
    changes |= {"copies more": change.copied, "copies fewer": change.uncopied}
    parts += [f"{n} {name}" for name, n in changes.items() if n and not (name == "new" and n == counts.live)]
    if report.faults:
        parts.append(f"{report.faults} failed by faults")
    return "; ".join(parts) + f" ({report.seconds:.1f} s)"
