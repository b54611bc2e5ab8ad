"""What an engine says of one picture: lines and the words in them, in the pixels that it was given.

Two engines stand behind `Reader`. Either takes BGR pixels and gives lines whose quads begin at the line's own top left,
so that turned and upside-down text keeps its direction.

    Line("EXIT 4", quad, 0.98, (Word("EXIT", quad, 0.99), Word("4", quad, 0.95)))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Word:
    """One word: quad (4, 2) clockwise from its own top left, confidence 0 to 1."""

    text: str
    quad: Floats
    confidence: float


@dataclass(frozen=True, slots=True)
class Line:
    """One line as the engine read it: quad (4, 2) in the pixels given to it, clockwise from its own top left."""

    text: str
    quad: Floats
    confidence: float
    words: tuple[Word, ...] = ()

    def moved(self, by: Floats, scale: Floats, size: Floats) -> Line:
        """The line in the pixels of a picture of `size` (width, height), from those of its framed and scaled copy."""

        def place(quad: Floats) -> Floats:
            return np.clip((quad - by) * scale, 0.0, size)

        words = tuple(replace(word, quad=place(word.quad)) for word in self.words)
        return replace(self, quad=place(self.quad), words=words)


class Reader(Protocol):
    """An engine that reads one picture at a time, on one thread. `name` says which versions and models answer."""

    @property
    def name(self) -> str: ...

    def lines(self, bgr: Rgb) -> list[Line]:
        """Lines of one picture; none where nothing is found."""
        ...


def part(quad: Floats, start: float, end: float) -> Floats:
    """The quad of a stretch of a line, `start` and `end` as shares (0 to 1) of its length."""
    top, bottom = quad[1] - quad[0], quad[2] - quad[3]
    return np.array([quad[0] + top * start, quad[0] + top * end, quad[3] + bottom * end, quad[3] + bottom * start])


def upright(left: float, top: float, right: float, bottom: float) -> Floats:
    """The quad of an upright box."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def weighted(words: Sequence[Word]) -> float:
    """Mean confidence of words, each weighted by its length; 0 where there is none."""
    letters = sum(len(word.text) for word in words)
    return sum(word.confidence * len(word.text) for word in words) / letters if letters else 0.0
