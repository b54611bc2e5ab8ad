"""A screen of settings: a title bar, rows of a label and its state, and a menu of buttons.

>>> content(random.Random(1), EASY).listings[0].name
'buttons'
"""

from __future__ import annotations

import random

from reelmill.pipelines.documents import vocabulary
from reelmill.pipelines.documents.content import Content, Field, Listing
from reelmill.pipelines.documents.looks import EASY, Look, style
from reelmill.pipelines.documents.page import Page, Sheet, width_of

KIND = "screen"
_SIZE_PX = (420, 640)
_BUTTONS = ("Save", "Cancel", "Help", "Reset", "Share", "Export")
_TITLES = ("Settings", "Account", "Camera options", "Network", "Storage", "Display")


def content(rng: random.Random, look: Look = EASY) -> Content:
    """Four to eight settings and two to four buttons."""
    states = (
        ("Language", rng.choice(("English", "Deutsch", "Français", "Español"))),
        ("Brightness", f"{rng.randint(12, 98)}%"),
        ("Wi-Fi", rng.choice(("On", "Off"))),
        ("Battery", f"{rng.randint(12, 98)}%"),
        ("Volume", str(rng.randint(12, 98))),
        ("Time zone", rng.choice(vocabulary.PLACES)),
        ("Storage used", f"{rng.randint(12, 98)} GB"),
        ("Last backup", vocabulary.date(rng)),
        ("Owner", rng.choice(vocabulary.PEOPLE)),
        ("Version", f"{rng.randint(2, 9)}.{rng.randint(2, 9)}.{rng.randint(2, 9)}"),
    )
    count = min(rng.randint(*look.rows) + 1, 8)
    chosen = rng.sample(range(len(states)), count)
    buttons = tuple(rng.sample(_BUTTONS, rng.randint(2, 4)))
    fields = tuple(Field(*states[i]) for i in chosen)
    absent = tuple(states[i][0] for i in range(len(states)) if i not in chosen)
    return Content(KIND, rng.choice(_TITLES), fields, (), (Listing("buttons", buttons),), absent, ())


def draw(rng: random.Random, what: Content, look: Look = EASY) -> Sheet:
    """Bar, settings from top to bottom, buttons along the foot."""
    set_in = style(rng, look, dark=0.4)
    tone, (width, height) = set_in.palette, _SIZE_PX
    page = Page(width, height, tone.ground)
    page.panel(0, 0, width, 64, tone.accent)
    page.text(24, 40, what.title, set_in.face(1.3, bold=True), tone.on_accent, mark="title")
    pitch = min(58, (height - 170) // len(what.fields))
    for i, one in enumerate(what.fields):
        y = 104 + i * pitch
        page.text(24, y, one.name, set_in.face(), tone.ink, mark=f"label.{i}")
        page.text(width - 24, y, one.value, set_in.face(), tone.pale, mark=f"field.{i}", align="right")
        page.rule(24, width - 24, y + pitch // 3, tone.pale)
    buttons = what.listings[0].items
    room = (width - 32) // len(buttons)
    for i, name in enumerate(buttons):
        left = 16 + i * room
        page.panel(left + 5, height - 66, left + room - 5, height - 22, tone.accent)
        face = set_in.face(0.95)
        if width_of(name, face) > room - 18:
            face = set_in.face(0.8)
        page.text(left + room // 2, height - 38, name, face, tone.on_accent, mark=f"item.0.{i}", align="centre")
    return page.sheet()
