"""From the content of a rendered document to dialogues about it: every answer is worked out from what was drawn.

Questions are written against the source of a picture and never against its pixels (CoSyn, Yang et al. 2025), here by
rules: look up, compare, add, count, transcribe, locate, and say that something is not given. A task of WRITTEN has an
answer that stands in the picture, word for word; the others must be worked out. Refusals:

    no_truth         nobody rendered this file here, so there is no content to ask about
    another_picture  its size is not that of its truth

    content  receipt, Total = "$29.09"
    sample   Q "What is the Total on this receipt?"  A "It is $29.09."
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

from reelmill.annotators.decode.local import local_path
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines.documents.content import Column as TableColumn
from reelmill.pipelines.documents.content import Document, Table
from reelmill.pipelines.documents.render import load_document
from reelmill.pipelines.scenes.truth import METHOD
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.checks.words import normalised
from reelmill.pipelines.views.phrasing import Label, Material, Phrasings, defused, listed, sample, sample_key
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import BadInput, Unusable
from reelmill.schemas.keys import seed_for
from reelmill.schemas.media import MediaRef
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.text import TextLine
from reelmill.schemas.tube import Box
from reelmill.schemas.verdict import ACCEPTED

FAMILY = "code_guided"
FIELD, CELL, PLOTTED, ABSENT, LIST, NEXT = "field", "cell", "plotted", "absent", "list", "next"
COMPARE, LARGEST, SMALLEST = "compare", "largest", "smallest"
SUM, TOTAL, DIFFERENCE, COUNT = "sum", "total", "difference", "count"
TRANSCRIPTION, READ, LOCATE, DIALOGUE = "transcription", "read", "locate", "dialogue"

WRITTEN = frozenset({FIELD, CELL, LIST, NEXT, COMPARE, LARGEST, SMALLEST, TRANSCRIPTION, READ})
"""Tasks whose answer stands in the picture at word boundaries (`views.checks.occurs`), a list part by part."""

_WORDED_AS = {PLOTTED: CELL}
_IN_ORDER = ("slide", "poster")
"""Kinds whose listings run from top to bottom, so that one thing comes after another."""
_TALKED_OF = (FIELD, CELL, PLOTTED, LARGEST, SMALLEST, COMPARE, SUM, DIFFERENCE, COUNT, LIST, NEXT, ABSENT, LOCATE)


@dataclass(frozen=True, slots=True)
class Asked:
    """One question with its answer. `of` is its identity among those of its task, `words` fill the phrasing, `lines`
    are the numbers of the lines of text that the answer rests on; `worded_as` is the task whose question is used."""

    task: str
    of: tuple[str, ...]
    words: dict[str, str]
    answer: str = ""
    lines: tuple[int, ...] = ()
    shown: tuple[Box, ...] = ()
    told: tuple[Box, ...] = ()
    worded_as: str = ""


@dataclass(frozen=True, kw_only=True)
class CompileDocument(Worded):
    """Samples of one rendered document: at most `each_max` questions of a task, and one dialogue of `turns_max`."""

    each_max: int = 2
    turns_max: int = 4
    phrasings: str = FAMILY
    method: ClassVar[str] = METHOD
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, BASE, PROVENANCE)
    looked_at: ClassVar[str] = "what the picture was drawn from"

    def material(self, row: dict[str, Any], model: str = "") -> Material:
        """As every view's, but that what it rests on is no rule's finding: its own link says `truth`."""
        clip = super().material(row, model)
        *before, own = clip.provenance
        return replace(clip, provenance=(*before, replace(own, method=METHOD)))

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        clip = self.material(row)
        lines, document = document_of(clip.media)
        view = _View(self, self.wording, clip, document, lines)
        return {"samples": tuple(sorted(view.samples(), key=lambda s: s.key))}


def document_of(media: MediaRef) -> tuple[tuple[TextLine, ...], Document]:
    """Lines and content of a rendered document. Raises Unusable as the module says."""
    try:
        exact, document = load_document(Path(local_path(media.uri, media.digest)))
    except BadInput as error:
        raise Unusable("no_truth", str(error)) from error
    if (exact.width_px, exact.height_px) != (media.width_px, media.height_px):
        seen = f"{media.width_px} x {media.height_px} px, drawn {exact.width_px} x {exact.height_px} px"
        raise Unusable("another_picture", seen)
    return exact.texts, document


def asked(document: Document, lines: Sequence[TextLine], size_px: tuple[int, int]) -> Iterator[Asked]:
    """Every question that a document answers."""
    at = {mark: i for i, mark in enumerate(document.marks) if mark}
    yield from _of_fields(document, at)
    for table in document.content.tables:
        yield from _of_table(table, at)
    yield from _of_listings(document, at)
    yield from _of_text(document, lines, size_px)


def _of_fields(document: Document, at: dict[str, int]) -> Iterator[Asked]:
    what = document.content
    for i, one in enumerate(what.fields):
        yield Asked(FIELD, (one.name,), {"name": one.name}, one.value, (at[f"field.{i}"],))
    for name in (*what.blank, *what.absent):
        yield Asked(ABSENT, (name,), {"name": name}, worded_as=FIELD)


def _of_table(table: Table, at: dict[str, int]) -> Iterator[Asked]:
    yield Asked(COUNT, (table.rows_are,), {"things": f"{table.rows_are}s"}, str(len(table.rows)), _rows(table, at))
    for c, column in enumerate(table.columns):
        for r, row in enumerate(table.rows):
            lines = _lines(at, (r, c))
            task = CELL if f"cell.{r}.{c}" in at else PLOTTED
            yield Asked(task, (row.name, column.name), {"row": row.name, "column": column.name}, row.cells[c], lines)
        for name in table.absent:
            yield Asked(ABSENT, (name, column.name), {"row": name, "column": column.name}, worded_as=CELL)
        if column.numeric:
            yield from _of_numbers(table, c, at)


def _rows(table: Table, at: dict[str, int]) -> tuple[int, ...]:
    return tuple(at[f"row.{r}"] for r in range(len(table.rows)))


def _lines(at: dict[str, int], *cells: tuple[int, int]) -> tuple[int, ...]:
    """The lines of cells and their row headers, those that are printed."""
    marks = [mark for r, c in cells for mark in (f"row.{r}", f"cell.{r}.{c}")]
    return tuple(at[m] for m in marks if m in at)


def value_of(cell: str) -> Decimal:
    """The number in a cell among its unit.

    >>> value_of("£4.50") + value_of("12 °C")
    Decimal('16.50')
    """
    return Decimal("".join(ch for ch in cell if ch.isdigit() or ch == "."))


def _told(column: TableColumn, value: Decimal) -> str:
    return column.form.format(value)


def _of_numbers(table: Table, c: int, at: dict[str, int]) -> Iterator[Asked]:
    """Extremes where one row alone has them, sums, and pairs."""
    column, names = table.columns[c], [row.name for row in table.rows]
    values = [value_of(row.cells[c]) for row in table.rows]
    words = {"column": column.name, "rows_are": table.rows_are}
    every = _lines(at, *((r, c) for r in range(len(values))))
    for task, end in ((LARGEST, max(values)), (SMALLEST, min(values))):
        if values.count(end) == 1:
            yield Asked(task, (column.name,), words, names[values.index(end)], every)
    yield Asked(TOTAL, (column.name,), words, _told(column, sum(values, Decimal(0))), every)
    for i, j in combinations(range(len(values)), 2):
        of, lines = (names[i], names[j], column.name), _lines(at, (i, c), (j, c))
        pair = words | {"row": names[i], "other": names[j]}
        yield Asked(SUM, of, pair, _told(column, values[i] + values[j]), lines)
        if values[i] != values[j]:
            yield Asked(COMPARE, of, pair, names[i] if values[i] > values[j] else names[j], lines)
            yield Asked(DIFFERENCE, of, pair, _told(column, abs(values[i] - values[j])), lines)


def _of_listings(document: Document, at: dict[str, int]) -> Iterator[Asked]:
    for i, listing in enumerate(document.content.listings):
        words, items = {"things": listing.name}, listing.items
        places = [at.get(f"item.{i}.{n}") for n in range(len(items))]
        lines = tuple(p for p in places if p is not None) or _said(document, items, at)
        yield Asked(COUNT, (listing.name,), words, str(len(items)), lines)
        yield Asked(LIST, (listing.name,), words, listed(items), lines)
        for n in range(len(items) - 1) if document.content.kind in _IN_ORDER else ():
            yield Asked(NEXT, (items[n],), words | {"item": items[n]}, items[n + 1], lines[n : n + 2])


def _said(document: Document, items: Sequence[str], at: dict[str, int]) -> tuple[int, ...]:
    """Lines of things that are drawn as those of another listing: the ticked among all options."""
    drawn = {item: at[f"item.{i}.{n}"] for i, one in enumerate(document.content.listings)
             for n, item in enumerate(one.items) if f"item.{i}.{n}" in at}  # fmt: skip
    return tuple(drawn[item] for item in items)


def _of_text(document: Document, lines: Sequence[TextLine], size_px: tuple[int, int]) -> Iterator[Asked]:
    """Transcribe, read at a box, locate. The lines of a chart have no one order, so it is not transcribed."""
    boxes, plain = [line.box.clipped(*size_px) for line in lines], [f" {normalised(line.text)} " for line in lines]
    if document.content.kind != "chart":
        every = tuple(range(len(lines)))
        yield Asked(TRANSCRIPTION, (), {}, "\n".join(line.text for line in lines), every, told=tuple(boxes))
    for i, line in enumerate(lines):
        if sum(ch.isalnum() for ch in line.text) < 2:
            continue
        if all(boxes[i].iou(other) == 0.0 for j, other in enumerate(boxes) if j != i):
            yield Asked(READ, (str(i), line.text), {}, line.text, (i,), shown=(boxes[i],))
        # At word boundaries, as `views.checks.occurs`; of a text that is all articles and points nothing is left.
        if plain[i].strip() and sum(plain[i] in other for other in plain) == 1:
            yield Asked(LOCATE, (line.text,), {"text": line.text}, "", (i,), told=(boxes[i],))


class _View:
    """The samples of one document."""

    def __init__(
        self, step: CompileDocument, wording: Phrasings, clip: Material, document: Document, lines: Sequence[TextLine]
    ) -> None:
        self.step, self.wording, self.clip, self.kind = step, wording, clip, document.content.kind
        size_px = (clip.media.width_px, clip.media.height_px)
        self.by_task: dict[str, list[Asked]] = defaultdict(list)
        for one in asked(document, lines, size_px):
            self.by_task[one.task].append(one)

    def samples(self) -> Iterator[Sample]:
        for task, candidates in self.by_task.items():
            for one in self.drawn(candidates)[: self.step.each_max]:
                key = self.key(task, *one.of)
                yield self.sample(key, task, self.turns(key, one), one.lines)
        said = self.talk()
        if len(said) > 1:
            key = self.key(DIALOGUE, *(f"{one.task} {' '.join(one.of)}" for one in said))
            turns = tuple(turn for i, one in enumerate(said) for turn in self.turns(f"{key}{i}", one))
            yield self.sample(key, DIALOGUE, turns, sorted({n for one in said for n in one.lines}))

    def drawn(self, candidates: Sequence[Asked], why: str = "drawn") -> list[Asked]:
        """Candidates in an order that depends on each question alone."""
        return sorted(candidates, key=lambda a: seed_for(self.step.seed, self.key(a.task, *a.of), why))

    def talk(self) -> list[Asked]:
        """A few questions, each of another task, in an order drawn by what they ask."""
        firsts = [self.drawn(self.by_task[task], "said")[0] for task in _TALKED_OF if self.by_task.get(task)]
        return self.drawn(firsts, "order")[: self.step.turns_max]

    def key(self, task: str, *identity: str) -> str:
        return sample_key(self.clip.key, FAMILY, task, *identity)

    def turns(self, key: str, one: Asked) -> tuple[Turn, Turn]:
        asks = one.worded_as or _WORDED_AS.get(one.task, one.task)
        answers = _WORDED_AS.get(one.task, one.task)
        question = self.say(asks, "question", key, one)
        answer = self.say(answers, "answer", key, one)
        return Turn(Role.USER, question, (), (), one.shown), Turn(Role.ASSISTANT, answer, (), (), one.told)

    def say(self, task: str, side: str, key: str, one: Asked) -> str:
        own = f"{task}_{self.kind}"
        path = f"{own if own in self.wording.tables else task}.{side}"
        words = {name: defused(text) for name, text in one.words.items()}
        said = "\n".join(defused(line) for line in one.answer.split("\n"))
        seed = seed_for(self.step.seed, key, side)
        return self.wording.pick(path, seed, **(words | {"kind": self.kind, "answer": said}))

    def sample(self, key: str, task: str, turns: tuple[Turn, ...], lines: Sequence[int]) -> Sample:
        label = Label(tuple(f"frame0.line{i}" for i in lines), 1.0, METHOD, ACCEPTED)
        return sample(self.clip, key, FAMILY, task, self.clip.frames, turns, label)
