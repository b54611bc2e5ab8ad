"""The words of a turn with their placeholders filled in, each named by a mark that frames and time-lines carry too.

Boxes are Q1, Q2 ... in questions, A1 ... in answers, R1 ... on the rejected side; tubes are T1 ...; spans are 1, 2 ...

>>> turn = Turn(Role.ASSISTANT, "It rolls at <time>.", (), (1.0, 3.5), ())
>>> [(w.kind, w.text) for w in words(turn, Marks())]
[('', 'It rolls at '), ('time', '1.00–3.50 s'), ('', '.')]
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from reelmill.schemas.sample import GroundedSample, Role, Sample, StreamSample, Tubelet, Turn
from reelmill.schemas.tube import Box

_PLACE = re.compile("(<(?:time|box|tube)>)")
_LETTER = {Role.USER: "Q", Role.ASSISTANT: "A"}


@dataclass(frozen=True, slots=True)
class Word:
    """A stretch of text. `kind` is time, box or tube where it fills a placeholder, '' where it was written so."""

    text: str
    kind: str = ""
    mark: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """A turn as it is shown: `boxes` are the marks of those that no word of it names; `at_s` is None outside streams.

    `silent_s` is how long nobody spoke before it, in seconds.
    """

    role: str
    words: tuple[Word, ...]
    boxes: tuple[str, ...]
    at_s: float | None = None
    silent_s: float = 0.0


@dataclass(slots=True)
class Marks:
    """What was counted so far. `tubes` are those still to be named, `rejected` says whose boxes are counted, `several`
    are the roles that name more than one span: theirs are numbered."""

    tubes: list[Tubelet] = field(default_factory=list)
    rejected: bool = False
    several: frozenset[Role] = frozenset()
    counts: Counter[str] = field(default_factory=Counter)

    def next(self, letter: str) -> str:
        """The next mark of a letter."""
        self.counts[letter] += 1
        return f"{letter}{self.counts[letter]}"

    def span(self, role: Role) -> str:
        """The number of the next span of a role, '' where it has no other."""
        self.counts[role] += 1
        return str(self.counts[role]) if role in self.several else ""

    def letter(self, turn: Turn) -> str:
        return "R" if self.rejected else _LETTER[turn.role]


def seconds(start_s: float, end_s: float) -> str:
    """An interval as pages show it.

    >>> seconds(1, 3.5)
    '1.00–3.50 s'
    """
    return f"{start_s:.2f}–{end_s:.2f} s"


def own_times(turn: Turn) -> tuple[float, ...]:
    """The times that a turn's own words speak of: src of a question, tgt of an answer."""
    return turn.src_s if turn.role is Role.USER else turn.tgt_s


def pixels(box: Box) -> str:
    """A box as pages show it: corners in whole pixels of the medium."""
    return f"({box.x0_px:.0f}, {box.y0_px:.0f})–({box.x1_px:.0f}, {box.y1_px:.0f}) px"


def box_marks(turn: Turn, marks: Marks) -> list[tuple[str, Box]]:
    """The turn's boxes with their marks, in order."""
    return [(marks.next(marks.letter(turn)), box) for box in turn.boxes]


def words(turn: Turn, marks: Marks) -> Iterator[Word]:
    """The turn's text cut at its placeholders. One that has nothing to stand for stays as it was written."""
    yield from _filled(turn, iter(box_marks(turn, marks)), marks)


def _filled(turn: Turn, boxes: Iterator[tuple[str, Box]], marks: Marks) -> Iterator[Word]:
    times = own_times(turn)
    spans = iter(list(zip(times[::2], times[1::2], strict=False)))
    for piece in _PLACE.split(turn.text):
        if piece == "<time>" and (span := next(spans, None)):
            yield Word(seconds(*span), "time", marks.span(turn.role))
        elif piece == "<box>" and (marked := next(boxes, None)):
            yield Word(marked[0], "box", marked[0], pixels(marked[1]))
        elif piece == "<tube>" and marks.tubes:
            yield _tube(marks.tubes.pop(0), marks.next("T"))
        elif piece:
            yield Word(piece)


def _tube(tube: Tubelet, mark: str) -> Word:
    start_s = min(tube.at_s, default=0.0)
    return Word(f"{mark} {seconds(start_s, tube.end_s)}", "tube", mark, f"{len(tube.boxes)} boxes")


def said(sample: Sample, turns: Sequence[Turn]) -> tuple[Said, ...]:
    """The turns of a sample (all, or those before the sides of a pair) as they are shown."""
    marks = Marks(list(sample.tubes) if isinstance(sample, GroundedSample) else [], several=_several(turns))
    at_s = sample.turns_at_s if isinstance(sample, StreamSample) else ()
    found, before_s = [], at_s[0] if at_s else 0.0
    for i, turn in enumerate(turns):
        boxes = box_marks(turn, marks)
        named = turn.text.count("<box>")
        pieces = tuple(_filled(turn, iter(boxes), marks))
        now_s = at_s[i] if at_s else None
        silent_s = 0.0 if now_s is None else now_s - before_s
        found.append(Said(str(turn.role), pieces, tuple(m for m, _ in boxes[named:]), now_s, silent_s))
        before_s = now_s or before_s
    return tuple(found)


def _several(turns: Sequence[Turn]) -> frozenset[Role]:
    return frozenset(r for r in Role if sum(len(own_times(t)) // 2 for t in turns if t.role is r) > 1)


def spoken(turn: Turn) -> str:
    """The text with its times and boxes filled in: a rejected side may differ from the chosen one in nothing else.

    >>> spoken(Turn(Role.ASSISTANT, "At <box>.", (), (), (Box(1, 2, 3, 4),)))
    'At (1, 2)–(3, 4) px.'
    """
    return "".join(w.note if w.kind == "box" else w.text for w in words(turn, Marks()))
