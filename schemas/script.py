"""The script that a text is written in, by its characters: a fact, where a language would be a guess.

Tags are those of ISO 15924. Han letters alone are `Hani`: Chinese and Japanese share them, and simplified and
traditional forms most of theirs. With kana beside them the text is `Jpan`, with Hangul `Kore`. A text without letters
is `Zyyy` (digits and signs belong to every script), one in a script that is not in the table `Zzzz`.

>>> script_of("EXIT 4"), script_of("港区を"), script_of("12.50")
('Latn', 'Jpan', 'Zyyy')
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

COMMON, UNKNOWN = "Zyyy", "Zzzz"
_HAN, _KANA, _HANGUL = "Hani", "Kana", "Hang"
_UNSPACED = (_HAN, _KANA, "Thai", "Laoo", "Khmr", "Mymr")

# The first word of a letter's Unicode name is its script.
_BY_NAME = {
    "LATIN": "Latn", "CYRILLIC": "Cyrl", "GREEK": "Grek", "ARABIC": "Arab", "HEBREW": "Hebr", "ARMENIAN": "Armn",
    "GEORGIAN": "Geor", "ETHIOPIC": "Ethi", "DEVANAGARI": "Deva", "BENGALI": "Beng", "GURMUKHI": "Guru",
    "GUJARATI": "Gujr", "TAMIL": "Taml", "TELUGU": "Telu", "KANNADA": "Knda", "MALAYALAM": "Mlym", "SINHALA": "Sinh",
    "THAI": "Thai", "LAO": "Laoo", "KHMER": "Khmr", "MYANMAR": "Mymr", "TIBETAN": "Tibt", "MONGOLIAN": "Mong",
    "HANGUL": _HANGUL, "CJK": _HAN, "IDEOGRAPHIC": _HAN, "HIRAGANA": _KANA, "KATAKANA": _KANA, "BOPOMOFO": "Bopo",
}  # fmt: skip


def script_of(text: str) -> str:
    """ISO 15924 tag of the script that most letters of a text are of; between equals the one that comes first."""
    counts = Counter(s for c in unicodedata.normalize("NFKC", text) if (s := _of_letter(c)) != COMMON)
    if counts[_KANA]:
        counts = _taken(counts, "Jpan", (_KANA, _HAN))
    if counts[_HANGUL] and counts[_HAN]:
        counts = _taken(counts, "Kore", (_HANGUL, _HAN))
    return counts.most_common(1)[0][0] if counts else COMMON


def _taken(counts: Counter[str], name: str, parts: Sequence[str]) -> Counter[str]:
    whole = sum(counts[part] for part in parts)
    return Counter({name: whole, **{k: n for k, n in counts.items() if k not in parts}})


def joins_words(before: str, after: str) -> bool:
    """False where a word ends between two neighbouring characters, one of a script that sets no spaces and one not."""
    scripts = {_of_letter(before), _of_letter(after)} - {COMMON}
    return len({script in _UNSPACED for script in scripts}) < 2


def spaced(words: Sequence[str]) -> str:
    """Words as one text: a space between them, but none inside a script that sets none."""
    text = ""
    for word in words:
        inside = text and word and _of_letter(text[-1]) in _UNSPACED and _of_letter(word[0]) in _UNSPACED
        text += word if inside or not text else f" {word}"
    return text


@lru_cache(maxsize=4096)
def _of_letter(c: str) -> str:
    """Script of one character; COMMON for digits, signs, white space and marks."""
    if not c.isalpha():
        return COMMON
    name = unicodedata.name(c, "").replace("-", " ").split()
    if name[:1] in (["FULLWIDTH"], ["HALFWIDTH"]):
        name = name[1:]
    return _BY_NAME.get(name[0], UNKNOWN) if name else UNKNOWN
