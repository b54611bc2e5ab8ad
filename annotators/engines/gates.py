"""Answers that are none: empty, the same words over and over, a refusal; and one text for many different questions.

The first three are seen in one answer. The last needs many: a provider's fault once put one caption on some 4,000 clips
of LVD-2M (its repository, issue 4), each of them well formed. It is no matter of a row, so it ends the run.

>>> degenerate("a cat a cat a cat a cat a cat a cat a cat a cat")[0]
'repeated'
>>> degenerate("A red circle moves right.")
"""

from __future__ import annotations

import re
import threading
from collections import Counter, deque

from reelmill.schemas.errors import EngineDown

_WORD = re.compile(r"\w+")
_FEWEST_WORDS = 12
_LONGEST_UNIT = 8
_REPEATED_SHARE = 0.6
_REFUSALS = re.compile(
    r"\A\W*(?:(?:i['’]?m|i am) (?:sorry|unable|not able)|sorry,? (?:but )?i|i (?:can['’]?t|cannot|can not|won['’]?t)\b"
    r"|as an ai\b|unfortunately,? i (?:can|am))",
    re.IGNORECASE,
)
"""How models that answer in English begin to refuse. In other languages only the server's own word is known."""


def degenerate(text: str) -> tuple[str, str] | None:
    """Reason and what was seen where a free text is no answer, else None."""
    if not text.strip():
        return "empty", "no text"
    if _REFUSALS.match(text):
        return "refusal", f"it begins {text.strip()[:60]!r}"
    unit, share = repeated_unit(_WORD.findall(text.lower()))
    if share >= _REPEATED_SHARE:
        return "repeated", f"{' '.join(unit)!r} makes up {100 * share:.0f}% of it"
    return None


def repeated_unit(words: list[str]) -> tuple[tuple[str, ...], float]:
    """The run of at most 8 words that is said again and again in a row, and its share of all words.

    Texts of under 12 words have none. Only repetitions in a row count, three at least: a list may use a word often.
    """
    if len(words) < _FEWEST_WORDS:
        return (), 0.0
    best: tuple[tuple[str, ...], float] = ((), 0.0)
    for size in range(1, _LONGEST_UNIT + 1):
        run, start = 0, 0
        for i in range(size, len(words)):
            run = run + 1 if words[i] == words[i - size] else 0
            if run >= 2 * size and (run + size) / len(words) > best[1]:
                start = i - run - size + 1
                best = tuple(words[start : start + size]), (run + size) / len(words)
    return best


class Sameness:
    """Watches whole answers of one engine: raises EngineDown where one text answers many different questions.

    Of the last `window` answers of at least `letters` letters, `most` may be the same, capitals and blanks apart.
    Thread-safe; equal questions count once. Shorter ones ("yes") are the same by right.
    """

    def __init__(self, most: int = 40, window: int = 200, letters: int = 40) -> None:
        self.most, self.letters = most, letters
        self._last: deque[tuple[str, str]] = deque()
        self._window, self._count = window, Counter[str]()
        self._lock = threading.Lock()

    def saw(self, name: str, asked: str, text: str) -> None:
        """`asked` is the request's digest."""
        if len(text) < self.letters:
            return
        text = " ".join(text.casefold().split())
        with self._lock:
            if (asked, text) in self._last:
                return
            self._last.append((asked, text))
            self._count[text] += 1
            if len(self._last) > self._window:
                _, old = self._last.popleft()
                self._count[old] -= 1
                self._count += Counter()
            many = self._count[text]
        if many > self.most:
            seen = f"{many} of its last {len(self._last)} answers are {text[:80]!r}"
            do = "mend the server, `reelmill cache prune --same 20`, then run again"
            raise EngineDown(f"engine {name}", seen=seen, do=do)
