r"""Questions that list their answers: is what was answered one of them, and is it the one whose letter was said?

Published sets have rows whose answer is none of the options, or whose letter and words name two of them (MLVU, Zhou et
al. 2025; OVO-Bench, Li et al. 2025; defect D13 of the recipes' register). A letter counts only where it stands as an
answer: a letter somewhere inside a sentence is no choice.

>>> choice_fault("What is it?\nA. a dog\nB. a cat", "B. a dog")
('answer_differs_from_its_option', "'B. a dog' for B, which is 'a cat'")
>>> choice_fault("What is it?\nA. a dog\nB. a cat", "B")
"""

from __future__ import annotations

import re

_OPTION = re.compile(r"^\s*(?:\((?P<round>[A-Z])\)|(?P<plain>[A-Z])[.):])\s*(?P<text>\S.*?)\s*$", re.MULTILINE)
_LETTER = re.compile(
    r"\s*(?i:(?:the\s+)?(?:correct\s+|best\s+)?(?:answer|option|choice)(?:\s+is)?\s*:?\s+)?"
    r"(?:\((?P<round>[A-Z])\)|(?P<plain>[A-Z])(?=[.):]|\s*\Z))[.):]?\s*(?P<text>.*?)\s*",
    re.DOTALL,
)
_WORD = re.compile(r"\w+")


def options_of(question: str) -> dict[str, str]:
    """The options by letter: lines `A. text`, `A) text`, `A: text` or `(A) text` from A on without a gap, two or more.

    A list of another form is none, and {} says so: its question is then judged like any other."""
    found = [(m["round"] or m["plain"], m["text"]) for m in _OPTION.finditer(question)]
    in_order = [letter for letter, _ in found] == [chr(ord("A") + i) for i in range(len(found))]
    return dict(found) if in_order and len(found) > 1 else {}


def choice_fault(question: str, answer: str) -> tuple[str, str] | None:
    """Reason and detail where an answer does not choose among the options of its question, None where it does or where
    there are none. An answer without a letter must have the words of one option; those of two name neither."""
    options = options_of(question)
    if not options:
        return None
    words = {letter: _words(text) for letter, text in options.items()}
    if len(set(words.values())) < len(words):
        return "options_alike", f"two of {list(options.values())!r}"[:200]
    said = _LETTER.fullmatch(answer)
    if said is None:
        named = [text for text in words.values() if f" {text} " in f" {_words(answer)} "]
        longest = [n for n in named if not any(n != other and n in other for other in named)]
        return None if len(longest) == 1 else ("answer_is_no_option", f"{answer[:80]!r} names {len(longest)} options")
    letter = said["round"] or said["plain"]
    if letter not in options:
        return "answer_is_no_option", f"{letter} of {', '.join(options)}"
    if said["text"] and not f"{_words(said['text'])} ".startswith(f"{words[letter]} "):  # reasons may follow
        return "answer_differs_from_its_option", f"{answer[:80]!r} for {letter}, which is {options[letter][:80]!r}"
    return None


def _words(text: str) -> str:
    """Words alone in small letters; of a text without any, its signs."""
    return " ".join(_WORD.findall(text.casefold())) or text.strip()
