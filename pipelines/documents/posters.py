"""A poster for an event: its name in large letters, who performs, and when, where and for how much.

>>> content(random.Random(1), EASY).listings[0].name
'performers'
"""

from __future__ import annotations

import random

from reelmill.pipelines.documents import vocabulary
from reelmill.pipelines.documents.content import Content, Field, Listing
from reelmill.pipelines.documents.looks import EASY, Look, style
from reelmill.pipelines.documents.page import Page, Sheet, width_of

KIND = "poster"
_SIZE_PX = (448, 620)
_EVENTS = (
    "Summer Jazz Night",
    "Harvest Festival",
    "Open Air Theatre",
    "Winter Concert",
    "Poetry Evening",
    "Folk Weekend",
)
_FACTS = ("Date", "Doors", "Venue", "Tickets", "Organiser")
_HALLS = ("Town Hall", "Old Mill", "Castle Garden", "City Library", "Harbour Stage", "Grand Theatre")


def content(rng: random.Random, look: Look = EASY) -> Content:
    """Three to five facts and up to six performers."""
    values = (
        vocabulary.date(rng),
        vocabulary.clock(rng),
        rng.choice(_HALLS),
        rng.choice(vocabulary.CURRENCIES).format(rng.randint(6, 48)),
        f"{rng.choice(vocabulary.PLACES)} Arts Club",
    )
    shown = sorted(rng.sample(range(5), rng.randint(3, 4)))
    names = tuple(rng.sample(vocabulary.PEOPLE, min(rng.randint(*look.rows), 6)))
    fields = tuple(Field(_FACTS[i], values[i]) for i in shown)
    absent = tuple(n for i, n in enumerate(_FACTS) if i not in shown)
    return Content(KIND, rng.choice(_EVENTS), fields, (), (Listing("performers", names),), absent, ())


def draw(rng: random.Random, what: Content, look: Look = EASY) -> Sheet:
    """The name in the upper third on an accent, one word to a line; performers below it; facts at the foot."""
    set_in = style(rng, look, dark=0.25)
    tone, (width, height) = set_in.palette, _SIZE_PX
    page = Page(width, height, tone.ground)
    big = set_in.face(2.0 if width_of(what.title, set_in.face(2.0, bold=True)) < width - 40 else 1.6, bold=True)
    page.panel(0, 0, width, 130, tone.accent)
    page.text(width // 2, 80, what.title, big, tone.on_accent, mark="title", align="centre")
    centred = rng.random() < 0.6
    pitch = min(round(set_in.px * 2.2), 250 // len(what.listings[0].items))
    for i, name in enumerate(what.listings[0].items):
        at, align = (width // 2, "centre") if centred else (60, "left")
        page.text(at, 190 + i * pitch, name, set_in.face(1.2), tone.ink, mark=f"item.0.{i}", align=align)
    top = height - 30 - set_in.step * (len(what.fields) - 1)
    page.rule(40, width - 40, top - set_in.step, tone.accent)
    for i, one in enumerate(what.fields):
        y = top + i * set_in.step
        page.text(60, y, one.name, set_in.face(bold=True), tone.pale, mark=f"label.{i}")
        page.text(190, y, one.value, set_in.face(), tone.ink, mark=f"field.{i}")
    return page.sheet()
