"""A chart drawn by matplotlib: columns, bars, lines or a pie. Its values are printed, or lie on the lines of the grid.

Where no values are printed, every value is a whole number of steps of the grid, so that it can be read off exactly.

>>> what = content(random.Random(1), EASY)
>>> what.kind, what.tables[0].rows_are
('chart', 'team')
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from reelmill.pipelines.documents import vocabulary
from reelmill.pipelines.documents.content import Column, Content, Row, Table
from reelmill.pipelines.documents.looks import EASY, Look, Style, style
from reelmill.pipelines.documents.page import Line, Sheet, Word, around, fonts_folder
from reelmill.schemas.tube import Box

KIND = "chart"
_SIZE_PX = (660, 448)
_DPI = 100
_STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200)
_GRID_LINES = 8
_COLOURS = ("#2f6db3", "#d9822b", "#4a9a5b", "#a6443f", "#7a5ca8", "#3a9aa8")
_FILES = {"DejaVuSans": "DejaVuSans", "DejaVuSerif": "DejaVuSerif", "STIXGeneral": "STIXGeneral"}
_INK = 40
"""Coverage in grey levels from which a pixel counts as ink of a glyph."""


def content(rng: random.Random, look: Look = EASY) -> Content:
    """One measure of a topic by category (or month), in one series or one per year."""
    manner = rng.choice(("columns", "bars", "line", "pie"))
    topic = rng.choice(vocabulary.TOPICS)
    rows = min(rng.randint(*look.rows), 6)
    if manner == "pie":
        return _content(topic.title, _pie(rng, topic, rows), manner, "Share (%)")
    measure = rng.choice([m for m in topic.measures if not m.decimals])
    plotted = rng.random() < look.plotted
    most = {"line": 3 if plotted else 1, "columns": 3 if plotted else 2, "bars": 1}[manner]
    series = min(rng.randint(1, look.columns[1]), most)
    first = rng.randint(2015, 2022)
    heads = [measure.name] if series == 1 else [str(first + i) for i in range(series)]
    months = manner == "line"
    start = rng.randint(0, 12 - rows)
    names = list(vocabulary.SHORT_MONTHS[start : start + rows]) if months else rng.sample(topic.rows, rows + 2)
    absent = tuple(m for m in vocabulary.SHORT_MONTHS if m not in names)[:2] if months else tuple(names[rows:])
    made = tuple(Row(n, tuple(_value(rng, measure, plotted) for _ in heads)) for n in names[:rows])
    table = Table("month" if months else topic.rows_are, tuple(Column(h, "{}") for h in heads), made, absent)
    unit = measure.form.replace("{}", "").strip()
    return _content(topic.title, table, manner, f"{measure.name} ({unit})" if unit else measure.name)


def _content(title: str, table: Table, manner: str, subtitle: str) -> Content:
    absent = ("margin of error", "source of the data")
    return Content(KIND, title, (), (table,), (), absent, (), manner, subtitle)


def _value(rng: random.Random, measure: vocabulary.Measure, plotted: bool) -> str:
    step = grid_step(measure.most)
    return str(step * rng.randint(1, _GRID_LINES - 1) if plotted else rng.randint(measure.least, measure.most))


def _pie(rng: random.Random, topic: vocabulary.Topic, rows: int) -> Table:
    """Whole percentages, none below 8, that add up to 100."""
    count = min(rows, 5)
    cuts = sorted(rng.sample(range(1, 100 - 7 * count), count - 1))
    shares = [b - a + 7 for a, b in zip([0, *cuts], [*cuts, 100 - 7 * count], strict=True)]
    names = rng.sample(topic.rows, count + 2)
    rest = tuple(Row(n, (f"{s}%",)) for n, s in zip(names, shares, strict=False))
    return Table(topic.rows_are, (Column("Share", "{}%"),), rest, tuple(names[count:]))


def grid_step(most: int) -> int:
    """The least handy step of which at most eight reach a value.

    >>> grid_step(95), grid_step(620)
    (20, 100)
    """
    return next((s for s in _STEPS if s * _GRID_LINES >= most), _STEPS[-1])


def printed(what: Content) -> bool:
    """Whether a chart prints its values: it does not where every one of them lies on a line of the grid."""
    (table,) = what.tables
    values = _values(table)
    return what.manner == "pie" or bool((values % _drawn_step(values) != 0).any())


def _values(table: Table) -> np.ndarray:
    """int64 [rows, columns]."""
    return np.array([[int(cell.rstrip("%")) for cell in row.cells] for row in table.rows])


def _drawn_step(values: np.ndarray) -> int:
    return grid_step(int(values.max()))


@dataclass(frozen=True, slots=True)
class _Text:
    """A matplotlib text and what it is."""

    artist: Any
    mark: str


def draw(rng: random.Random, what: Content, look: Look = EASY) -> Sheet:
    """A figure of fixed size and resolution by the Agg renderer; boxes are those of each text's own ink."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = _SIZE_PX
    set_in = style(rng, look)
    ground = _hex(set_in.palette.ground)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=ground)
    canvas: Any = FigureCanvasAgg(figure)
    figure.text(0.04, 0.92, what.title, fontproperties=_font(set_in, 1.15), color=_hex(set_in.palette.ink))
    figure.text(0.04, 0.855, what.subtitle, fontproperties=_font(set_in, 0.9), color=_hex(set_in.palette.pale))
    texts = [_Text(figure.texts[0], "title"), _Text(figure.texts[1], "subtitle")]
    axes = figure.add_axes((0.2 if what.manner == "bars" else 0.1, 0.13, 0.75, 0.6), facecolor=ground)
    texts += (_pie_of if what.manner == "pie" else _plot_of)(rng, axes, what, set_in)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return Sheet(pixels, tuple(_line(text, width, height) for text in texts if text.artist.get_text()))


def _hex(rgb: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def _font(set_in: Style, scale: float) -> Any:
    """A matplotlib font of the same em in pixels; points are of 1/72 inch."""
    from matplotlib.font_manager import FontProperties

    name = _FILES.get(set_in.family, "DejaVuSans")
    return FontProperties(fname=str(fonts_folder() / f"{name}.ttf"), size=round(set_in.px * scale) * 72 / _DPI)


def _pie_of(rng: random.Random, axes: Any, what: Content, set_in: Style) -> list[_Text]:
    """Names outside, percentages inside, clockwise from the top."""
    (table,) = what.tables
    colours = rng.sample(_COLOURS, len(table.rows))
    axes.set_position((0.2, 0.05, 0.6, 0.74))
    made = axes.pie(
        _values(table)[:, 0], labels=[r.name for r in table.rows], colors=colours, startangle=90, counterclock=False,
        labeldistance=1.12, textprops={"fontproperties": _font(set_in, 0.95), "color": _hex(set_in.palette.ink)},
    )  # fmt: skip
    texts = [_Text(artist, f"row.{r}") for r, artist in enumerate(made[1])]
    for r, wedge in enumerate(made[0]):
        middle = np.deg2rad((wedge.theta1 + wedge.theta2) / 2)
        place, font = (0.68 * np.cos(middle), 0.68 * np.sin(middle)), _font(set_in, 0.9)
        at = {"ha": "center", "va": "center", "color": "white", "fontproperties": font}
        texts.append(_Text(axes.text(*place, table.rows[r].cells[0], **at), f"cell.{r}.0"))
    return texts


def _plot_of(rng: random.Random, axes: Any, what: Content, set_in: Style) -> list[_Text]:
    """Axes with a grid, the series, a legend where there are several, and values where they are printed."""
    (table,) = what.tables
    values, small, ink = _values(table), _font(set_in, 0.85), _hex(set_in.palette.ink)
    flat, places, step = what.manner == "bars", np.arange(len(table.rows)), _drawn_step(values)
    ticks = np.arange(0, int(values.max()) + 2 * step, step)
    colours = rng.sample(_COLOURS, len(table.columns))
    for i, column in enumerate(table.columns):
        _series(axes, what.manner, (places, values[:, i]), (i, len(table.columns)), colours[i], column.name)
    value_axis, name_axis = (axes.xaxis, axes.yaxis) if flat else (axes.yaxis, axes.xaxis)
    (axes.set_xlim if flat else axes.set_ylim)(0, ticks[-1])
    if flat:
        axes.invert_yaxis()
    value_axis.set_ticks(ticks, labels=[str(t) for t in ticks], fontproperties=small, color=ink)
    name_axis.set_ticks(places, labels=[r.name for r in table.rows], fontproperties=_font(set_in, 0.9), color=ink)
    value_axis.grid(visible=True, color="#c8c8c8", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    texts = _legend(axes, table, set_in)
    texts += [_Text(t, "axis") for t in value_axis.get_ticklabels()]
    texts += [_Text(t, f"row.{r}") for r, t in enumerate(name_axis.get_ticklabels())]
    return texts + (_printed_values(axes, what, values, set_in) if printed(what) else [])


def _series(
    axes: Any, manner: str, points: tuple[np.ndarray, np.ndarray], which: tuple[int, int], colour: str, name: str
) -> None:
    (places, values), (i, count) = points, which
    if manner == "line":
        axes.plot(places, values, color=colour, marker="os^"[i % 3], linewidth=2, label=name)
        return
    thick = 0.76 / count
    middle = places + (i - (count - 1) / 2) * thick
    (axes.barh if manner == "bars" else axes.bar)(middle, values, thick * 0.94, color=colour, label=name)


def _legend(axes: Any, table: Table, set_in: Style) -> list[_Text]:
    """Above the plot; the name of a lone series stands in the subtitle."""
    if len(table.columns) == 1:
        return []
    made = axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(table.columns), frameon=False, prop=_font(set_in, 0.9),
        labelcolor=_hex(set_in.palette.ink), borderaxespad=0.2,
    )  # fmt: skip
    return [_Text(t, f"column.{i}") for i, t in enumerate(made.get_texts())]


def _printed_values(axes: Any, what: Content, values: np.ndarray, set_in: Style) -> list[_Text]:
    """Each value just beyond the end of its bar or above its point."""
    (table,) = what.tables
    count, texts, ink = len(table.columns), [], _hex(set_in.palette.ink)
    for r, row in enumerate(table.rows):
        for i, cell in enumerate(row.cells):
            middle = r + (0 if what.manner == "line" else (i - (count - 1) / 2) * 0.76 / count)
            flat = what.manner == "bars"
            at = (values[r, i], middle) if flat else (middle, values[r, i])
            shift, place = ((4, 0), ("left", "center")) if flat else ((0, 5), ("center", "bottom"))
            made = axes.annotate(
                cell, at, shift, textcoords="offset points", ha=place[0], va=place[1], color=ink,
                fontproperties=_font(set_in, 0.85), annotation_clip=False,
            )  # fmt: skip
            texts.append(_Text(made, f"cell.{r}.{i}"))
    return texts


def _line(text: _Text, width: int, height: int) -> Line:
    """The line of a text: it is drawn once more alone, within its window extent, and its words are told by the gaps."""
    from matplotlib.backends import backend_agg

    agg: Any = backend_agg
    alone = agg.RendererAgg(width, height, _DPI)
    text.artist.draw(alone)
    cover = np.asarray(alone.buffer_rgba())[..., 3] >= _INK
    said = text.artist.get_text()
    extent, font = text.artist.get_window_extent(alone), text.artist.get_fontproperties()
    ends = [alone.get_text_width_height_descent(said[:n], font, False)[0] for n in _gaps(said)]
    edges = [int(extent.x0) - 2, *(round(extent.x0 + e) for e in ends), int(extent.x1) + 3]
    words = [Word(w, _ink(cover, a, b)) for w, a, b in zip(said.split(" "), edges, edges[1:], strict=False)]
    return Line(said, around([w.box for w in words]), tuple(words), text.mark)


def _gaps(said: str) -> list[int]:
    """Places of the middles of the spaces."""
    return [i for i, c in enumerate(said) if c == " "]


def _ink(cover: np.ndarray, left: int, right: int) -> Box:
    """The box of what is covered between two columns of pixels."""
    left, right = max(0, left), min(cover.shape[1], right)
    rows, columns = np.nonzero(cover[:, left:right])
    if not len(rows):  # wholly outside of the picture: `page.faults` refuses it
        return Box(-1.0, -1.0, -1.0, -1.0)
    return Box(float(left + columns.min()), float(rows.min()), float(left + columns.max() + 1), float(rows.max() + 1))
