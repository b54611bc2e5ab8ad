"""Tesseract, by its program: pixels on stdin, a table of words (TSV) on stdout.

The program is a system package and no dependency of ours; pytesseract would wrap the same call and add a temporary file
and pandas-shaped output, so the call is made here. The languages are named, since the answer depends on them.

    tesseract stdin stdout --psm 3 -l eng tsv  ->  5 1 1 1 1 1  64 86 35 31  96.4  EXIT
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np

from reelmill.annotators.ocr.line import Floats, Line, Rgb, Word, upright, weighted
from reelmill.schemas.errors import BadInput, EngineDown, NotFound
from reelmill.schemas.script import spaced

PROGRAM = "tesseract"
_PAGE, _BLOCK, _DIRECTION = 3, 6, 0  # --psm: whole page with columns; one block of lines; direction only
_CLEARLY = 1.1
_TIMEOUT_S = 120.0
_WORD_LEVEL = "5"
_DOUBTFUL, _AS_SURE = 0.6, 0.1
_TALL = 1.5
_ENOUGH = 20  # with few letters the program does not tell a direction
_LANGUAGE = re.compile(r"[A-Za-z_/]+(\+[A-Za-z_/]+)*")


class TesseractLines:
    """Lines by Tesseract on one thread, with the language packs named (`eng`, `eng+kor`).

    A picture is read as a page with columns and as one block of lines, and the block counts where it has clearly more:
    signs on a picture are no page, and a page read as a block has its columns mixed. A page on its side is turned as
    Tesseract's own look at its direction says, where that makes it surer.

    Raises NotFound where the program or a language pack is not installed.
    """

    def __init__(self, languages: str = "eng") -> None:
        if not _LANGUAGE.fullmatch(languages):
            raise BadInput(f"Tesseract languages {languages!r}", seen="not of the form eng+deu")
        self.program = shutil.which(PROGRAM) or ""
        if not self.program:
            do = "apt-get install tesseract-ocr, or leave out --engine text=tesseract"
            raise NotFound(f"program {PROGRAM!r}", seen="not on PATH", do=do)
        there = self.installed()
        missing = [name for name in languages.split("+") if name not in there]
        if missing:
            do = f"apt-get install {' '.join('tesseract-ocr-' + m.replace('_', '-') for m in missing)}"
            raise NotFound(f"Tesseract language {', '.join(missing)}", seen=", ".join(there), do=do)
        self.languages, self._turns = languages, "osd" in there
        version = self._ask("--version").decode(errors="replace").split()
        self.name = f"tesseract {version[1] if len(version) > 1 else 'unknown'}, {languages}"

    def installed(self) -> tuple[str, ...]:
        """Language packs that the program finds, by name."""
        said = self._ask("--list-langs").decode(errors="replace").splitlines()
        return tuple(sorted(line.strip() for line in said[1:] if line.strip()))

    def lines(self, bgr: Rgb) -> list[Line]:
        """Lines of one picture; none where nothing is found. Raises EngineDown where the program fails or hangs."""
        found = self._surest(bgr)
        aside = _lies_aside(found)
        ask = self._turns and (aside or _sure(found) < _DOUBTFUL) and _letters(found) >= _ENOUGH
        turns = self._quarters(bgr) if ask else 0
        if not turns:
            return found
        turned = self._surest(np.ascontiguousarray(np.rot90(bgr, turns)))
        better = _sure(turned) > _sure(found) - (_AS_SURE if aside else 0.0)
        return [_turned_back(line, turns, bgr.shape) for line in turned] if better else found

    def _surest(self, bgr: Rgb) -> list[Line]:
        page, block = self._read(bgr, _PAGE), self._read(bgr, _BLOCK)
        return block if _weight(block) > _CLEARLY * _weight(page) else page

    def _read(self, bgr: Rgb, psm: int) -> list[Line]:
        said = self._ask(*_STREAMS, "--psm", str(psm), "-l", self.languages, "tsv", picture=bgr)
        return lines_of(said.decode("utf-8", errors="replace"))

    def _quarters(self, bgr: Rgb) -> int:
        """Quarter turns to the left that bring the page upright; 0 where Tesseract cannot tell."""
        try:
            said = self._ask(*_STREAMS, "--psm", str(_DIRECTION), picture=bgr)
        except EngineDown:  # "Too few characters. Skipping this page"
            return 0
        found = re.search(r"Rotate: (\d+)", said.decode(errors="replace"))
        return -int(found[1]) // 90 % 4 if found else 0

    def _ask(self, *words: str, picture: Rgb | None = None) -> bytes:
        argv = [self.program, *words]  # a list of words, never a shell; pixels go through a pipe
        try:
            done = subprocess.run(
                argv, input=None if picture is None else _png(picture), capture_output=True, timeout=_TIMEOUT_S,
                env=os.environ | {"OMP_THREAD_LIMIT": "1"}, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            raise EngineDown(
                "engine tesseract", seen=f"no answer in {_TIMEOUT_S:.0f} s", do="`retry` its row"
            ) from late
        if done.returncode:
            seen = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise EngineDown("engine tesseract", seen=seen[0], do=f"run {' '.join(words)} by hand")
        return done.stdout


_STREAMS = ("stdin", "stdout")


def _png(bgr: Rgb) -> bytes:
    import cv2

    _, data = cv2.imencode(".png", bgr)
    return data.tobytes()


def lines_of(table: str) -> list[Line]:
    """Lines from Tesseract's TSV: a header, then level, page, block, paragraph, line, word, box, confidence, text."""
    header, *rows = [line.split("\t") for line in table.splitlines()]
    cells = [dict(zip(header, row, strict=False)) for row in rows if row[0] == _WORD_LEVEL]
    known = [cell for cell in cells if cell.get("text", "").strip()]
    by_line = groupby(known, key=lambda cell: tuple(cell[k] for k in ("block_num", "par_num", "line_num")))
    return [_line([_word(cell) for cell in words]) for _, words in by_line]


def _word(cell: Mapping[str, str]) -> Word:
    left, top, width, height = (float(cell[k]) for k in ("left", "top", "width", "height"))
    quad = upright(left, top, left + width, top + height)
    return Word(cell["text"].strip(), quad, max(0.0, float(cell["conf"])) / 100)


def _line(words: Sequence[Word]) -> Line:
    points = np.concatenate([word.quad for word in words])
    quad = upright(*points.min(axis=0), *points.max(axis=0))
    return Line(spaced([word.text for word in words]), quad, weighted(words), tuple(words))


def _sure(lines: Sequence[Line]) -> float:
    return weighted([word for line in lines for word in line.words])


def _lies_aside(lines: Sequence[Line]) -> bool:
    """True where most letters stand in words much higher than wide: the program read a page that lies on its side."""
    words = [word for line in lines for word in line.words if len(word.text) > 2]
    tall = sum(len(w.text) for w in words if np.ptp(w.quad[:, 1]) > _TALL * np.ptp(w.quad[:, 0]))
    return tall > sum(len(w.text) for w in words) / 2


def _letters(lines: Sequence[Line]) -> int:
    return sum(len(word.text) for line in lines for word in line.words)


def _weight(lines: Sequence[Line]) -> float:
    """How many letters were read, each counting by how far its word is over an even chance."""
    return sum(max(0.0, word.confidence - 0.5) * len(word.text) for line in lines for word in line.words)


def _turned_back(line: Line, turns: int, shape: Sequence[int]) -> Line:
    """A line of a picture that was turned by quarters to the left, in the pixels of the picture before."""
    height, width = shape[:2]

    def back(quad: Floats) -> Floats:
        x, y = quad[:, 0], quad[:, 1]
        places = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}
        return np.stack(places[turns], axis=1)

    words = tuple(Word(w.text, back(w.quad), w.confidence) for w in line.words)
    return Line(line.text, back(line.quad), line.confidence, words)
