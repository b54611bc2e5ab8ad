"""Scores and comparisons as tables in the terminal, floors and numbers of sources beside every figure.

An interval of fewer than ten sources is marked with *: it is too narrow by nobody knows how much.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from reelmill.training.evals.compare import Compared
from reelmill.training.evals.intervals import FEW, Mean
from reelmill.training.evals.report import ALL, Figure, Report
from reelmill.training.evals.scores import LOWER_IS_BETTER


def report_table(report: Report, *, groups: bool = True) -> Table:
    """All figures of a report; without `groups` those of whole tasks alone."""
    table = Table(title=f"{report.run} on {report.dataset}, history: {report.history}")
    for head in ("task", "of", "measure"):
        table.add_column(head)
    for head in ("score", "95 % interval", "prior", "question only", "rows", "sources", "unread"):
        table.add_column(head, justify="right")
    for figure in report.figures():
        if groups or figure.by == ALL:
            table.add_row(*figure_cells(figure), style=None if figure.by == ALL else "dim")
    return table


def figure_cells(figure: Figure) -> tuple[str, ...]:
    """What stands in a row of the table and of the page."""
    mean = figure.mean
    return (
        f"{figure.family} {figure.task}",
        group_of(figure.by, figure.name),
        shown_measure(figure.measure),
        number(mean.mean),
        interval(mean),
        number(figure.prior),
        number(figure.question_only),
        str(mean.rows),
        str(mean.sources),
        str(figure.unread),
    )


def comparison_table(first: str, second: str, rows: Iterable[Compared], *, groups: bool = True) -> Table:
    """The second run less the first. p is not corrected for the number of rows."""
    table = Table(title=f"{second} less {first}", caption="p by sign flips of sources, not corrected for many rows")
    for head in ("task", "of", "measure"):
        table.add_column(head)
    for head in (first, second, "difference", "95 % interval", "p", "rows", "sources"):
        table.add_column(head, justify="right")
    for row in rows:
        if groups or row.by == ALL:
            table.add_row(*comparison_cells(row), style=None if row.by == ALL else "dim")
    return table


def comparison_cells(row: Compared) -> tuple[str, ...]:
    difference = row.found.difference
    return (
        f"{row.family} {row.task}",
        group_of(row.by, row.name),
        shown_measure(row.measure),
        number(row.first),
        number(row.second),
        f"{difference.mean:+.3f}",
        interval(difference, sign="+"),
        f"{row.found.p:.3f}",
        str(difference.rows),
        str(difference.sources),
    )


def group_of(by: str, name: str) -> str:
    """How a group of rows is named: `all`, `3 objects`, `moves`, `swap`."""
    if by == ALL:
        return ALL
    return f"{name} object{'' if name == '1' else 's'}" if by == "objects" else name


def shown_measure(measure: str) -> str:
    return f"{measure} (less is better)" if measure in LOWER_IS_BETTER else measure


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def interval(mean: Mean, sign: str = "") -> str:
    if mean.low is None or mean.high is None:
        return "-"
    return f"[{mean.low:{sign}.3f}, {mean.high:{sign}.3f}]{'*' if mean.sources < FEW else ''}"
