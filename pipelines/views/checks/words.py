"""Texts compared as LLaVAR's metric compares them.

>>> occurs("The text reads: TWO dogs.", "2 Dogs"), occurs("bookshop", "book")
(True, False)
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)}
_ARTICLES = frozenset({"a", "an", "the"})


@lru_cache(maxsize=1 << 12)
def normalised(text: str) -> str:
    """Text as LLaVAR's metric compares it: lower case, no punctuation, no articles, number words as digits.

    Apostrophes vanish (so `don't` is `dont`), commas inside numbers too; a point between digits stays.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(r"['’`]|(?<=\d),(?=\d)", "", text)
    text = re.sub(r"(?<!\d)\.|\.(?!\d)|[^\w\s.]|_", " ", text)
    words = [_DIGITS.get(word, word) for word in text.split()]
    return " ".join(word for word in words if word not in _ARTICLES)


def occurs(answer: str, text: str) -> bool:
    """Whether `text` stands in `answer` at word boundaries, both normalised (LLaVAR, MultimodalOCR evaluation).

    A text of which nothing is left after normalising never counts; in the released metric it always does.
    """
    wanted = normalised(text)
    return bool(wanted) and f" {wanted} " in f" {normalised(answer)} "
