"""A slide: a heading, points in order, and a footer with who, where and which number.

>>> content(random.Random(1), EASY).listings[0].name
'points'
"""

from __future__ import annotations

import random

from reelmill.pipelines.documents import vocabulary
from reelmill.pipelines.documents.content import Content, Field, Listing
from reelmill.pipelines.documents.looks import EASY, Look, style
from reelmill.pipelines.documents.page import Page, Sheet, width_of

KIND = "slide"
_SIZE_PX = (796, 448)
_TITLES = ("Project review", "Safety training", "Annual plan", "Field study", "Customer survey", "Product launch")
_DO = ("Check", "Compare", "Collect", "Explain", "Measure", "Prepare", "Publish", "Review", "Repair", "Test")
_WHAT = (
    "the winter schedule", "all safety labels", "the new sensors", "customer answers", "last year's figures",
    "the loading ramp", "two pilot sites", "the training plan", "spare parts", "the final report",
)  # fmt: skip
_FOOTER = ("Presenter", "Date", "Venue", "Slide")


def content(rng: random.Random, look: Look = EASY) -> Content:
    """Three to six points, no two with the same verb or object."""
    count = min(rng.randint(*look.rows), 6)
    verbs, things = rng.sample(_DO, count), rng.sample(_WHAT, count)
    points = tuple(f"{v} {t}" for v, t in zip(verbs, things, strict=True))
    values = (
        rng.choice(vocabulary.PEOPLE),
        vocabulary.date(rng),
        rng.choice(vocabulary.PLACES),
        str(rng.randint(2, 48)),
    )
    shown = sorted(rng.sample(range(4), rng.randint(1, 3)))
    fields = tuple(Field(_FOOTER[i], values[i]) for i in shown)
    absent = tuple(n for i, n in enumerate(_FOOTER) if i not in shown)
    return Content(KIND, rng.choice(_TITLES), fields, (), (Listing("points", points),), absent, ())


def draw(rng: random.Random, what: Content, look: Look = EASY) -> Sheet:
    """A bar, a heading, points with numbers or dots, and a footer from left to right."""
    set_in = style(rng, look, dark=0.3)
    tone, (width, height) = set_in.palette, _SIZE_PX
    page = Page(width, height, tone.ground)
    bar = rng.choice((72, 88))
    page.panel(0, 0, width, bar, tone.accent)
    page.text(40, bar // 2 + set_in.px // 2, what.title, set_in.face(1.8, bold=True), tone.on_accent, mark="title")
    (points,) = what.listings
    pitch = min(round(set_in.px * 3), (height - bar - 90) // len(points.items))
    for i, point in enumerate(points.items):
        y = bar + 54 + i * pitch
        page.draw.ellipse((44, y - 11, 52, y - 3), fill=tone.accent)
        page.text(70, y, point, set_in.face(1.2), tone.ink, mark=f"item.0.{i}")
    x = 40
    for i, one in enumerate(what.fields):
        label = f"{one.name}:"
        page.text(x, height - 22, label, set_in.face(0.9), tone.pale, mark=f"label.{i}")
        x += width_of(f"{label} ", set_in.face(0.9)) + 6
        page.text(x, height - 22, one.value, set_in.face(0.9), tone.ink, mark=f"field.{i}")
        x += width_of(one.value, set_in.face(0.9)) + 44
    return page.sheet()
