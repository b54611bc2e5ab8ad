"""RapidOCR with the models inside its wheel (PP-OCRv6 small): lines found, turned upright and read, words placed.

Words come from the recogniser itself: it reads a line in columns (CTC, Graves et al. 2006), and the column at which a
letter was read says where in the line it stands. What it reads is in its dictionary: Latin, Han, kana and Greek; no
Hangul, Cyrillic, Arabic or Thai.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reelmill.annotators.ocr.line import Floats, Line, Rgb, Word, part
from reelmill.schemas.errors import EngineDown
from reelmill.schemas.script import joins_words, spaced

_TALL = 1.5  # RapidOCR turns a crop by a quarter where it is this much higher than wide
_DOUBTFUL, _SURER = 0.8, 0.1
_SPACE = 0.02
_NO_LIMIT_PX = 1 << 16
_MODELS = ("PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx")

Chances = npt.NDArray[np.float32]


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

    def characters(self) -> list[str]:
        """The dictionary of the recogniser: what it can read at all."""
        return [str(c) for c in self._rapid._load_rec_model().session.get_character_list()]

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
        text, confidence, letters = self._text(crop)
        steps = 1 if _is_turned(quad) else 0
        if confidence < _DOUBTFUL:
            other = self._text(np.ascontiguousarray(crop[::-1, ::-1]))
            if other[1] > confidence + _SURER:
                (text, confidence, letters), steps = other, steps + 2
        placed = np.roll(quad, -steps, axis=0)
        return Line(text, placed, confidence, tuple(words_of(text, letters, placed)))

    def _text(self, crop: Rgb) -> tuple[str, float, list[Letter]]:
        """One line by the recogniser, decoded here: RapidOCR keeps the letters and drops how sure it was of a space."""
        model = self._rapid._load_rec_model()
        _, high, wide = model.rec_image_shape
        ratio = crop.shape[1] / crop.shape[0]
        padded = max(wide / high, ratio)
        chances = model.session(model.resize_norm_img(crop, padded)[None].astype(np.float32))[0]
        return decoded_line(chances, model.postprocess_op.character, len(chances) * ratio / padded)


Letter = tuple[float, float]
"""Where a letter's middle stands, as a share of the line's length, and how sure it is."""


def decoded_line(chances: Chances, characters: Sequence[str], columns: float) -> tuple[str, float, list[Letter]]:
    """Text, mean confidence and letters from the chance of each character (0 is the blank) in each column.

    The best path (Graves et al. 2006): the likeliest character of each column, repeats and blanks left out. Narrow
    spaces lose to the blank there, so one is set besides wherever a column between two letters gives it `_SPACE`.
    `columns` is how many of the columns the line takes up; the rest is padding.
    """
    best = chances.argmax(axis=1)
    kept = np.flatnonzero((np.append(-1, best[:-1]) != best) & (best != 0))
    blank = [i for i, c in enumerate(characters) if c == " "]
    text, letters = "", list[Letter]()
    for before, at in zip([-1, *kept], kept, strict=False):
        letter = (min((float(at) + 0.5) / max(columns, 1.0), 1.0), float(chances[at, best[at]]))
        between = chances[before + 1 : at, blank]
        if (
            text
            and between.size
            and between.sum(axis=1).max() >= _SPACE
            and not _spaced(text[-1], characters[best[at]])
        ):
            text, letters = text + " ", [*letters, letters[-1]]
        text, letters = text + characters[best[at]], [*letters, letter]
    sure = chances[kept, best[kept]]
    return text, round(float(sure.mean()), 5) if len(kept) else 0.0, letters


def _spaced(before: str, after: str) -> bool:
    """True where a space stands already, or a script meets itself that sets none."""
    return before.isspace() or after.isspace() or not spaced([before, after])[1:-1]


def words_of(text: str, letters: Sequence[Letter], quad: Floats) -> Iterator[Word]:
    """Words of a line by white space, and where a script that sets none meets one that does (港区MINATO).

    A word reaches half a letter beyond the middles of its first and last, a letter being as wide as the line's are on
    average, but never over the middle between it and its neighbour.
    """
    runs = list(_runs(text))
    count = sum(end - start for start, end in runs)
    half = 0.5 * (letters[runs[-1][1] - 1][0] - letters[runs[0][0]][0]) / max(1, count - 1) if runs else 0.0
    half = half or 0.5
    spans = [(letters[start][0], letters[end - 1][0]) for start, end in runs]
    for i, (start, end) in enumerate(runs):
        left = max(0.0, spans[i][0] - half, (spans[i - 1][1] + spans[i][0]) / 2 if i else 0.0)
        right = min(1.0, spans[i][1] + half, (spans[i][1] + spans[i + 1][0]) / 2 if i + 1 < len(runs) else 1.0)
        sure = float(np.mean([confidence for _, confidence in letters[start:end]]))
        yield Word(text[start:end], part(quad, left, max(left, right)), sure)


def _runs(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each word of a text."""
    start = None
    for i, c in enumerate(text):
        if start is not None and (c.isspace() or not joins_words(text[i - 1], c)):
            yield start, i
            start = None
        if start is None and not c.isspace():
            start = i
    if start is not None:
        yield start, len(text)


def _is_turned(quad: Floats) -> bool:
    """True where RapidOCR turned the crop by a quarter to the left: its top left is then the quad's top right."""
    wide = int(max(np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[2] - quad[3])))
    high = int(max(np.linalg.norm(quad[0] - quad[3]), np.linalg.norm(quad[1] - quad[2])))
    return high >= _TALL * wide


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
