"""Boxes are where the ink is: words and lines against pixels, upright, tilted, and in a chart."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from reelmill.pipelines.documents import charts, vocabulary
from reelmill.pipelines.documents.content import Column, Content, Row, Table
from reelmill.pipelines.documents.looks import EASY, HARD, LOOKS
from reelmill.pipelines.documents.page import FAMILIES, Face, Page, Sheet, around, faults, font, ink_box
from reelmill.pipelines.documents.wear import Wear, worn
from reelmill.schemas.tube import Box

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
CLEAN = Wear(0.0, 0, 0.0, 0.0, 0, 0)


def dark(pixels: np.ndarray) -> Box:
    """The box of everything that is not white."""
    rows, columns = np.nonzero((pixels < 255).any(axis=2))
    return Box(float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("bold", [False, True])
def test_a_box_is_the_box_of_the_ink_to_the_pixel(family: str, bold: bool) -> None:
    page = Page(420, 60, WHITE)
    page.text(17, 41, "Fjord Type, 10.50", Face(family, 23, bold), BLACK)
    (line,) = page.lines
    assert dark(page.sheet().pixels) == line.box
    assert [w.text for w in line.words] == ["Fjord", "Type,", "10.50"]
    for word in line.words:
        alone = np.full_like(page.sheet().pixels, 255)
        cut = np.s_[:, int(word.box.x0_px) : int(word.box.x1_px)]
        alone[cut] = page.sheet().pixels[cut]
        assert dark(alone) == word.box
    assert line.box == around([w.box for w in line.words])


@pytest.mark.parametrize(("align", "edge"), [("left", "x0_px"), ("right", "x1_px")])
def test_text_is_set_to_the_side_that_is_asked(align: str, edge: str) -> None:
    page = Page(300, 50, WHITE)
    page.text(150, 30, "MIME", Face("DejaVuSans", 20), BLACK, align=align)
    assert abs(getattr(page.lines[0].box, edge) - 150) <= 3  # a letter's own side bearing


def test_every_word_of_the_vocabulary_has_its_letters() -> None:
    """A letter that a font lacks is drawn as one and the same box: no two letters may look equal."""
    said = {c for words in vocabulary.NOTICES for word in words for c in word} | set("€£$%°ñéçèü")
    for family in (f for f in FAMILIES if f != "Aileron"):
        drawn = {c: bytes(font(Face(family, 32)).getmask(c)) for c in said}
        lacking = bytes(font(Face(family, 32)).getmask("\U000fffff"))
        assert [c for c, pixels in drawn.items() if pixels == lacking] == []


def test_letters_that_a_font_lacks_are_a_fault() -> None:
    page = Page(200, 60, WHITE)
    page.text(10, 30, "Año", Face("Aileron", 20), BLACK)
    assert faults(page.sheet()) == ["'Año' has letters that its font lacks"]


def test_text_over_the_edge_or_on_other_text_is_a_fault() -> None:
    page = Page(120, 60, WHITE)
    page.text(70, 20, "Over the edge", Face("DejaVuSans", 16), BLACK)
    page.text(5, 50, "First", Face("DejaVuSans", 16), BLACK)
    page.text(20, 48, "Second", Face("DejaVuSans", 16), BLACK)
    said = faults(page.sheet())
    assert "'Over the edge' over the edge" in said
    assert "'First' touches 'Second'" in said
    assert faults(Sheet(page.sheet().pixels, page.sheet().lines[1:2])) == []


@pytest.mark.parametrize("tilt_deg", [-3.0, 0.0, 2.4])
def test_a_quad_goes_with_its_page(tilt_deg: float) -> None:
    pixels = np.full((200, 300, 3), 255, np.uint8)
    box = Box(60.0, 50.0, 240.0, 80.0)
    pixels[50:80, 60:240] = 0
    picture, place = worn(pixels, Wear(tilt_deg, 28, 0.0, 0.0, 0, 0))
    assert picture.shape == (256, 356, 3)
    quad = np.array(place(box)).reshape(4, 2)
    ink = (255.0 - picture[..., 0]) / 255.0  # how much of a pixel is black
    low, high = quad.min(axis=0).astype(int) - 3, quad.max(axis=0).astype(int) + 4
    rows, columns = (g.ravel() for g in np.mgrid[low[1] : high[1], low[0] : high[0]])
    weight = ink[rows, columns]
    centre = np.average([columns + 0.5, rows + 0.5], axis=1, weights=weight)
    assert np.abs(quad.mean(axis=0) - centre).max() < 0.1
    assert weight.sum() == pytest.approx(180 * 30, rel=0.005)
    seen = math.degrees(math.atan2(*(quad[1] - quad[0])[::-1]))
    assert seen == pytest.approx(tilt_deg)
    across, down = columns - columns.mean(), rows - rows.mean()
    spread = np.cov(np.stack([across, down]), aweights=weight)
    slope = math.tan(0.5 * math.atan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1]))  # of the ink itself
    assert math.degrees(math.atan(slope)) == pytest.approx(tilt_deg, abs=0.2)


def test_wear_is_within_its_look_and_leaves_a_clean_page_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    same, _ = worn(pixels, CLEAN)
    assert (same == pixels).all()
    for look in LOOKS.values():
        drawn = [Wear.of(random.Random(seed), look) for seed in range(40)]
        assert all(abs(w.tilt_deg) <= look.tilt_deg and w.blur_px <= look.blur_px for w in drawn)
        assert all(look.jpeg_quality[0] <= w.jpeg_quality <= look.jpeg_quality[1] for w in drawn)
    noisy, _ = worn(np.full((80, 80, 3), 128, np.uint8), Wear(0.0, 0, 0.0, 6.0, 0, 3))
    assert 5 < noisy.std() < 7
    assert (noisy == worn(np.full((80, 80, 3), 128, np.uint8), Wear(0.0, 0, 0.0, 6.0, 0, 3))[0]).all()


def a_chart(manner: str, values: tuple[str, ...]) -> Content:
    names = ("Oats", "Tofu", "Salmon")
    rows = tuple(Row(n, (v,)) for n, v in zip(names, values, strict=True))
    table = Table("food", (Column("Energy", "{}%" if manner == "pie" else "{}"),), rows, ())
    return Content("chart", "Nutrition", (), (table,), (), (), (), manner, "Energy (kcal)")


@pytest.mark.parametrize("manner", ["columns", "bars", "line", "pie"])
def test_the_texts_of_a_chart_lie_where_their_ink_is(manner: str) -> None:
    """The picture without a text differs from that with it inside of its box, and nowhere else."""
    values = ("22%", "33%", "45%") if manner == "pie" else ("21", "33", "47")
    what = a_chart(manner, values)
    sheet = charts.draw(random.Random(3), what, EASY)
    other = a_chart(manner, values)
    other = Content(**{n: getattr(other, n) for n in other.__slots__} | {"title": "Mathematics", "subtitle": "xyz"})
    changed = charts.draw(random.Random(3), other, EASY)
    places = np.zeros(sheet.pixels.shape[:2], bool)
    for line in (*sheet.lines[:2], *changed.lines[:2]):
        x0, y0, x1, y1 = (int(v) for v in (line.box.x0_px, line.box.y0_px, line.box.x1_px, line.box.y1_px))
        places[y0 - 1 : y1 + 1, x0 - 1 : x1 + 1] = True
    differs = np.abs(sheet.pixels.astype(int) - changed.pixels).max(axis=2) > charts._INK
    assert differs.any()
    assert not (differs & ~places).any()
    printed = {line.mark: line.text for line in sheet.lines}
    assert [printed[f"cell.{r}.0"] for r in range(3)] == list(values)
    assert [printed[f"row.{r}"] for r in range(3)] == ["Oats", "Tofu", "Salmon"]


def test_a_chart_on_its_grid_prints_no_values_and_the_bars_are_as_high() -> None:
    what = a_chart("columns", ("20", "10", "50"))
    assert not charts.printed(what)
    assert charts.printed(a_chart("columns", ("20", "13", "50")))
    sheet = charts.draw(random.Random(1), what, HARD)
    assert not [line for line in sheet.lines if line.mark.startswith("cell")]
    ticks = {int(line.text): line.box.centre_px[1] for line in sheet.lines if line.mark == "axis"}
    colour = sheet.pixels[int(ticks[0]) - 8, int(next(x.box for x in sheet.lines if x.mark == "row.0").centre_px[0])]
    bars = (np.abs(sheet.pixels.astype(int) - colour) < 8).all(axis=2)
    for mark, value in (("row.0", 20), ("row.1", 10), ("row.2", 50)):
        middle = int(next(line.box for line in sheet.lines if line.mark == mark).centre_px[0])
        assert np.nonzero(bars[:, middle])[0].min() == pytest.approx(ticks[value], abs=2.5)


def test_fonts_are_those_of_the_wheels() -> None:
    assert ink_box("Hg", Face("DejaVuSans", 40)) != ink_box("Hg", Face("DejaVuSerif", 40))
    assert font(Face("Aileron", 20)).getname()[0] == "Aileron"
