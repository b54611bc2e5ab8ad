"""A run as one page: curves of losses, norm, rate and step time, and the scores where it was evaluated.

    write_report(Path("run"))        run/report.html, without a server, a script or a file beside it

Losses are drawn step by step and as their mean over a hundredth of the run; seconds of a step as means over the same.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from reelmill.schemas.errors import Corrupt
from reelmill.training.evals.plots import bars, figure_of, png, tasks_drawn
from reelmill.training.evals.report import FILE, Report
from reelmill.training.evals.table import figure_cells
from reelmill.training.loop.clock import PARTS
from reelmill.training.loop.fit import LOG, TIMES
from reelmill.training.loop.plan import Plan, planned

PAGE = "report.html"
_NOT_LOSSES = ("step", "norm", "rate", "tokens")
_BINS = 100
Line = Mapping[str, float]


def write_report(run: Path) -> Path:
    """Writes the page into the run's folder; returns its path. Raises NotFound where there is no run, Corrupt on a log
    that cannot be read."""
    plan, log, times = planned(run), _lines(run / LOG), _lines(run / TIMES)
    drawn = (("Losses", losses(log)), ("Time", seconds(times)))
    pictures = [(head, png(canvas)) for head, canvas in drawn if canvas is not None]
    report = Report.load(run) if (run / FILE).is_file() else None
    rows = [figure_cells(f) for f in report.figures()] if report else []
    if report:
        pictures += [(f"Scores: {name}", bars(own)) for name, own in tasks_drawn(report.figures()).items()]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        resources.files("reelmill.training").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    shown = [(head, base64.b64encode(data).decode()) for head, data in pictures]
    facts = _facts(plan, log, times)
    text = template.render(run=run.resolve().name, facts=facts, pictures=shown, report=report, rows=rows)
    (run / PAGE).write_text(text + "\n", encoding="utf-8")
    return run / PAGE


def _lines(path: Path) -> list[dict[str, float]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise Corrupt(str(path), seen=str(error), do="delete it: the curves begin anew") from error


def _facts(plan: Plan, log: Sequence[Line], times: Sequence[Line]) -> list[tuple[str, str]]:
    """What stands at the head of the page."""
    all_s = sum(line[part] for line in times for part in PARTS)
    cpu_s, work = (sum(line[name] for line in times) for name in ("cpu_s", "operations"))
    settings = ", ".join(f"{k}={v}" for k, v in plan.settings.items()) or "as published, shrunk to the trunk"
    return [
        ("variant", f"{plan.variant} ({settings})"),
        ("size", plan.size),
        ("data", ", ".join(f"{d.place} x {d.weight:g}" for d in plan.data)),
        ("steps", f"{len(log)} of {plan.steps}, rows of {plan.tokens} tokens x {plan.accumulate}"),
        ("tokens", f"{sum(line['tokens'] for line in log):,.0f}"),
        ("time", f"{all_s:,.0f} s of steps, {cpu_s:,.0f} CPU seconds, {work / 1e12:,.2f} TFLOP"),
        ("seed", str(plan.seed)),
    ]


def losses(log: Sequence[Line]) -> Any:
    """A picture of all losses, the gradient's norm and the rate over steps; None without a step."""
    if not log:
        return None
    canvas = figure_of((8.0, 6.0))
    upper, middle, lower = canvas.subplots(3, 1, sharex=True, height_ratios=(3, 1, 1))
    steps = _column(log, "step")
    for name in dict.fromkeys(n for line in log for n in line if n not in _NOT_LOSSES):
        values = _column(log, name)
        told = ~np.isnan(values)  # not every step tells of every part
        (drawn,) = upper.plot(steps[told], values[told], linewidth=0.6, alpha=0.35)
        upper.plot(_means(steps[told]), _means(values[told]), color=drawn.get_color(), label=name)
    upper.legend(frameon=False, fontsize=8)
    for axis, name in ((middle, "norm"), (lower, "rate")):
        axis.plot(steps, _column(log, name), linewidth=0.8, color="#3b6ea5")
        axis.set_ylabel(name)
    upper.set_ylabel("loss a token")
    lower.set_xlabel("step")
    return canvas


def seconds(times: Sequence[Line]) -> Any:
    """A picture of where a step's seconds go, part upon part; None without a step."""
    if not times:
        return None
    canvas = figure_of((8.0, 2.6))
    axis = canvas.subplots()
    steps = _means(_column(times, "step"))
    axis.stackplot(steps, [_means(_column(times, part)) for part in PARTS], labels=PARTS, alpha=0.85)
    axis.legend(frameon=False, fontsize=8, ncols=len(PARTS), loc="upper right")
    axis.set_xlabel("step")
    axis.set_ylabel("seconds a step")
    axis.margins(x=0)
    return canvas


def _column(lines: Sequence[Line], name: str) -> Any:
    return np.array([line.get(name, np.nan) for line in lines])


def _means(values: Any) -> Any:
    """Means over equal parts, at most a hundred."""
    return np.array([part.mean() for part in np.array_split(values, min(_BINS, len(values)))])
