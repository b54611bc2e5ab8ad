"""Documents of every kind and look: a pure function of their seed, apart, legible by their truth, adding up."""

from __future__ import annotations

import dataclasses
import hashlib
import random
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest

from reelmill.pipelines.documents import compose as composing
from reelmill.pipelines.documents.compose import KINDS, LOOKS, Made, compose, identity
from reelmill.pipelines.documents.looks import Look
from reelmill.pipelines.views.checks.documents import truth_faults
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.keys import canonical_json

SEEDS = range(2)
# Of what two seeds of each kind and look say, and in which order: another value means that the same seed gives another
# document, so that RENDERER is to be raised. Places in pixels are left out: they are those of the installed fonts.
GOLDEN = "6453c9af791a6bbe"


@pytest.fixture(scope="module")
def made() -> dict[tuple[str, str, int], Made]:
    return {(k, name, s): compose(s, k, look) for k in KINDS for name, look in LOOKS.items() for s in SEEDS}


def record(one: Made) -> dict[str, object]:
    return {"truth": arrow.plain(one.exact), "document": arrow.plain(one.document)}


def test_the_same_seed_gives_the_same_pixels_and_truth(made: dict[tuple[str, str, int], Made]) -> None:
    for kind in KINDS:
        again, first = compose(1, kind, LOOKS["hard"]), made[kind, "hard", 1]
        assert (again.pixels == first.pixels).all()
        assert (again.exact, again.document, again.jpeg_quality) == (first.exact, first.document, first.jpeg_quality)
        assert made[kind, "hard", 0].document != first.document


def test_content_is_what_its_revision_says(made: dict[tuple[str, str, int], Made]) -> None:
    said = [arrow.plain(made[k, name, s].document) | {"words": []} for k, name, s in sorted(made)]
    assert hashlib.sha256(canonical_json(said).encode()).hexdigest()[:16] == GOLDEN, "raise compose.RENDERER"


def test_the_truth_of_every_document_holds(made: dict[tuple[str, str, int], Made]) -> None:
    for name, one in made.items():
        assert truth_faults(record(one)) == [], name
        assert one.pixels.shape == (one.exact.height_px, one.exact.width_px, 3)
        assert one.pixels.dtype == np.uint8
        assert len(one.document.marks) == len(one.exact.texts)


def test_names_are_unique_so_that_a_question_names_one_thing(made: dict[tuple[str, str, int], Made]) -> None:
    for key, one in made.items():
        what = one.document.content
        names = [*(f.name for f in what.fields), *what.blank, *what.absent]
        names += [n for t in what.tables for n in (*(r.name for r in t.rows), *(c.name for c in t.columns), *t.absent)]
        assert len(set(names)) == len(names), key
        for listing in what.listings:
            assert len(set(listing.items)) == len(listing.items)


def test_what_is_absent_stands_nowhere(made: dict[tuple[str, str, int], Made]) -> None:
    """But for words that another thing is made of: the form's title may hold what a field is called."""
    for key, one in made.items():
        lines = {line.text.rstrip(":") for line in one.exact.texts}
        what = one.document.content
        assert not lines & {*what.absent, *(n for t in what.tables for n in t.absent)}, key
        assert set(what.blank) <= lines


def test_every_value_is_drawn_but_those_of_a_chart_on_its_grid(made: dict[tuple[str, str, int], Made]) -> None:
    for (kind, *_), one in made.items():
        what, marks = one.document.content, one.document.marks
        cells = [f"cell.{r}.{c}" for t in what.tables for r in range(len(t.rows)) for c in range(len(t.columns))]
        drawn = [m in marks for m in cells]
        assert all(drawn) or (kind == "chart" and not any(drawn))
        assert all(f"field.{i}" in marks for i in range(len(what.fields)))


def test_stored_frames_keep_the_text_at_its_size(made: dict[tuple[str, str, int], Made]) -> None:
    """Frames are stored at a short side of at most 448 px: easy pages are no wider, hard ones lie on a desk."""
    for (_, look, _), one in made.items():
        short = min(one.pixels.shape[:2])
        assert short <= (448 if look == "easy" else 448 + 2 * LOOKS[look].desk_px)


def test_reading_order_goes_down_the_page(made: dict[tuple[str, str, int], Made]) -> None:
    """No line begins above the one before it by more than its own height; a chart is read by its parts."""
    for (kind, look, _), one in made.items():
        if kind == "chart" or look == "hard":  # tilted
            continue
        tops = [line.box.y1_px for line in one.exact.texts]
        heights = [line.box.y1_px - line.box.y0_px for line in one.exact.texts]
        assert all(b > a - h for a, b, h in zip(tops, tops[1:], heights[1:], strict=False)), kind


def test_receipts_add_up_by_any_reckoning() -> None:
    for seed in range(25):
        what = KINDS["receipt"].content(random.Random(seed), LOOKS["hard"])
        values = {f.name: Decimal(f.value[1:]) for f in what.fields if f.name in ("Subtotal", "Tax", "Total")}
        assert sum(Decimal(r.cells[1][1:]) for r in what.tables[0].rows) == values["Subtotal"]
        assert values["Subtotal"] + values["Tax"] == values["Total"]


def test_shares_of_a_pie_are_a_whole() -> None:
    pies = [KINDS["chart"].content(random.Random(seed), LOOKS["hard"]) for seed in range(40)]
    shares = [[int(r.cells[0][:-1]) for r in p.tables[0].rows] for p in pies if p.manner == "pie"]
    assert len(shares) > 4
    assert all(sum(one) == 100 and min(one) >= 8 for one in shares)


def test_a_look_without_room_is_named() -> None:
    huge: Look = dataclasses.replace(LOOKS["easy"], name="huge", text_px=(80, 80))
    with pytest.raises(BadInput, match="'huge' leaves no screen whose lines keep apart"):
        compose(0, "screen", huge)


def test_identity_is_the_look_and_not_only_its_name() -> None:
    edited = dataclasses.replace(LOOKS["easy"], blank=0.5)
    assert identity(1, "form", edited) != identity(1, "form", LOOKS["easy"])
    assert identity(1, "form", LOOKS["easy"])["renderer"] == composing.RENDERER
    canonical_json(identity(1, "form", edited))


def test_notices_show_three_scripts() -> None:
    signs = [KINDS["sign"].content(random.Random(seed), LOOKS["hard"]) for seed in range(60)]
    assert {f.name for s in signs for f in s.fields} >= {"German", "Greek", "Russian", "Monday"}


def test_modules_are_light_to_import() -> None:
    name = composing.__name__
    code = f"import sys, {name}; print([m for m in ('cv2', 'PIL', 'matplotlib', 'torch') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
