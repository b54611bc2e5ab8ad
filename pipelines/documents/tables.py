"""A table with a heading: rows and columns of numbers with their units, ruled, striped or boxed.

>>> content(random.Random(1), EASY).kind
'table'
"""

from __future__ import annotations

import random

from reelmill.pipelines.documents import vocabulary
from reelmill.pipelines.documents.content import Content, Field, Table
from reelmill.pipelines.documents.looks import EASY, Look, Style, style
from reelmill.pipelines.documents.page import Page, Sheet, width_of

KIND = "table"
_MARGIN_PX = 22
_NOTES = (("source", "Source"), ("date", "Updated"), ("author", "Prepared by"))


def content(rng: random.Random, look: Look = EASY) -> Content:
    """A topic's table, and perhaps its source, date or author below it."""
    topic = rng.choice(vocabulary.TOPICS)
    table = vocabulary.table(rng, topic, rng.randint(*look.rows), rng.randint(*look.columns))
    shown = rng.sample(range(3), rng.randint(0, 2))
    values = (f"{rng.choice(vocabulary.PLACES)} office", vocabulary.date(rng), rng.choice(vocabulary.PEOPLE))
    fields = tuple(Field(_NOTES[i][1], values[i]) for i in sorted(shown))
    absent = tuple(_NOTES[i][1] for i in range(3) if i not in shown)
    return Content(KIND, topic.title, fields, (table,), (), absent, ())


def draw(rng: random.Random, what: Content, look: Look = EASY) -> Sheet:
    """Heading, the table, and a label with its value on a line for each field."""
    set_in, (table,) = style(rng, look), what.tables
    widths = column_widths(what, table, set_in)
    pitch = round(set_in.px * rng.uniform(1.9, 2.2))
    height = 2 * _MARGIN_PX + set_in.step + pitch * (len(table.rows) + 2) + set_in.step * len(what.fields)
    page = Page(max(sum(widths), 300) + 2 * _MARGIN_PX, height, set_in.palette.ground)
    face = set_in.face(1.25, bold=True)
    page.text(_MARGIN_PX, _MARGIN_PX + set_in.px, what.title, face, set_in.palette.ink, mark="title")
    top = _MARGIN_PX + set_in.step + round(set_in.px * 0.6)
    draw_grid(rng, page, table, widths, set_in, top, pitch)
    draw_notes(page, what, set_in, top + pitch * (len(table.rows) + 1) + set_in.step)
    return page.sheet()


def column_widths(what: Content, table: Table, set_in: Style) -> list[int]:
    """Room for the row headers, then for each column, in pixels."""
    body, bold = set_in.face(), set_in.face(bold=True)
    heads = [table.rows_are.capitalize(), *(c.name for c in table.columns)]
    cells = [[r.name for r in table.rows], *([r.cells[i] for r in table.rows] for i in range(len(table.columns)))]
    gap = round(set_in.px * 1.5)
    widths = [
        gap + max(width_of(h, bold), *(width_of(c, body) for c in col)) for h, col in zip(heads, cells, strict=True)
    ]
    short = width_of(what.title, set_in.face(1.25, bold=True)) - sum(widths)
    return [w + max(0, short) // len(widths) for w in widths]


def draw_grid(
    rng: random.Random, page: Page, table: Table, widths: list[int], set_in: Style, top: int, pitch: int
) -> None:
    """Header and rows from `top`, `pitch` pixels each; numbers are set flush right."""
    tone, manner = set_in.palette, rng.choice(("ruled", "striped", "boxed"))
    left, right = _MARGIN_PX, _MARGIN_PX + sum(widths)
    page.panel(left, top, right, top + pitch, tone.accent if manner != "ruled" else None)
    ink = tone.ink if manner == "ruled" else tone.on_accent
    heads = [table.rows_are.capitalize(), *(c.name for c in table.columns)]
    _cells(page, heads, widths, set_in, (top, pitch), ink, ["", *(f"column.{i}" for i in range(len(table.columns)))])
    for r, row in enumerate(table.rows):
        y = top + (r + 1) * pitch
        if manner == "striped" and r % 2:
            page.panel(left, y, right, y + pitch, tuple(max(0, c - 16) for c in tone.ground))  # type: ignore[arg-type]
        if manner == "boxed":
            page.panel(left, y, right, y + pitch, None, tone.pale)
        marks = [f"row.{r}", *(f"cell.{r}.{i}" for i in range(len(row.cells)))]
        _cells(page, [row.name, *row.cells], widths, set_in, (y, pitch), tone.ink, marks)
        page.rule(left, right - 1, y, tone.pale)


def _cells(
    page: Page, texts: list[str], widths: list[int], set_in: Style, band: tuple[int, int], ink: tuple[int, int, int],
    marks: list[str],
) -> None:  # fmt: skip
    x, (top, pitch) = _MARGIN_PX, band
    pad, base = round(set_in.px * 0.5), top + (pitch + round(set_in.px * 0.7)) // 2
    heading = marks[0] == ""
    for i, (text, width, mark) in enumerate(zip(texts, widths, marks, strict=True)):
        at = x + width - pad if i else x + pad
        page.text(at, base, text, set_in.face(bold=heading), ink, mark=mark, align="right" if i else "left")
        x += width


def draw_notes(page: Page, what: Content, set_in: Style, y: int) -> None:
    """Fields below a table: a label, then its value, one line for each."""
    for i, one in enumerate(what.fields):
        base = y + i * set_in.step
        page.text(_MARGIN_PX, base, f"{one.name}:", set_in.face(0.9), set_in.palette.pale, mark=f"label.{i}")
        at = _MARGIN_PX + width_of(f"{one.name}: ", set_in.face(0.9)) + 8
        page.text(at, base, one.value, set_in.face(0.9), set_in.palette.ink, mark=f"field.{i}")
