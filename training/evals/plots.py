"""One page of an evaluation: bars of the scores with intervals and both floors, and told against true starts.

The bytes of page and pictures depend on the report and on matplotlib's version alone: no date, no program name.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from reelmill.schemas.errors import BadInput
from reelmill.training.evals.report import Figure, Report
from reelmill.training.evals.scores import MEASURES, Start
from reelmill.training.evals.table import figure_cells, group_of, shown_measure

DRAWN = frozenset(names[0] for names in MEASURES.values()) | {"r@0.7", "acc@0.5", "yes_no"}
DRAWN |= {"prefers", "prefers_per_token", "fluency", "time_diff_s", "quiet"}
"""What has a panel: of each form its first measure, and those that a pooled first one hides. All stand in the table."""
PAGE, STARTS = "evaluation.html", "starts.png"
_OURS, _PRIOR, _WORDS = "#3b6ea5", "#b8b8b8", "#d8a15c"
_COLOURS = ("#3b6ea5", "#b03030", "#4f9a5b", "#8a5fa8", "#c98a1b", "#555555")
_ROW_IN, _BETWEEN_IN, _LEGEND_IN, _WIDE_IN, _LEFT_IN = 0.45, 0.7, 0.6, 8.0, 1.4
"""Sizes of a picture in inches."""
_HEADS = ("task", "of", "measure", "score", "95 % interval", "prior", "question only", "rows", "sources", "unread")


def write_page(report: Report, folder: Path) -> Path:
    """Write the page and its pictures into a folder; returns the page's path. Raises BadInput for an empty report."""
    figures = report.figures()
    drawn = tasks_drawn(figures)
    if not drawn:
        raise BadInput("a page of scores", seen="no score", do="evaluate on samples with answers")
    pictures = [(name, f"scores-{i:02d}.png", bars(own)) for i, (name, own) in enumerate(drawn.items())]
    if report.starts:
        pictures.append(("Told against true starts", STARTS, starts(report.starts)))
    folder.mkdir(parents=True, exist_ok=True)
    for _, name, data in pictures:
        (folder / name).write_bytes(data)
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        resources.files("reelmill.training.evals").joinpath("page.html.jinja").read_text(encoding="utf-8")
    )
    page = folder / PAGE
    shown = [(head, base64.b64encode(data).decode()) for head, _, data in pictures]
    rows = [figure_cells(f) for f in figures]
    page.write_text(template.render(report=report, heads=_HEADS, rows=rows, pictures=shown) + "\n", encoding="utf-8")
    return page


def tasks_drawn(figures: Sequence[Figure]) -> dict[str, list[Figure]]:
    """The figures that have a panel, by task."""
    out: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.measure in DRAWN:
            out.setdefault(f"{figure.family} {figure.task}", []).append(figure)
    return out


def bars(figures: Sequence[Figure]) -> bytes:
    """A PNG of one task: a panel for each measure, in it a bar for each group of rows, with its floors below."""
    from matplotlib.figure import Figure as Canvas

    own = sorted(figures, key=lambda f: f.measure)
    panels = [list(rows) for _, rows in groupby(own, key=lambda f: f.measure)]
    heights = [_ROW_IN * len(panel) for panel in panels]
    high = sum(heights) + _BETWEEN_IN * len(panels) + _LEGEND_IN
    canvas: Any = Canvas(figsize=(_WIDE_IN, high))
    top, axes = high - _LEGEND_IN, []
    for panel, height in zip(panels, heights, strict=True):
        place = (_LEFT_IN / _WIDE_IN, (top - height) / high, 0.96 - _LEFT_IN / _WIDE_IN, height / high)
        axes.append(canvas.add_axes(place))
        _panel(panel, axes[-1])
        top -= height + _BETWEEN_IN
    handles = [axes[0].barh([0], [0], color=colour) for colour in (_OURS, _PRIOR, _WORDS)]
    canvas.legend(handles, ["the model", "prior", "question only"], loc="upper right", ncols=3, frameon=False)
    return png(canvas)


def _panel(figures: Sequence[Figure], axis: Any) -> None:
    places = np.arange(len(figures))
    means = np.array([f.mean.mean for f in figures])
    ends = np.array([(f.mean.mean,) * 2 if f.mean.low is None else (f.mean.low, f.mean.high) for f in figures])
    floors = [np.array([np.nan if v is None else v for v in own]) for own in _floors(figures)]
    axis.barh(places - 0.2, means, 0.38, color=_OURS, xerr=(means - ends[:, 0], ends[:, 1] - means), capsize=3)
    for offset, colour, values in zip((0.1, 0.3), (_PRIOR, _WORDS), floors, strict=True):
        axis.barh(places + offset, values, 0.18, color=colour)
    for place, mean, end in zip(places, means, ends[:, 1], strict=True):
        axis.text(end, place - 0.2, f"  {mean:.3f}", va="center", fontsize=8)
    axis.set_yticks(places, [f"{group_of(f.by, f.name)} ({f.mean.rows})" for f in figures], fontsize=8)
    axis.set_ylim(len(figures) - 0.5, -0.5)
    axis.set_title(shown_measure(figures[0].measure), fontsize=9, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlim(min(0.0, ends.min()), 1.12 * max(1e-9, np.nanmax([ends[:, 1], *floors])))


def _floors(figures: Sequence[Figure]) -> tuple[list[float | None], list[float | None]]:
    return [f.prior for f in figures], [f.question_only for f in figures]


def starts(found: Sequence[Start]) -> bytes:
    """A PNG of told against true starts, by verb, in seconds; what was not read lies on a line of its own below."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(6, 6), layout="constrained")
    axis = canvas.subplots()
    longest = max(s.duration_s for s in found)
    axis.plot([0, longest], [0, longest], color="#999999", linewidth=1, linestyle="--")
    below = -0.06 * longest
    for number, verb in enumerate(sorted({s.verb for s in found})):
        own = [s for s in found if s.verb == verb]
        told = [below if s.told_s is None else s.told_s for s in own]
        colour = _COLOURS[number % len(_COLOURS)]
        label = f"{verb or 'other'} ({len(own)})"
        axis.scatter([s.true_s for s in own], told, s=12, alpha=0.6, color=colour, label=label)
    if any(s.told_s is None for s in found):
        axis.axhline(below / 2, color="#cccccc", linewidth=0.8)
        axis.annotate("not read", (longest, below), ha="right", va="center", fontsize=8)
    axis.set_xlabel("true start, s")
    axis.set_ylabel("told start, s")
    axis.legend(frameon=False, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    return png(canvas)


def figure_of(size_in: tuple[float, float]) -> Any:
    """An empty picture of a size in inches, to be drawn on without a window."""
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=size_in, layout="constrained")


def png(canvas: Any) -> bytes:
    """A picture's bytes, with no program's name in them."""
    out = io.BytesIO()
    canvas.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()
