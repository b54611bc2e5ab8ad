"""A sign of a public place: ways with distances, opening hours, or one word in several languages and scripts.

>>> {content(random.Random(seed), EASY).title for seed in range(9)} >= {"Opening hours", "Footpaths"}
True
"""

from __future__ import annotations

import random

from reelmill.pipelines.documents import vocabulary
from reelmill.pipelines.documents.content import Column, Content, Field, Row, Table
from reelmill.pipelines.documents.looks import EASY, Look, Palette, Style, style
from reelmill.pipelines.documents.page import Page, Sheet

KIND = "sign"
_WIDTH_PX = 420
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_PLATES = (
    Palette((24, 92, 60), (250, 250, 245), (215, 232, 222), (250, 250, 245), (24, 92, 60)),
    Palette((26, 62, 122), (248, 248, 246), (208, 218, 236), (248, 248, 246), (26, 62, 122)),
    Palette((250, 205, 60), (24, 24, 24), (70, 60, 20), (24, 24, 24), (250, 205, 60)),
    Palette((250, 250, 246), (30, 30, 34), (90, 90, 96), (160, 36, 40), (255, 255, 255)),
)


def content(rng: random.Random, look: Look = EASY) -> Content:
    """One of the three sorts of sign."""
    sort = rng.choice((_footpaths, _hours, _languages))
    return sort(rng, min(rng.randint(*look.rows), 6))


def _footpaths(rng: random.Random, rows: int) -> Content:
    names = rng.sample(vocabulary.PLACES, rows + 2)
    lengths = rng.sample(range(12, 190), rows)
    made = tuple(Row(n, (f"{d / 10:.1f} km",)) for n, d in zip(names[:-2], sorted(lengths), strict=True))
    table = Table("place", (Column("distance", "{} km"),), made, tuple(names[-2:]))
    return Content(KIND, "Footpaths", (), (table,), (), ("height above sea level", "map number"), ())


def _hours(rng: random.Random, rows: int) -> Content:
    days = sorted(rng.sample(range(7), rows))
    fields = tuple(
        Field(_DAYS[d], f"{rng.randint(7, 11)}:{rng.choice(('15', '30', '45'))} to {rng.randint(15, 21)}:30")
        for d in days
    )
    absent = tuple(_DAYS[d] for d in range(7) if d not in days)
    return Content(KIND, "Opening hours", fields, (), (), absent, ())


def _languages(rng: random.Random, rows: int) -> Content:
    chosen = sorted(rng.sample(range(1, 6), min(rows, 4)))
    words = rng.choice(vocabulary.NOTICES)
    fields = tuple(Field(vocabulary.LANGUAGES[i], words[i]) for i in chosen)
    absent = tuple(vocabulary.LANGUAGES[i] for i in range(1, 6) if i not in chosen)
    return Content(KIND, words[0], fields, (), (), absent, ())


def draw(rng: random.Random, what: Content, look: Look = EASY) -> Sheet:
    """A plate on a wall with a heading and a line for each entry; a word in languages is set without their names."""
    set_in = style(rng, look)
    tone = rng.choice(_PLATES)
    family = (
        "DejaVuSans" if what.title not in ("Footpaths", "Opening hours") else set_in.family
    )  # Aileron has ASCII only
    set_in = Style(tone, family, set_in.px + 3)
    entries = _entries(what)
    pitch = round(set_in.px * 1.9)
    page = Page(_WIDTH_PX, 96 + pitch * (len(entries) + 1), (186, 182, 172))
    page.panel(18, 18, _WIDTH_PX - 18, page.image.height - 18, tone.ground, tone.ink)
    page.text(40, 40 + set_in.px, what.title, set_in.face(1.4, bold=True), tone.ink, mark="title")
    for i, (left, right) in enumerate(entries):
        y = 54 + set_in.px + (i + 1) * pitch
        if left is not None:
            page.text(40, y, left[0], set_in.face(), tone.ink, mark=left[1])
        page.text(_WIDTH_PX - 40, y, right[0], set_in.face(), tone.ink, mark=right[1], align="right")
    return page.sheet()


def _entries(what: Content) -> list[tuple[tuple[str, str] | None, tuple[str, str]]]:
    """For each line of a sign, the text and mark to the left (if any) and to the right."""
    rows = what.tables[0].rows if what.tables else ()
    ways = [((row.name, f"row.{r}"), (row.cells[0], f"cell.{r}.0")) for r, row in enumerate(rows)]
    named = what.title == "Opening hours"
    fields = [((f.name, f"label.{i}") if named else None, (f.value, f"field.{i}")) for i, f in enumerate(what.fields)]
    return [*ways, *fields]
