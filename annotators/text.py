"""Reading text in shown frames and pictures: lines with place, confidence and reading order. No download, no GPU.

RapidOCR's packaged models (PP-OCRv6 small) find the lines, turn them upright and read them, on one thread. Of a video
clip only frames are read whose picture differs from the frame read before, and at most a few of them: text stays on
screen for seconds, and a frame takes most of a second.

    frame of a slide -> TextLine("Photosynthesis", quad_px=(28, 18, 314, 18, ...), confidence=0.99, order=0, ...)
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row
from reelmill.annotators.reading import in_reading_order
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import EngineDown
from reelmill.schemas.media import ShownFrame
from reelmill.schemas.text import TextLine

FRAMES = Column.of("frames", tuple[ShownFrame, ...])
JPEGS = Column.of("jpegs", tuple[bytes, ...])
TEXTS = Column.of("texts", tuple[TextLine, ...])
ENGINE = Column.of("text_engine", str)
READ = Column.of("text_frames", tuple[int, ...])
UNSURE = Column.of("text_unsure", int)

METHOD = "rules"

Rgb = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

_TALL = 1.5  # RapidOCR turns a crop by a quarter where it is this much higher than wide
_DOUBTFUL, _SURER = 0.8, 0.1
_NO_LIMIT_PX = 1 << 16
_DIGITS = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One line as the engine read it: quad (4, 2) in the pixels given to it, clockwise from its own top left."""

    text: str
    quad: Floats
    confidence: float


@dataclass(frozen=True)
class ReadText:
    """`min_confidence`: lines under it are dropped and counted; `min_short_confidence` for those of under `short_chars`
    characters, since a pole is easily an I. `most_frames` of a clip are read, each with at least `changed_share` of its
    cells changed by over `changed_luma` (of 255) since the frame read before.

    A frame is enlarged, at most `most_enlarged` times, until its short side has `short_px`, and never over `long_px`.
    """

    min_confidence: float = 0.5
    min_short_confidence: float = 0.9
    short_chars: int = 4
    most_frames: int = 8
    changed_luma: int = 20
    changed_share: float = 0.002
    short_px: int = 448
    long_px: int = 2048
    most_enlarged: float = 2.0
    needs: ClassVar[tuple[Column, ...]] = (KEY, FRAMES, JPEGS)
    gives: ClassVar[tuple[Column, ...]] = (TEXTS, ENGINE, READ, UNSURE)
    model: ClassVar[str] = "rapidocr"
    observed: ClassVar[str] = "shown frames"
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=8)

    def setup(self) -> None:
        """Load the models. Raises EngineDown where they do not lie in the installed package."""
        object.__setattr__(self, "_engine", RapidLines())

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        engine: RapidLines = self.__dict__["_engine"]
        frames = [arrow.typed(ShownFrame, f) for f in row["frames"]]
        chosen = self._chosen(row["jpegs"])
        texts: list[TextLine] = []
        unsure = 0
        for i in chosen:
            lines = self.read(engine, decoded(row["jpegs"][i]))
            sure = [line for line in lines if line.confidence >= self._wanted(line.text)]
            unsure += len(lines) - len(sure)
            texts += _placed(sure, frames[i])
        read = tuple(frames[i].frame for i in chosen)
        return {"texts": tuple(texts), "text_engine": engine.name, "text_frames": read, "text_unsure": unsure}

    def _wanted(self, text: str) -> float:
        short = len(text.strip()) < self.short_chars
        return max(self.min_confidence, self.min_short_confidence) if short else self.min_confidence

    def _chosen(self, jpegs: Sequence[bytes]) -> list[int]:
        return changed_frames([_cells(j) for j in jpegs], self.changed_luma, self.changed_share, self.most_frames)

    def read(self, engine: RapidLines, rgb: Rgb) -> list[Line]:
        """Lines of one picture, quads in its own pixels and inside it, in the order in which the engine found them."""
        height, width = rgb.shape[:2]
        grow = min(self.most_enlarged, max(1.0, self.short_px / min(height, width)))
        scale = min(grow, self.long_px / max(height, width))
        found = engine.lines(_framed(rgb, scale))
        sides = np.array([width, height], np.float64)
        exact = sides / np.maximum(1, np.round(sides * scale))
        return [replace(line, quad=np.clip((line.quad - _BORDER_PX) * exact, 0.0, sides)) for line in found]


def _placed(lines: Sequence[Line], frame: ShownFrame) -> list[TextLine]:
    """Lines of one frame in reading order, with the frame's number and time."""
    order = in_reading_order([line.quad for line in lines])
    return [
        TextLine(
            text=lines[i].text,
            quad_px=tuple(round(float(v), _DIGITS) for v in lines[i].quad.reshape(-1)),
            confidence=round(lines[i].confidence, 4),
            order=place,
            frame=frame.frame,
            at_s=frame.at_s,
            method=METHOD,
        )
        for place, i in enumerate(order)
    ]


# ---- which frames ----------------------------------------------------------------------------------------------------

_CELLS = (96, 54)


def decoded(jpeg: bytes) -> Rgb:
    """RGB pixels of a stored frame."""
    from PIL import Image

    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB"))


def _cells(jpeg: bytes) -> npt.NDArray[np.int16]:
    """Luma on a grid that is fine enough to notice a line of subtitles."""
    from PIL import Image

    with Image.open(io.BytesIO(jpeg)) as image:
        image.draft("L", (_CELLS[0] * 2, _CELLS[1] * 2))
        return np.asarray(image.convert("L").resize(_CELLS, Image.Resampling.BOX), np.int16)


def changed_frames(cells: Sequence[npt.NDArray[np.int16]], luma: int, share: float, most: int) -> list[int]:
    """Indices of the first frame and of each that differs from the one chosen before it.

    Where these are more than `most`, an even choice of them that keeps the first and the last.
    """
    chosen: list[int] = []
    for i, now in enumerate(cells):
        if not chosen or float((np.abs(now - cells[chosen[-1]]) > luma).mean()) >= share:
            chosen.append(i)
    if len(chosen) <= most:
        return chosen
    places = np.linspace(0, len(chosen) - 1, most).round().astype(int)
    return [chosen[p] for p in places]


# ---- the engine ------------------------------------------------------------------------------------------------------

_BORDER_PX = 8  # text that touches the edge is not found without
_WIDEST = 8.0  # thinner pictures are filled up: the detector brings both sides to multiples of 32


def _framed(rgb: Rgb, scale: float) -> Rgb:
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
    framed: Rgb = cv2.copyMakeBorder(np.ascontiguousarray(bgr), *sides, cv2.BORDER_REPLICATE)
    return framed


class RapidLines:
    """RapidOCR on one thread, without its own scaling and its direction model. Not for several threads at once.

    That model turned a good line upside down (a formula on a slide). Here a line is read as it stands, and the other
    way up only where that gave little confidence; the clearly surer reading counts.
    """

    def __init__(self) -> None:
        import cv2
        from rapidocr import RapidOCR

        cv2.setNumThreads(1)
        _require_packaged()
        self._rapid: Any = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_vertical_padding": False,
                "Det.limit_type": "max",
                "Det.limit_side_len": _NO_LIMIT_PX,
                "Rec.rec_batch_num": 1,
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )
        self.name = _engine_name()

    def lines(self, bgr: Rgb) -> list[Line]:
        """Lines of one picture; none where nothing is found."""
        from rapidocr.main import RapidOCRError

        try:
            crops, found = self._rapid.detect_and_crop(bgr, {})
        except RapidOCRError:  # its way to say that there is no text
            return []
        read = [self._line(crop, np.asarray(box, np.float64)) for crop, box in zip(crops, found.boxes, strict=True)]
        return [line for line in read if line.text.strip()]

    def _line(self, crop: Rgb, quad: Floats) -> Line:
        text, confidence = self._text(crop)
        steps = 1 if _is_turned(quad) else 0
        if confidence < _DOUBTFUL:
            other, other_confidence = self._text(np.ascontiguousarray(crop[::-1, ::-1]))
            if other_confidence > confidence + _SURER:
                text, confidence, steps = other, other_confidence, steps + 2
        return Line(text, np.roll(quad, -steps, axis=0), confidence)

    def _text(self, crop: Rgb) -> tuple[str, float]:
        read = self._rapid.recognize_txt([crop])
        return read.txts[0], float(read.scores[0])


def _is_turned(quad: Floats) -> bool:
    """True where RapidOCR turned the crop by a quarter to the left: its top left is then the quad's top right."""
    wide = int(max(np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[2] - quad[3])))
    high = int(max(np.linalg.norm(quad[0] - quad[3]), np.linalg.norm(quad[1] - quad[2])))
    return high >= _TALL * wide


_MODELS = ("PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx")


def _require_packaged() -> None:
    """RapidOCR would fetch a missing model in silence; here that is an error."""
    import importlib.resources

    models = importlib.resources.files("rapidocr") / "models"
    missing = [name for name in _MODELS if not (models / name).is_file()]
    if missing:
        raise EngineDown("engine rapidocr", seen=f"no {', '.join(missing)} in {models}", do="install rapidocr >= 3.10")


def _engine_name() -> str:
    from importlib import metadata

    versions = f"rapidocr {metadata.version('rapidocr')}, onnxruntime {metadata.version('onnxruntime')}"
    return f"{versions}, {', '.join(name.removesuffix('.onnx') for name in _MODELS)}"
