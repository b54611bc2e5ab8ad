"""A second reading of the same frames by another engine, and the lines on which both engines agree.

One engine's confidence is its own opinion; two engines that share neither weights nor code and give the same
characters at the same place are evidence (olmOCR's unit tests ask likewise for exact strings). LLaVAR gives its teacher
the text of two tools and leaves the choice to it.

    RapidOCR  "GATE 24" at (10, 10, 90, 40), sure to 0.98     Tesseract  "Gate 24." at (11, 10, 92, 41), sure to 0.91
    agreed    "GATE 24" at (10, 10, 90, 40), sure to 0.91
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row
from reelmill.annotators.ocr.line import Reader
from reelmill.annotators.shown import FRAMES, JPEGS, MEDIA
from reelmill.annotators.text import TESSERACT, TEXTS, ReadText
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.media import ShownFrame
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box

SECOND_TEXTS = Column.of("second_texts", tuple[TextLine, ...])
SECOND_ENGINE = Column.of("second_engine", str)
AGREED = Column.of("agreed_texts", tuple[TextLine, ...])

_EDGE = re.compile(r"^\W+|\W+$")


@dataclass(frozen=True)
class ReadSecond(ReadText):
    """Lines by a second engine, of the frames that `ReadText` reads: which those are, no engine decides."""

    engine: str = TESSERACT
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, JPEGS)
    gives: ClassVar[tuple[Column, ...]] = (SECOND_TEXTS, SECOND_ENGINE)
    revision: ClassVar[str] = "1"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        engine: Reader = self.__dict__["_reader"]
        lines, _, _ = self._lines(engine, [arrow.typed(ShownFrame, f) for f in row["frames"]], row["jpegs"])
        return {"second_texts": tuple(line for i in lines for line in lines[i]), "second_engine": engine.name}


@dataclass(frozen=True)
class AgreeTexts:
    """The first engine's lines that the second read alike in the same place: what their boxes share is at least
    `least_share` of the smaller one.

    Not IoU: RapidOCR grows its boxes around the letters and Tesseract does not, so that two boxes of one line seldom
    reach an IoU of 0.5. A line keeps the first engine's characters, place and number; its confidence is the lesser of
    the two.
    """

    least_share: float = 0.5
    needs: ClassVar[tuple[Column, ...]] = (KEY, TEXTS, SECOND_TEXTS)
    gives: ClassVar[tuple[Column, ...]] = (AGREED,)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=256)

    def setup(self) -> None:
        """Nothing to make ready."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        first, second = (arrow.typed(tuple[TextLine, ...], row[c.name]) for c in (TEXTS, SECOND_TEXTS))
        return {"agreed_texts": tuple(agreed(first, second, self.least_share))}


def agreed(first: Sequence[TextLine], second: Sequence[TextLine], least_share: float) -> Iterator[TextLine]:
    """Lines of `first` with a partner in `second`, in their order. A line is the partner of one at most."""
    free = list(second)
    for line in first:
        alike = [o for o in free if o.frame == line.frame and compared(o.text) == compared(line.text)]
        best = max(alike, key=lambda o: (shared(line.box, o.box), -o.order), default=None)
        if best is not None and compared(line.text) and shared(line.box, best.box) >= least_share:
            free.remove(best)
            yield dataclasses.replace(line, confidence=min(line.confidence, best.confidence))


def shared(one: Box, other: Box) -> float:
    """What two boxes share over the smaller one, 0 to 1."""
    wide = min(one.x1_px, other.x1_px) - max(one.x0_px, other.x0_px)
    high = min(one.y1_px, other.y1_px) - max(one.y0_px, other.y0_px)
    least = min(one.area_px, other.area_px)
    return max(0.0, wide) * max(0.0, high) / least if least > 0 else 0.0


def compared(text: str) -> str:
    """A line as two engines must agree on it: case and the signs about a word are left out, those inside it count.

    >>> compared("Gate 24."), compared("$1.50") == compared("$150"), compared("a@b.org") == compared("ab.org")
    ('gate 24', False, False)
    """
    words = (_EDGE.sub("", word) for word in unicodedata.normalize("NFKC", text).casefold().split())
    return " ".join(word for word in words if word)
