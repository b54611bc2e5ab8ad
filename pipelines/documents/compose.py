"""From (seed, kind, look) to a drawn document with its wear and its truth: draw again until no text touches another.

>>> made = compose(7, "table", LOOKS["easy"])
>>> made.document.content.kind, made.exact.texts[0].text == made.document.content.title
('table', True)
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reelmill.pipelines.documents import charts, forms, notices, posters, receipts, screens, slides, tables
from reelmill.pipelines.documents.content import Document
from reelmill.pipelines.documents.looks import LOOKS, Look
from reelmill.pipelines.documents.page import Line, Sheet, faults
from reelmill.pipelines.documents.wear import Wear, worn
from reelmill.pipelines.scenes.truth import METHOD, SceneTruth
from reelmill.schemas.errors import BadInput
from reelmill.schemas.text import TextLine, TextWord

RENDERER = "documents-1"
"""Raised when the same seed gives another document."""

KINDS = {kind.KIND: kind for kind in (charts, tables, receipts, forms, slides, posters, notices, screens)}
_TRIES = 60
__all__ = ["KINDS", "LOOKS", "RENDERER", "Made", "compose", "identity"]


@dataclass(frozen=True)
class Made:
    """A document as it is written: uint8 RGB pixels, JPEG quality (0: PNG), its lines as truth, and what it says."""

    pixels: np.ndarray
    jpeg_quality: int
    exact: SceneTruth
    document: Document


def identity(seed: int, kind: str, look: Look) -> dict[str, Any]:
    """What a document is, whatever bytes an encoder makes of it."""
    return {"renderer": RENDERER, "seed": seed, "parameters": {"kind": kind, "look": asdict(look)}}


def compose(seed: int, kind: str, look: Look) -> Made:
    """The document of a seed. Raises BadInput where a look leaves none whose lines keep apart."""
    said: list[str] = []
    for attempt in range(_TRIES):
        rng = random.Random(f"{RENDERER} {seed} {kind} {look.name} {attempt}")
        what = KINDS[kind].content(rng, look)
        sheet = KINDS[kind].draw(rng, what, look)
        said = faults(sheet)
        if not said:
            return _made(sheet, Wear.of(rng, look), what)
    raise BadInput(
        f"look {look.name!r} leaves no {kind} whose lines keep apart",
        seen=f"{_TRIES} drawings refused; the last: {said[0]}",
        do="make its text_px or rows smaller",
    )


def _made(sheet: Sheet, wear: Wear, what: Any) -> Made:
    pixels, place = worn(sheet.pixels, wear)
    lines = tuple(TextLine(one.text, place(one.box), 1.0, i, 0, 0.0, METHOD) for i, one in enumerate(sheet.lines))
    words = tuple(w for i, one in enumerate(sheet.lines) for w in _words(one, i, place))
    height, width = pixels.shape[:2]
    exact = SceneTruth(width, height, (), (), (), (), lines, 0.0, (0.0,))
    return Made(pixels, wear.jpeg_quality, exact, Document(what, tuple(one.mark for one in sheet.lines), words))


def _words(line: Line, order: int, place: Any) -> list[TextWord]:
    words = [(w, TextLine(w.text, place(w.box), 1.0, order, 0, 0.0, METHOD)) for w in line.words]
    return [TextWord(w.text, t.quad_px, 1.0, order, i, 0, t.script) for i, (w, t) in enumerate(words)]
