"""`compare`: two evaluated runs on the same questions, score by score, with paired intervals."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from reelmill.schemas.errors import BadInput
from reelmill.training.evals.compare import Compared, compare
from reelmill.training.evals.report import Report
from reelmill.training.evals.table import comparison_table

_WIDE = 160
"""Columns of a table that goes to a file or a pipe: a narrow one would break its numbers."""


def compare_runs(first: Path, second: Path, measures: tuple[str, ...] = (), *, groups: bool = True) -> None:
    """Print the second run less the first. Raises BadInput where they were asked other questions, or where a measure is
    named that no row has; NotFound where there is no evaluation."""
    one, two = Report.load(first), Report.load(second)
    rows = _chosen(compare(one, two), measures)
    names = (one.run, two.run) if one.run != two.run else (str(first), str(second))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    console.print(comparison_table(*names, rows, groups=groups))


def _chosen(rows: list[Compared], measures: tuple[str, ...]) -> list[Compared]:
    known = {row.measure for row in rows}
    if lost := sorted(set(measures) - known):
        seen = ", ".join(sorted(known))
        raise BadInput(f"measure {', '.join(lost)}", seen=f"rows of {seen}", do="name one of these")
    return [row for row in rows if not measures or row.measure in measures]
