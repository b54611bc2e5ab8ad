"""A till receipt: items with prices that add up to the penny, subtotal, tax and total.

>>> what = content(random.Random(1), EASY)
>>> [f.name for f in what.fields][-3:]
['Subtotal', 'Tax', 'Total']
"""

from __future__ import annotations

import random

from reelmill.pipelines.documents import vocabulary
from reelmill.pipelines.documents.content import Column, Content, Field, Row, Table
from reelmill.pipelines.documents.looks import EASY, Look, Style, style
from reelmill.pipelines.documents.page import Page, Sheet

KIND = "receipt"
_WIDTH_PX = 360
_MARGIN_PX = 24
_EXTRAS = ("Cashier", "Table", "Card", "Phone")


def content(rng: random.Random, look: Look = EASY) -> Content:
    """Amounts are of whole lines (not per piece) and are added in pennies."""
    form = rng.choice(vocabulary.CURRENCIES)
    names = rng.sample(vocabulary.GOODS, rng.randint(*look.rows) + 2)
    pennies = [rng.randint(60, 2400) for _ in names[:-2]]
    rows = tuple(
        Row(n, (str(rng.randint(1, 6)), form.format(_pounds(p)))) for n, p in zip(names[:-2], pennies, strict=True)
    )
    table = Table("item", (Column("Qty", "{}"), Column("Amount", form)), rows, tuple(names[-2:]))
    tax = round(sum(pennies) * rng.choice((5, 8, 10, 20)) / 100)
    sums = {"Subtotal": sum(pennies), "Tax": tax, "Total": sum(pennies) + tax}
    shown = rng.sample(_EXTRAS, rng.randint(1, 2))
    fields = [Field(n, v) for n, v in _head(rng) if n in ("Date", "Time", *shown)]
    fields += [Field(n, form.format(_pounds(p))) for n, p in sums.items()]
    absent = (*(n for n in _EXTRAS if n not in shown), "Discount", "Tip")
    return Content(KIND, rng.choice(vocabulary.SHOPS), tuple(fields), (table,), (), absent, ())


def _pounds(pennies: int) -> str:
    return f"{pennies // 100}.{pennies % 100:02d}"


def _head(rng: random.Random) -> list[tuple[str, str]]:
    return [
        ("Date", vocabulary.date(rng)),
        ("Time", vocabulary.clock(rng)),
        ("Cashier", rng.choice(vocabulary.PEOPLE).split(" ")[0]),
        ("Table", str(rng.randint(12, 39))),
        ("Card", f"ending {rng.randint(2000, 9999)}"),
        ("Phone", vocabulary.phone(rng)),
    ]


def draw(rng: random.Random, what: Content, look: Look = EASY) -> Sheet:
    """A narrow slip: shop, date and the like, items, sums."""
    set_in, (table,) = style(rng, look), what.tables
    step = round(set_in.px * rng.uniform(1.6, 1.9))
    page = Page(_WIDTH_PX, step * (len(what.fields) + len(table.rows) + 4) + 2 * _MARGIN_PX, (253, 253, 250))
    middle, ink = _WIDTH_PX // 2, set_in.palette.ink
    page.text(
        middle, _MARGIN_PX + set_in.px, what.title, set_in.face(1.3, bold=True), ink, mark="title", align="centre"
    )
    y, head = _MARGIN_PX + set_in.px + round(1.5 * step), len(what.fields) - 3
    for i in range(head):
        _pair(page, set_in, y, what.fields[i], i)
        y += step
    dashed = rng.random() < 0.5
    page.rule(_MARGIN_PX, _WIDTH_PX - _MARGIN_PX, y - step // 2, ink, dashed=dashed)
    y = _items(page, set_in, table, y + step // 2, step)
    page.rule(_MARGIN_PX, _WIDTH_PX - _MARGIN_PX, y - step // 2, ink, dashed=dashed)
    for i in range(head, len(what.fields)):
        y += step
        _pair(page, set_in, y - step // 2, what.fields[i], i)
    return page.sheet()


def _pair(page: Page, set_in: Style, y: int, one: Field, i: int) -> None:
    face = set_in.face(bold=one.name == "Total")
    page.text(_MARGIN_PX, y, one.name, face, set_in.palette.ink, mark=f"label.{i}")
    page.text(_WIDTH_PX - _MARGIN_PX, y, one.value, face, set_in.palette.ink, mark=f"field.{i}", align="right")


def _items(page: Page, set_in: Style, table: Table, y: int, step: int) -> int:
    """Items from baseline y on; returns the baseline after them."""
    ink, right = set_in.palette.ink, _WIDTH_PX - _MARGIN_PX
    ends = (right - round(set_in.px * 5.5), right)
    page.text(_MARGIN_PX, y, "Item", set_in.face(bold=True), ink)
    for i, (column, end) in enumerate(zip(table.columns, ends, strict=True)):
        page.text(end, y, column.name, set_in.face(bold=True), ink, mark=f"column.{i}", align="right")
    for r, row in enumerate(table.rows):
        y += step
        page.text(_MARGIN_PX, y, row.name, set_in.face(), ink, mark=f"row.{r}")
        for i, (cell, end) in enumerate(zip(row.cells, ends, strict=True)):
            page.text(end, y, cell, set_in.face(), ink, mark=f"cell.{r}.{i}", align="right")
    return y + step
