"""What can be asked of one frame's text and answered for certain: facts, each with its words, boxes and lines.

A fact is about lines that two engines read alike. Where it is about the whole frame ("how many lines", "is there the
word X") it holds only if the engines agree on all of it; else it says what leaves it open, and is refused as
`unsettled` by whoever words it.

    GATE 24 above EXIT, both agreed  ->  beside(EXIT, above) = GATE 24, after(GATE) = 24, lines = 2, largest = ...
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from reelmill.pipelines.views.checks import normalised, occurs
from reelmill.pipelines.views.transcription import Page, says_much, times_said
from reelmill.schemas.script import COMMON, UNKNOWN, script_of
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box

BESIDE, NEXT_WORD, LARGEST, ENTITY = "beside", "next_word", "largest", "entity"
LINE_COUNT, WORD_COUNT, PRESENT, SCRIPT, ILLEGIBLE = "line_count", "word_count", "present", "script", "illegible"
TASKS = (BESIDE, NEXT_WORD, LARGEST, ENTITY, LINE_COUNT, WORD_COUNT, PRESENT, SCRIPT, ILLEGIBLE)

_UNSPACED = frozenset({"Hani", "Jpan", "Kore", "Thai", "Laoo", "Khmr", "Mymr"})
_TALLER = 1.25  # a line of capitals without tails is up to a fifth lower than one with tails in the same size
_OVERLAP = 0.5  # of the narrower of two boxes, for one to stand above the other
_TUCKED = 0.25  # detectors draw boxes larger than the letters, so that neighbouring lines overlap by this much
_CLEAR = 0.5  # of the lower of two lines: the least by which the nearest must be nearer than the next


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame's lines; which of them both engines read alike and how surely, by their place in `page.lines`; what the
    second engine alone read, and where. `unsure`: how many lines of the clip were dropped as too unsure. `letters_px`:
    how tall the letters of each are, the page's lines first, in pixels of the stored frame."""

    page: Page
    agreed: dict[int, float]
    strange: tuple[tuple[Box, str], ...]
    unsure: int
    letters_px: tuple[float, ...]

    @property
    def open(self) -> str:
        """What keeps the frame's text from being known as a whole; empty where nothing does."""
        alone = len(self.page.lines) - len(self.agreed)
        parts = [(alone, "by the first engine alone"), (len(self.strange), "by the second alone")]
        said = [f"{n} line(s) read {how}" for n, how in parts if n]
        return "; ".join([*said, *([f"{self.unsure} dropped as unsure"] if self.unsure else [])])

    @property
    def every_text(self) -> tuple[str, ...]:
        """All that either engine read."""
        return (*self.page.texts, *(text for _, text in self.strange))

    @property
    def every_box(self) -> tuple[Box, ...]:
        """All places of text: those of the page's lines first."""
        return (*self.page.boxes, *(box for box, _ in self.strange))

    def once(self) -> list[int]:
        """Agreed lines whose text can be pointed at by its words: they stand once in the frame."""
        whole = "\n".join(self.every_text)
        return [
            i
            for i in self.agreed
            if says_much(self.page.texts[i]) and '"' not in self.page.texts[i]
            if times_said(whole, self.page.texts[i]) == 1
        ]


@dataclass(frozen=True, slots=True)
class Fact:
    """`task` and `identity` are its key; `form` the wordings of its answer; `lines` the lines that it rests on, and
    `confidence` how sure it is; `open` what leaves it unsettled."""

    task: str
    identity: tuple[str, ...]
    words: dict[str, str]
    lines: tuple[int, ...]
    confidence: float
    form: str = "answer"
    asked: str = "question"
    question_boxes: tuple[Box, ...] = ()
    answer_boxes: tuple[Box, ...] = ()
    open: str = ""
    drawn_among: str = field(default="")
    """Facts of one draw compete for the same few places; by default those of a task do."""


def facts(seen: Seen, absent: Sequence[str], illegible_confidence: float) -> Iterator[Fact]:
    """Everything that can be asked of a frame. `absent` are words to ask for that may not be there."""
    yield from _besides(seen)
    yield from _next_words(seen)
    yield from _largest(seen)
    yield from _entities(seen)
    yield from _counts(seen)
    yield from _presences(seen, absent)
    yield from _script(seen)
    yield from _illegible(seen, illegible_confidence)


def _about(seen: Seen, *lines: int) -> float:
    return min(seen.agreed[i] for i in lines)


def _all(seen: Seen) -> tuple[tuple[int, ...], float]:
    lines = tuple(seen.agreed)
    return lines, _about(seen, *lines)


# ---- places ----------------------------------------------------------------------------------------------------------


def _turned(box: Box, direction: str) -> Box:
    """The frame turned so that `direction` is down."""
    x0, y0, x1, y1 = box.x0_px, box.y0_px, box.x1_px, box.y1_px
    turned = {"below": (x0, y0, x1, y1), "above": (x0, -y1, x1, -y0), "right": (y0, x0, y1, x1)}
    return Box(*turned.get(direction, (y0, -x1, y1, -x0)))


def _besides(seen: Seen) -> Iterator[Fact]:
    """Which line stands directly above, below, left or right of this one?"""
    named = seen.once()
    for i in named:
        for direction in ("above", "below", "left", "right"):
            boxes = [_turned(box, direction) for box in seen.every_box]
            nearest, doubt = _under(i, boxes)
            if nearest is None or nearest >= len(seen.page.lines) or nearest not in named:
                continue
            words = {"text": seen.page.texts[i], "answer": seen.page.texts[nearest], "direction": direction}
            sure, box = _about(seen, i, nearest), seen.page.boxes[nearest]
            place = (direction, words["text"])
            yield Fact(BESIDE, place, words, (i, nearest), sure, answer_boxes=(box,), open=doubt)


def _under(i: int, boxes: Sequence[Box]) -> tuple[int | None, str]:
    """The box next under box `i`, and why that is in doubt."""
    own = boxes[i]
    lower = [(j, _gap(own, b), _shared(own, b)) for j, b in enumerate(boxes) if j != i and _is_lower(own, b)]
    fair = [(gap, j) for j, gap, shared in lower if shared >= _OVERLAP]
    if not fair:
        return None, ""
    gap, nearest = min(fair)
    least = _CLEAR * min(_height(own), _height(boxes[nearest]))
    rivals = [j for j, other, shared in lower if j != nearest and shared > 0 and other < gap + least]
    return nearest, f"{len(rivals)} other line(s) about as near" if rivals else ""


def _height(box: Box) -> float:
    return box.y1_px - box.y0_px


def _gap(own: Box, other: Box) -> float:
    return other.y0_px - own.y1_px


def _is_lower(own: Box, other: Box) -> bool:
    return _gap(own, other) >= -_TUCKED * min(_height(own), _height(other))


def _shared(own: Box, other: Box) -> float:
    """How much of the narrower box's width lies beside the other's."""
    width = min(own.x1_px, other.x1_px) - max(own.x0_px, other.x0_px)
    return width / min(own.x1_px - own.x0_px, other.x1_px - other.x0_px)


def letters_px(line: TextLine) -> float:
    """How tall a line's letters are along its own slant, in pixels of its frame; of a column of letters, how wide. The
    upright box of a tilted line is taller than its letters, and the more so the longer it is."""
    (x0, y0, x1, y1), (x3, y3) = line.quad_px[:4], line.quad_px[6:]
    return min(math.hypot(x3 - x0, y3 - y0), math.hypot(x1 - x0, y1 - y0))


def _largest(seen: Seen) -> Iterator[Fact]:
    """The line whose letters are the tallest, by a quarter at least."""
    heights = seen.letters_px
    order = sorted(range(len(heights)), key=lambda j: -heights[j])
    if len(order) < 2 or order[0] not in seen.once():
        return
    top, second = order[0], order[1]
    doubt = (
        f"the next is {heights[second] / heights[top]:.0%} as tall" if heights[top] < _TALLER * heights[second] else ""
    )
    words, box = {"answer": seen.page.texts[top]}, seen.page.boxes[top]
    doubt = doubt or (f"{seen.unsure} line(s) dropped as unsure" if seen.unsure else "")
    yield Fact(LARGEST, (), words, (top,), _about(seen, top), answer_boxes=(box,), open=doubt)


# ---- words -----------------------------------------------------------------------------------------------------------


def _spaced(text: str) -> bool:
    return script_of(text) not in _UNSPACED


def _next_words(seen: Seen) -> Iterator[Fact]:
    """Which word follows this one in its line? The word asked about stands once in the frame."""
    whole = "\n".join(seen.every_text)
    for i in seen.agreed:
        words = seen.page.texts[i].split() if _spaced(seen.page.texts[i]) else []
        for place in range(len(words) - 1):
            word, after = words[place], words[place + 1]
            if _asks_well(word) and _asks_well(after) and times_said(whole, word) == 1:
                said = {"text": word, "answer": after}
                yield Fact(NEXT_WORD, (word,), said, (i,), _about(seen, i))


def _asks_well(word: str) -> bool:
    return says_much(word) and '"' not in word and len(normalised(word).split()) == 1


def _counts(seen: Seen) -> Iterator[Fact]:
    lines, sure = _all(seen)
    count = {"count": str(len(seen.page.lines))}
    yield Fact(LINE_COUNT, (), count, lines, sure, answer_boxes=seen.page.boxes, open=seen.open)
    if all(_spaced(text) for text in seen.page.texts):
        count = {"count": str(sum(len(text.split()) for text in seen.page.texts))}
        yield Fact(WORD_COUNT, (), count, lines, sure, open=seen.open)


def _presences(seen: Seen, absent: Sequence[str]) -> Iterator[Fact]:
    """Words that are there and words that are not. Both are open where one is, else `yes` would be the safer guess."""
    lines, sure = _all(seen)
    there = [(w, i) for i in seen.agreed if _spaced(seen.page.texts[i]) for w in seen.page.texts[i].split()]
    missing = [w for w in absent if not any(_resembles(w, text) for text in seen.every_text)]
    if not missing:
        return
    for word, i in there:
        if _asks_well(word):
            said, group = {"text": word}, "present.yes"
            yield Fact(PRESENT, ("yes", word), said, (i,), _about(seen, i), "yes", open=seen.open, drawn_among=group)
    for word in missing:
        yield Fact(PRESENT, ("no", word), {"text": word}, lines, sure, "no", open=seen.open, drawn_among="present.no")


def _resembles(word: str, text: str) -> bool:
    """True where the word stands in a text, or inside one of its words: `park` is not denied beside PARKING."""
    return occurs(text, word) or normalised(word) in normalised(text)


def _script(seen: Seen) -> Iterator[Fact]:
    """In which script is it written? Only where all letters are of one."""
    lines, sure = _all(seen)
    found = {script_of(text) for text in seen.page.texts} - {COMMON}
    if len(found) == 1 and UNKNOWN not in found:
        yield Fact(SCRIPT, (), {"script": found.pop()}, lines, sure, open=seen.open)


def _illegible(seen: Seen, least: float) -> Iterator[Fact]:
    """What stands here cannot be read: the first engine is unsure of the line, and the second did not read it alike."""
    boxes = seen.every_box
    for i, line in enumerate(seen.page.lines):
        alone = not any(boxes[i].iou(box) > 0 for j, box in enumerate(boxes[: len(seen.page.lines)]) if j != i)
        if i not in seen.agreed and line.confidence < least and alone:
            corners = ",".join(str(round(10 * c)) for c in line.quad_px)
            yield Fact(ILLEGIBLE, (corners,), {}, (i,), 1.0 - line.confidence, question_boxes=(boxes[i],))


# ---- numbers, prices, dates, phones, addresses -----------------------------------------------------------------------

_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_KINDS = {
    "email": re.compile(r"(?<![\w.%+-])[\w.%+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}(?![\w-])"),
    "url": re.compile(r"(?<![\w@.])(?:https?://|www\.)(?:[\w-]+\.)+[A-Za-z]{2,}(?:/[\w./~%-]*\w)?(?![\w@])"),
    "phone": re.compile(
        r"(?<![\w+-])(?:\+\d{1,3}(?:[ -]\d{2,5}){2,4}|\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4})(?![\w-])"
    ),
    "date": re.compile(
        rf"(?<![\w/.-])(?:\d{{4}}-\d{{2}}-\d{{2}}|\d{{1,2}}[/.]\d{{1,2}}[/.]\d{{4}}"
        rf"|\d{{1,2}} (?:{_MONTHS}) \d{{4}}|(?:{_MONTHS}) \d{{1,2}}, \d{{4}})(?![\w/-])",
        re.IGNORECASE,
    ),
    "price": re.compile(
        r"(?<![\w.,])(?:[$€£¥] ?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d{2})?"
        r"|(?:\d{1,3}(?:,\d{3})+|\d+)(?:[.,]\d{2})? ?(?:€|EUR|USD|GBP))(?![\w%]|[.,]\d)"
    ),
    "number": re.compile(r"(?<![\w.,:/@+$€£¥-])\d{2,}(?![\w%:/@€-]|[.,]\d)"),
}


def entities(text: str) -> list[tuple[str, str]]:
    """Kinds and texts of what a line names in a strict form; a stretch belongs to the first kind that claims it.

    >>> entities("Call 555-010-2030, 2024-02-30, $4.50 each, gate 24")
    [('phone', '555-010-2030'), ('price', '$4.50'), ('number', '24')]
    """
    found = []
    for kind, form in _KINDS.items():
        for match in form.finditer(text):
            if kind != "date" or _is_date(match.group()):
                found.append((kind, match.group()))
        text = form.sub(lambda m: "\0" * len(m.group()), text)
    return found


def _is_date(text: str) -> bool:
    forms = ("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d %B %Y", "%B %d, %Y")
    return any(_parses(text.title(), form) for form in forms)


def _parses(text: str, form: str) -> bool:
    try:
        datetime.datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _entities(seen: Seen) -> Iterator[Fact]:
    """Which price, date, number ... is there? Only where the frame shows one of the kind."""
    everything = [found for text in seen.every_text for found in entities(text)]
    for i in seen.agreed:
        for kind, text in entities(seen.page.texts[i]):
            if sum(k == kind for k, _ in everything) == 1:
                words = {"kind": kind, "answer": text}
                box = seen.page.boxes[i]
                yield Fact(ENTITY, (kind,), words, (i,), _about(seen, i), answer_boxes=(box,), open=seen.open)


def drawn(found: Sequence[Fact], most: int, chance: Callable[[Fact], int]) -> list[Fact]:
    """At most `most` facts of each task (of `present`, one that is there and one that is not), settled ones first."""
    groups: dict[str, list[Fact]] = {}
    for fact in found:
        groups.setdefault(fact.drawn_among or fact.task, []).append(fact)
    one = {"present.yes", "present.no"}
    return [
        fact
        for name, group in groups.items()
        for fact in sorted(group, key=lambda f: (bool(f.open), chance(f)))[: 1 if name in one else most]
    ]
