"""A filled form: labels with values in boxes, some left blank, and options with ticks.

>>> content(random.Random(1), EASY).listings[0].name
'ticked options'
"""

from __future__ import annotations

import random

from reelmill.pipelines.documents import vocabulary
from reelmill.pipelines.documents.content import Content, Field, Listing
from reelmill.pipelines.documents.looks import EASY, Look, Style, style
from reelmill.pipelines.documents.page import Page, Sheet, width_of

KIND = "form"
_WIDTH_PX = 448
_MARGIN_PX = 24
_TITLES = ("Membership form", "Parcel return form", "Course registration", "Repair request", "Visitor record")
_OPTIONS = ("Newsletter", "Insurance", "Parking", "Breakfast", "Gift wrap", "Evening class", "Locker", "Discount card")


def content(rng: random.Random, look: Look = EASY) -> Content:
    """Five to seven labels in a fixed order, each filled or left blank, and four options of which some are ticked."""
    person = rng.choice(vocabulary.PEOPLE)
    known = (
        ("Full name", person),
        ("Birth date", vocabulary.date(rng, 1948, 2004)),
        ("Street", f"{rng.randint(12, 98)} {rng.choice(vocabulary.STREETS)}"),
        ("City", rng.choice(vocabulary.PLACES)),
        ("Phone", vocabulary.phone(rng)),
        ("E-mail", vocabulary.email(rng, person)),
        ("Reference", f"{rng.choice('BCDFGHKMPRT')}{rng.choice('KMPRTVX')}-{rng.randint(2000, 9999)}"),
    )
    chosen = sorted(rng.sample(range(1, len(known)), rng.randint(4, 5)))
    labels = [known[i] for i in (0, *chosen)]
    blank = tuple(name for name, _ in labels[1:] if rng.random() < look.blank)
    options = rng.sample(_OPTIONS, 4)
    ticked = tuple(o for o in options if rng.random() < 0.55) or (options[0],)
    absent = tuple(name for i, (name, _) in enumerate(known) if i not in (0, *chosen))
    fields = tuple(Field(n, v) for n, v in labels if n not in blank)
    rest = Listing("options", tuple(options))
    return Content(KIND, rng.choice(_TITLES), fields, (), (Listing("ticked options", ticked), rest), absent, blank)


def draw(rng: random.Random, what: Content, look: Look = EASY) -> Sheet:
    """Labels to the left, values in boxes or on lines to the right; options in two columns below."""
    set_in = style(rng, look)
    pitch, tone = round(set_in.px * 2.3), set_in.palette
    labels = sorted([*(f.name for f in what.fields), *what.blank], key=_place)
    page = Page(_WIDTH_PX, 2 * _MARGIN_PX + pitch * (len(labels) + 4), tone.ground)
    page.text(_MARGIN_PX, _MARGIN_PX + set_in.px, what.title, set_in.face(1.3, bold=True), tone.ink, mark="title")
    y, boxed = _MARGIN_PX + round(2.4 * pitch), rng.random() < 0.5
    left = _MARGIN_PX + max(width_of(n, set_in.face(0.9)) for n in labels) + 16
    values = {f.name: (i, f.value) for i, f in enumerate(what.fields)}
    for name in labels:
        index, value = values.get(name, (-1, ""))
        page.text(_MARGIN_PX, y, name, set_in.face(0.9), tone.pale, mark=f"label.{index}" if value else "blank")
        _slot(page, set_in, left, y, boxed=boxed)
        if value:
            page.text(left + 8, y, value, set_in.face(), tone.ink, mark=f"field.{index}")
        y += pitch
    _options(page, set_in, what, y)
    return page.sheet()


def _place(name: str) -> int:
    order = ("Full name", "Birth date", "Street", "City", "Phone", "E-mail", "Reference")
    return order.index(name)


def _slot(page: Page, set_in: Style, left: int, y: int, *, boxed: bool) -> None:
    right, tone = _WIDTH_PX - _MARGIN_PX, set_in.palette
    if boxed:
        page.panel(left, y - round(set_in.px * 1.25), right, y + round(set_in.px * 0.6), (255, 255, 255), tone.pale)
    else:
        page.rule(left, right, y + round(set_in.px * 0.5), tone.pale)


def _options(page: Page, set_in: Style, what: Content, y: int) -> None:
    """A square per option, with a tick in those that are chosen."""
    ticked, options = what.listings
    side, tone = round(set_in.px * 0.9), set_in.palette
    for i, name in enumerate(options.items):
        x, base = _MARGIN_PX + (i % 2) * (_WIDTH_PX - 2 * _MARGIN_PX) // 2, y + (i // 2) * round(set_in.px * 2.1)
        page.panel(x, base - side, x + side, base, (255, 255, 255), tone.ink)
        if name in ticked.items:
            page.draw.line((x + 3, base - side // 2, x + side // 2 - 1, base - 4), fill=(20, 20, 24), width=2)
            page.draw.line((x + side // 2 - 1, base - 4, x + side - 3, base - side + 2), fill=(20, 20, 24), width=2)
        page.text(x + side + 8, base, name, set_in.face(), tone.ink, mark=f"item.1.{i}")
