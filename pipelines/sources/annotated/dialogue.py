r"""Dialogues of instruction sets as turns: roles, the placeholder of the medium, and text that cannot forge anything.

Trainers of the LLaVA family mark where the medium stands by a literal `<image>` or `<video>` in the first question.
At its beginning, or alone on its last line (LLaVA-Instruct has it in both places), it stands for the medium and is
taken off. Anywhere else it is text that happens to read so, and is broken by a space like every other token.

>>> without_placeholder("<image>\nWhat is it?"), without_placeholder("What does <image> mean?")
('What is it?', 'What does <image> mean?')
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from reelmill.pipelines.sources.annotated.fields import as_list, as_object, clean, shown
from reelmill.pipelines.views.phrasing import BOX, defused
from reelmill.schemas.errors import Unusable
from reelmill.schemas.sample import Role, Turn
from reelmill.schemas.tube import Box

Worded = tuple[str, tuple[Box, ...]]
Wording = Callable[[str], Worded]

_ROLES = {"human": Role.USER, "user": Role.USER, "gpt": Role.ASSISTANT, "assistant": Role.ASSISTANT}
_PLACEHOLDER = r"<(?:image|video)>"
_LEADS, _ENDS = re.compile(rf"\s*{_PLACEHOLDER}\s*"), re.compile(rf"\n\s*{_PLACEHOLDER}\s*\Z")
_TAG = re.compile(r"<ref-object>|<bbox>")


def without_placeholder(text: str) -> str:
    """A first question without the mark of its medium."""
    leads = _LEADS.match(text)
    return text[leads.end() :] if leads else _ENDS.sub("", text)


def harmless(text: str) -> str:
    """Foreign text of several lines: each of them `defused`."""
    return "\n".join(defused(line) for line in clean(text).splitlines()).strip("\n")


def plain(text: str) -> Worded:
    return harmless(text), ()


def turns(rows: Any, role: str, text: str, wording: Wording = plain) -> tuple[Turn, ...]:
    """A dialogue from a list of objects whose fields `role` and `text` say who speaks and what.

    Raises Unusable where it is not question and answer by turns, begins with a system prompt, or says nothing.
    """
    held = [as_object(row, "a turn") for row in as_list(rows, "the dialogue")]
    roles = [_role(row.get(role)) for row in held]
    if not held or roles != [Role.USER, Role.ASSISTANT] * (len(held) // 2):
        raise Unusable("turns_not_alternating", f"roles {shown([str(r) for r in roles])}, want user, assistant, ...")
    said = [_said(row.get(text)) for row in held]
    said[0] = without_placeholder(said[0])
    return tuple(turn(who, what, wording) for who, what in zip(roles, said, strict=True))


def _role(value: Any) -> Role:
    if value == "system":
        raise Unusable("system_turn", "a system prompt, which a sample has no place for")
    if not isinstance(value, str) or value not in _ROLES:
        raise Unusable("unknown_role", shown(value))
    return _ROLES[value]


def _said(value: Any) -> str:
    if not isinstance(value, str):
        raise Unusable("wrong_type", f"a turn says {shown(value)}, want a text")
    return value


def turn(role: Role, text: str, wording: Wording = plain) -> Turn:
    """One turn. Raises Unusable where it says nothing."""
    words, boxes = wording(text)
    if not words.strip():
        raise Unusable("empty_turn", f"{role} says {shown(text)}")
    return Turn(role, words, (), (), boxes)


class Tagged:
    """A wording with ms-swift's tags: `<ref-object>` becomes the next of `phrases`, `<bbox>` a `<box>` with the next of
    `boxes`, counted through all turns."""

    def __init__(self, phrases: list[str], boxes: list[Box]) -> None:
        self.phrases, self.boxes = iter(phrases), iter(boxes)

    def __call__(self, text: str) -> Worded:
        """Raises Unusable where there are more tags than phrases or boxes."""
        own: list[Box] = []
        marks: list[str] = []
        for tag in _TAG.findall(text):
            try:
                marks.append(next(self.phrases) if tag == "<ref-object>" else BOX)
                own += [next(self.boxes)] if tag == "<bbox>" else []
            except StopIteration as error:
                raise Unusable("tags_without_objects", f"more {tag} than the row has objects") from error
        pieces = [_edged(piece) for piece in _TAG.split(text)]
        said = [pieces[0], *(part for pair in zip(map(_marked, marks), pieces[1:], strict=True) for part in pair)]
        return "".join(said).strip(), tuple(own)

    def left(self) -> int:
        """Boxes that no tag stood for."""
        return len(list(self.boxes))


def _marked(mark: str) -> str:
    return mark if mark == BOX else harmless(mark)


def _edged(text: str) -> str:
    """Harmless text that keeps one space or line break at each end: it stands beside a tag."""
    body = harmless(text)
    front, back = re.match(r"\s*", text), re.search(r"\s*\Z", text)
    before, after = (("\n" if "\n" in m.group() else " ") if m and m.group() else "" for m in (front, back))
    return f"{before}{body}{after}" if body else before
