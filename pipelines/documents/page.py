"""A page to draw on that remembers where every line and word of text lies, in pixels as drawn.

Words are set one by one at whole pixels: the box of a word is then the box of its glyphs' ink, with nothing estimated.

>>> page = Page(200, 60, (255, 255, 255))
>>> page.text(10, 40, "Two words", Face("Aileron", 20), (0, 0, 0), mark="title")
>>> [w.text for w in page.lines[0].words], page.lines[0].mark
(['Two', 'words'], 'title')
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from reelmill.schemas.errors import BadInput
from reelmill.schemas.tube import Box

Rgb = tuple[int, int, int]
FAMILIES = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral", "Aileron")
"""The fonts that matplotlib and Pillow carry in their wheels. Latin, Greek and Cyrillic in all but Aileron (ASCII)."""
_BOLD = {"STIXGeneral": "STIXGeneralBol"}


@dataclass(frozen=True, slots=True)
class Face:
    """A family of FAMILIES at a height in pixels (of the em). Aileron has no bold."""

    family: str
    px: int
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    box: Box


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text as drawn; `mark` says what it is, see `content.Document`."""

    text: str
    box: Box
    words: tuple[Word, ...]
    mark: str = ""


@dataclass(frozen=True)
class Sheet:
    """A drawn document before any wear: uint8 RGB [height, width, 3], its lines in reading order, and those of them
    whose letters their font lacks."""

    pixels: np.ndarray
    lines: tuple[Line, ...]
    missing: tuple[str, ...] = ()


def fonts_folder() -> Path:
    """Where matplotlib keeps its fonts. Raises BadInput where it is not installed."""
    try:
        import matplotlib
    except ImportError as error:
        raise BadInput("rendered documents", seen=str(error), do="pip install 'reelmill[documents]'") from error
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@lru_cache(maxsize=128)
def font(face: Face) -> Any:
    """The PIL font of a face, in basic layout: the same wherever Pillow finds a shaper or not."""
    from PIL import ImageFont

    if face.family == "Aileron":
        return ImageFont.load_default(size=face.px)
    name = _BOLD.get(face.family, face.family + "-Bold") if face.bold else face.family
    path = fonts_folder() / f"{name}.ttf"
    return ImageFont.truetype(str(path), face.px, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=4096)
def ink_box(word: str, face: Face) -> Box:
    """Where the ink of a word lies, from its pen's start on the baseline."""
    mask, (x, y) = font(face).getmask2(word, "L", anchor="ls")
    left, top, right, bottom = mask.getbbox()
    return Box(float(x + left), float(y + top), float(x + right), float(y + bottom))


def width_of(text: str, face: Face) -> int:
    """Width of a line in whole pixels, from the pen's start to its end."""
    return round(float(font(face).getlength(text)))


def around(boxes: list[Box]) -> Box:
    """The smallest box that holds all of them."""
    return Box(
        min(b.x0_px for b in boxes),
        min(b.y0_px for b in boxes),
        max(b.x1_px for b in boxes),
        max(b.y1_px for b in boxes),
    )


def moved(box: Box, x_px: float, y_px: float) -> Box:
    return Box(box.x0_px + x_px, box.y0_px + y_px, box.x1_px + x_px, box.y1_px + y_px)


class Page:
    """Draws text, rules and panels in whole pixels. Lines are kept in the order in which they are drawn, which is
    meant to be the order of reading."""

    def __init__(self, width_px: int, height_px: int, ground: Rgb) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (width_px, height_px), ground)
        self.draw = ImageDraw.Draw(self.image)
        self.lines: list[Line] = []
        self.missing: list[str] = []

    def text(self, x: int, y: int, text: str, face: Face, ink: Rgb, *, mark: str = "", align: str = "left") -> None:
        """One line with its baseline at y; x is its left end, its middle or its right end."""
        start = x - {"left": 0, "centre": width_of(text, face) // 2, "right": width_of(text, face)}[align]
        words, at = [], 0
        for word in text.split(" "):
            left = start + width_of(text[:at], face)
            self.draw.text((left, y), word, fill=ink, font=font(face), anchor="ls")
            words.append(Word(word, moved(ink_box(word, face), left, y)))
            at += len(word) + 1
        if face.family == "Aileron" and not text.isascii():  # Pillow's copy is a subset
            self.missing.append(text)
        self.lines.append(Line(text, around([w.box for w in words]), tuple(words), mark))

    def panel(self, x0: int, y0: int, x1: int, y1: int, fill: Rgb | None, edge: Rgb | None = None) -> None:
        """A rectangle, x1 and y1 exclusive."""
        self.draw.rectangle((x0, y0, x1 - 1, y1 - 1), fill=fill, outline=edge)

    def rule(self, x0: int, x1: int, y: int, ink: Rgb, *, dashed: bool = False) -> None:
        """A horizontal line of one pixel."""
        if not dashed:
            self.draw.line((x0, y, x1, y), fill=ink)
            return
        for x in range(x0, x1, 8):
            self.draw.line((x, y, min(x + 4, x1), y), fill=ink)

    def sheet(self) -> Sheet:
        return Sheet(np.asarray(self.image).copy(), tuple(self.lines), tuple(self.missing))


def overlap(one: Box, other: Box, gap_px: float = 0.0) -> bool:
    """Whether two boxes come nearer to each other than `gap_px` both ways."""
    wide = min(one.x1_px, other.x1_px) - max(one.x0_px, other.x0_px) > -gap_px
    return wide and min(one.y1_px, other.y1_px) - max(one.y0_px, other.y0_px) > -gap_px


def faults(sheet: Sheet) -> list[str]:
    """What makes a sheet unfit: letters that a font lacks, text over the edge, lines nearer to each other than 1 px."""
    height, width = sheet.pixels.shape[:2]
    outside = [f"{line.text!r} over the edge" for line in sheet.lines if line.box.clipped(width, height) != line.box]
    pairs = combinations(sheet.lines, 2)
    outside += [f"{text!r} has letters that its font lacks" for text in sheet.missing]
    return outside + [f"{a.text!r} touches {b.text!r}" for a, b in pairs if overlap(a.box, b.box, 1.0)]
