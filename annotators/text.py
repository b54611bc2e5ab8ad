"""Reading text in shown frames and pictures: lines, their words, and texts over time. No download, no GPU.

RapidOCR's packaged models (PP-OCRv6 small) find and read the lines; Tesseract is the second engine, where its program
is installed. Of a video clip only frames are read whose picture differs from the frame read before, and at most a few
of them: text stays on screen for seconds, and a frame takes most of a second. The other stored frames are looked at
for the edges of what was read, so that a text's times are known to within one stored frame.

    frame of a slide -> TextLine("Photosynthesis", quad_px=(28, 18, 314, 18, ...), confidence=0.99, order=0, ...)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row
from reelmill.annotators.ocr.frames import FrameRules, frames_to_read, look
from reelmill.annotators.ocr.line import Floats, Line, Reader, Rgb
from reelmill.annotators.ocr.order import in_reading_order
from reelmill.annotators.ocr.rapid import RapidLines
from reelmill.annotators.ocr.tesseract import TesseractLines
from reelmill.annotators.ocr.tracks import Grey, TrackRules, text_tracks
from reelmill.annotators.shown import FRAMES, JPEGS, MEDIA, decoded
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import BadInput
from reelmill.schemas.media import Kind, MediaRef, ShownFrame
from reelmill.schemas.script import script_of
from reelmill.schemas.text import TextLine, TextTrack, TextWord

TEXTS = Column.of("texts", tuple[TextLine, ...])
WORDS = Column.of("text_words", tuple[TextWord, ...])
TRACKS = Column.of("text_tracks", tuple[TextTrack, ...])
ENGINE = Column.of("text_engine", str)
READ = Column.of("text_frames", tuple[int, ...])
UNSURE = Column.of("text_unsure", int)

METHOD = "rules"
RAPIDOCR, TESSERACT = "rapidocr", "tesseract"

_QUAD_DIGITS = 2
_DIGITS = 4


def reader(engine: str) -> Reader:
    """The engine of a spec: "rapidocr", "tesseract" (English) or "tesseract:eng+kor".

    Raises BadInput for any other, NotFound where Tesseract or a language pack of it is not installed.
    """
    name, _, languages = engine.partition(":")
    if name == TESSERACT:
        return TesseractLines(languages or "eng")
    if engine != RAPIDOCR:
        raise BadInput(f"text engine {engine!r}", seen="unknown", do="give rapidocr, tesseract or tesseract:eng+kor")
    return RapidLines()


@dataclass(frozen=True)
class ReadText:
    """`engine` reads. `min_confidence`: lines under it are dropped and counted; `min_short_confidence` for those of
    under `short_chars` characters, since a pole is easily an I. `frames` says which frames are read, `tracks` when two
    readings are one text.

    A frame is enlarged, at most `most_enlarged` times, until its short side has `short_px`, and never over `long_px`.
    """

    engine: str = RAPIDOCR
    min_confidence: float = 0.5
    min_short_confidence: float = 0.9
    short_chars: int = 4
    frames: FrameRules = field(default_factory=FrameRules)
    tracks: TrackRules = field(default_factory=TrackRules)
    short_px: int = 448
    long_px: int = 2048
    most_enlarged: float = 2.0
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, JPEGS)
    gives: ClassVar[tuple[Column, ...]] = (TEXTS, WORDS, TRACKS, ENGINE, READ, UNSURE)
    observed: ClassVar[str] = "shown frames"
    revision: ClassVar[str] = "2"
    resources: ClassVar[Resources] = Resources(rows_per_commit=8)

    @property
    def model(self) -> str:
        """What a sample's provenance names."""
        return self.engine

    def setup(self) -> None:
        """Make the engine ready. Raises EngineDown where RapidOCR's models do not lie in the installed package,
        NotFound where Tesseract is not installed, BadInput for an engine that is not known."""
        object.__setattr__(self, "_reader", reader(self.engine))

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        engine: Reader = self.__dict__["_reader"]
        frames = [arrow.typed(ShownFrame, f) for f in row["frames"]]
        jpegs: Sequence[bytes] = row["jpegs"]
        lines, words, unsure = self._lines(engine, frames, jpegs)
        return {
            "texts": tuple(line for i in lines for line in lines[i]),
            "text_words": tuple(words),
            "text_tracks": self._tracks(arrow.typed(MediaRef, row["media"]), frames, jpegs, lines),
            "text_engine": engine.name,
            "text_frames": tuple(frames[i].frame for i in lines),
            "text_unsure": unsure,
        }

    def _lines(
        self, engine: Reader, frames: Sequence[ShownFrame], jpegs: Sequence[bytes]
    ) -> tuple[dict[int, list[TextLine]], list[TextWord], int]:
        """Lines of each frame that was read, by its index; their words; and how many lines were too unsure to keep."""
        lines: dict[int, list[TextLine]] = {}
        words: list[TextWord] = []
        unsure = 0
        for i in frames_to_read([look(j) for j in jpegs], self.frames) if jpegs else ():
            found = self.read(engine, decoded(jpegs[i]))
            sure = _ordered([line for line in found if line.confidence >= self._wanted(line.text)])
            unsure += len(found) - len(sure)
            lines[i] = _placed(sure, frames[i])
            words += _words(sure, frames[i])
        return lines, words, unsure

    def _wanted(self, text: str) -> float:
        short = len(text.strip()) < self.short_chars
        return max(self.min_confidence, self.min_short_confidence) if short else self.min_confidence

    def _tracks(
        self, media: MediaRef, frames: Sequence[ShownFrame], jpegs: Sequence[bytes], lines: Mapping[int, list[TextLine]]
    ) -> tuple[TextTrack, ...]:
        """Texts over time; none of a picture, in which nothing lasts."""
        if media.kind is Kind.IMAGE or not any(lines.values()):
            return ()
        return text_tracks(frames, lines, lambda i: _grey(jpegs[i]), media.duration_s, self.tracks, METHOD)

    def read(self, engine: Reader, rgb: Rgb) -> list[Line]:
        """Lines of one picture, quads in its own pixels and inside it, in the order in which the engine found them."""
        height, width = rgb.shape[:2]
        grow = min(self.most_enlarged, max(1.0, self.short_px / min(height, width)))
        scale = min(grow, self.long_px / max(height, width))
        sides = np.array([width, height], np.float64)
        exact = sides / np.maximum(1, np.round(sides * scale))
        border = np.array([_BORDER_PX, _BORDER_PX], np.float64)
        return [line.moved(border, exact, sides) for line in engine.lines(framed(rgb, scale))]


def _grey(jpeg: bytes) -> Grey:
    import cv2

    return np.asarray(cv2.cvtColor(decoded(jpeg), cv2.COLOR_RGB2GRAY), np.float32)


def _ordered(lines: Sequence[Line]) -> list[Line]:
    return [lines[i] for i in in_reading_order([line.quad for line in lines])]


def _flat(quad: Floats) -> tuple[float, ...]:
    return tuple(round(float(v), _QUAD_DIGITS) for v in quad.reshape(-1))


def _placed(lines: Sequence[Line], frame: ShownFrame) -> list[TextLine]:
    """Lines of one frame, in reading order, with the frame's number and time."""
    return [
        TextLine(line.text, _flat(line.quad), round(line.confidence, _DIGITS), place, frame.frame, frame.at_s, METHOD)
        for place, line in enumerate(lines)
    ]


def _words(lines: Sequence[Line], frame: ShownFrame) -> list[TextWord]:
    """Words of one frame, line by line."""
    return [
        TextWord(w.text, _flat(w.quad), round(w.confidence, _DIGITS), order, place, frame.frame, script_of(w.text))
        for order, line in enumerate(lines)
        for place, w in enumerate(line.words)
    ]


# ---- the picture as an engine gets it --------------------------------------------------------------------------------

_BORDER_PX = 8  # text that touches the edge is not found without
_WIDEST = 8.0  # thinner pictures are filled up: RapidOCR's detector brings both sides to multiples of 32


def framed(rgb: Rgb, scale: float) -> Rgb:
    """BGR pixels at a scale, with a border that repeats the edge."""
    import cv2

    height, width = rgb.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    bgr = rgb[..., ::-1]
    if size != (width, height):
        bgr = cv2.resize(
            np.ascontiguousarray(bgr), size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        )
    below = max(0, round(size[0] / _WIDEST) - size[1])
    right = max(0, round(size[1] / _WIDEST) - size[0])
    sides = (_BORDER_PX, _BORDER_PX + below, _BORDER_PX, _BORDER_PX + right)
    bordered: Rgb = cv2.copyMakeBorder(np.ascontiguousarray(bgr), *sides, cv2.BORDER_REPLICATE)
    return bordered
