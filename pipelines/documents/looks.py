"""How hard documents are to read, as data: part of a document's identity, so an edited look makes other documents.

>>> LOOKS["easy"].tilt_deg, LOOKS["hard"].jpeg_quality
(0.0, (50, 85))
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from reelmill.pipelines.documents.page import Face, Rgb


@dataclass(frozen=True, slots=True)
class Look:
    """Ranges are (least, most). `text_px` is the em of body text; `rows` of a table; `columns` beside its row headers.

    Wear: `tilt_deg` either way about the middle of the page, on a desk of `desk_px`; Gaussian blur of `blur_px` and
    noise of `noise` grey levels (standard deviations, from 0 to these); a JPEG quality, (0, 0) for PNG.
    `plotted` is the share of charts that print no values: those lie on the lines of the grid.
    `blank` is the share of a form's fields that are left empty.
    """

    name: str
    text_px: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    families: tuple[str, ...]
    tilt_deg: float
    desk_px: int
    blur_px: float
    noise: float
    jpeg_quality: tuple[int, int]
    plotted: float
    blank: float


EASY = Look(
    name="easy",
    text_px=(16, 19),
    rows=(3, 5),
    columns=(1, 3),
    families=("DejaVuSans", "DejaVuSerif", "Aileron"),
    tilt_deg=0.0,
    desk_px=0,
    blur_px=0.0,
    noise=0.0,
    jpeg_quality=(0, 0),
    plotted=0.0,
    blank=0.15,
)

HARD = Look(
    name="hard",
    text_px=(14, 17),
    rows=(4, 8),
    columns=(2, 4),
    families=("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral", "Aileron"),
    tilt_deg=3.0,
    desk_px=28,
    blur_px=0.7,
    noise=6.0,
    jpeg_quality=(50, 85),
    plotted=0.5,
    blank=0.3,
)

LOOKS = {look.name: look for look in (EASY, HARD)}


@dataclass(frozen=True, slots=True)
class Palette:
    """A ground, the ink on it, a paler ink, and an accent with the ink that is read on it."""

    ground: Rgb
    ink: Rgb
    pale: Rgb
    accent: Rgb
    on_accent: Rgb


PALETTES = (
    Palette((255, 255, 255), (20, 20, 24), (95, 95, 105), (28, 76, 140), (255, 255, 255)),
    Palette((252, 249, 240), (40, 30, 25), (110, 95, 85), (140, 50, 40), (255, 250, 240)),
    Palette((244, 248, 246), (15, 45, 40), (80, 105, 98), (20, 110, 90), (255, 255, 255)),
    Palette((246, 245, 252), (35, 30, 70), (95, 90, 130), (88, 62, 150), (255, 255, 255)),
    Palette((250, 250, 250), (0, 0, 0), (90, 90, 90), (245, 200, 66), (20, 20, 20)),
)
DARK = Palette((26, 28, 36), (236, 238, 244), (165, 170, 184), (84, 140, 230), (10, 14, 24))


@dataclass(frozen=True, slots=True)
class Style:
    """What one document is set in."""

    palette: Palette
    family: str
    px: int

    def face(self, scale: float = 1.0, *, bold: bool = False) -> Face:
        return Face(self.family, round(self.px * scale), bold)

    @property
    def step(self) -> int:
        """From one baseline to the next, in pixels."""
        return round(self.px * 1.7)


def style(rng: random.Random, look: Look, *, dark: float = 0.0) -> Style:
    """A style at random; `dark` is the chance of light text on a dark ground."""
    palette = DARK if rng.random() < dark else rng.choice(PALETTES)
    return Style(palette, rng.choice(look.families), rng.randint(*look.text_px))
