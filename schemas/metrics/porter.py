"""Porter's stems of English words (M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980).

Written after the paper, since METEOR is all that wants it and this package's rows know no library for language. A test
holds it against the package snowballstemmer, of the same author's project.

>>> [stem(w) for w in ("relational", "hopping", "flies", "sky")]
['relat', 'hop', 'fli', 'sky']
"""

from __future__ import annotations

import re
from functools import cache

_RUNS = re.compile("v+c+")
_AFTER_ED = {"at": "ate", "bl": "ble", "iz": "ize"}
_STEP_2 = {
    **{"ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "abli": "able", "alli": "al"},
    **{"entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al"},
    **{"iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble"},
}
_STEP_3 = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_STEP_4 = {
    **dict.fromkeys(("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion"), ""),
    **dict.fromkeys(("ou", "ism", "ate", "iti", "ous", "ive", "ize"), ""),
}


@cache
def stem(word: str) -> str:
    """The stem of a word in small letters; what has no letters of English is its own."""
    for step in (_plural, _past, _last_y):
        word = step(word)
    word = _replaced(word, _STEP_2, 0)
    word = _replaced(word, _STEP_3, 0)
    return _tidied(_replaced(word, _STEP_4, 1))


def _forms(text: str) -> str:
    """`c` and `v` for each letter: y is a vowel after a consonant."""
    found = ""
    for letter in text:
        vowel = letter in "aeiou" or (letter == "y" and found[-1:] == "c")
        found += "v" if vowel else "c"
    return found


def _measure(text: str) -> int:
    """The paper's m: how often consonants follow vowels."""
    return len(_RUNS.findall(_forms(text)))


def _closed(text: str) -> bool:
    """The paper's *o: it ends consonant, vowel, consonant, and not in w, x or y."""
    return _forms(text)[-3:] == "cvc" and text[-1] not in "wxy"


def _plural(word: str) -> str:
    for ending, other in (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")):
        if word.endswith(ending):
            return word.removesuffix(ending) + other
    return word


def _past(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    ending = next((e for e in ("ed", "ing") if word.endswith(e)), "")
    left = word.removesuffix(ending)
    if not ending or "v" not in _forms(left):
        return word
    if left[-2:] in _AFTER_ED:
        return left[:-2] + _AFTER_ED[left[-2:]]
    if left[-1:] == left[-2:-1] and _forms(left)[-1:] == "c":
        return left if left[-1] in "lsz" else left[:-1]
    return f"{left}e" if _measure(left) == 1 and _closed(left) else left


def _last_y(word: str) -> str:
    return f"{word[:-1]}i" if word.endswith("y") and "v" in _forms(word[:-1]) else word


def _replaced(word: str, endings: dict[str, str], above: int) -> str:
    """The longest ending that is listed, replaced where m of what stands before it is greater than `above`."""
    ending = max((e for e in endings if word.endswith(e)), key=len, default="")
    left = word.removesuffix(ending)
    if not ending or _measure(left) <= above or (ending == "ion" and left[-1:] not in ("s", "t")):
        return word
    return left + endings[ending]


def _tidied(word: str) -> str:
    """The last e, and one of two last l."""
    left = word.removesuffix("e")
    if left != word and (_measure(left) > 1 or (_measure(left) == 1 and not _closed(left))):
        word = left
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word
