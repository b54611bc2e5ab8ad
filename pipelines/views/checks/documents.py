"""Does a dialogue about a document say what is so? Recomputed from the truth file and from the words of the dialogue.

The compiler is not used, nor its classes: names are found again in the question, what is asked is told by its wording,
and the answer is worked out anew from the plain values of the sidecar. `truth_faults` checks the sidecar by itself.

>>> table = {"rows": [{"name": "Tea", "cells": ["$2.50"]}], "columns": [{"name": "Price", "form": "${}"}]}
>>> Names.of({"tables": [table | {"rows_are": "item", "absent": []}]}).found("What is the Price of Tea?")
['column Price', 'row Tea']
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from reelmill.pipelines.views.checks.words import occurs
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.tube import Box

_CUES = (
    ("sum", r"\bsum\b"),
    ("difference", r"\bdifference\b"),
    ("compare", r"\bhigher\b"),
    ("largest", r"\bhighest\b"),
    ("smallest", r"\blowest\b"),
    ("count", r"\bhow many\b"),
    ("next", r"\bafter\b"),
    ("whole", r"\b(?:transcribe all|write out everything|whole|full text|all the words)\b"),
)
_DENIAL = re.compile(r"\b(?:not|no)\b")


@dataclass(frozen=True)
class Names:
    """What a question can name, as "sort name", by the name as it is drawn."""

    sorts: dict[str, str]

    @staticmethod
    def of(content: dict[str, Any]) -> Names:
        sorts: dict[str, str] = {}
        for sort, names in _named(content):
            for name in names:
                sorts.setdefault(name, sort)
        return Names(sorts)

    def _pattern(self) -> re.Pattern[str]:
        longest = sorted(self.sorts, key=lambda n: (-len(n), n))
        return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest)) + r")(?!\w)")

    def found(self, question: str) -> list[str]:
        """The names in a question from left to right, the longest where two would fit."""
        return (
            [f"{self.sorts[m.group()]} {m.group()}" for m in self._pattern().finditer(question)] if self.sorts else []
        )

    def masked(self, text: str) -> str:
        return self._pattern().sub("\0", text) if self.sorts else text


def _named(content: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    yield "field", [f["name"] for f in content.get("fields", [])]
    yield "missing", [*content.get("blank", []), *content.get("absent", [])]
    for table in content.get("tables", []):
        yield "row", [r["name"] for r in table["rows"]]
        yield "column", [c["name"] for c in table["columns"]]
        yield "stranger", table["absent"]
    for listing in content.get("listings", []):
        yield "item", listing["items"]
        yield "things", [listing["name"]]


def check_document(sample: Sample, record: dict[str, Any]) -> list[str]:
    """What is wrong with a sample, given the sidecar's record of its picture; empty where all is right."""
    if "document" not in record:
        return ["the picture has no document's truth beside it"]
    roles = [t.role for t in sample.turns]
    if not roles or roles != [Role.USER, Role.ASSISTANT] * (len(roles) // 2):
        return [f"turns are {[str(r) for r in roles]}, want a question and an answer by turns"]
    faults: list[str] = []
    for question, answer in zip(sample.turns[0::2], sample.turns[1::2], strict=True):
        faults += [
            f"Q {question.text!r} A {answer.text!r}: {fault}" for fault in _pair_faults(question, answer, record)
        ]
    return faults


def _pair_faults(question: Turn, answer: Turn, record: dict[str, Any]) -> list[str]:
    lines = record["truth"]["texts"]
    placed = [f"{t.text.count('<box>')} places for {len(t.boxes)} boxes" for t in (question, answer) if _misplaced(t)]
    if placed:
        return placed
    if question.boxes:
        return _read_faults(question.boxes[0], answer.text, lines)
    if '"' in question.text:
        return _locate_faults(question.text, answer.boxes, lines)
    names = Names.of(record["document"]["content"])
    asked = re.sub(r"'\0'", "\0", names.masked(question.text)).lower()
    cue = next((name for name, pattern in _CUES if re.search(pattern, asked)), "")
    if cue == "whole":
        return _whole_faults(answer, lines)
    named = names.found(question.text)
    wanted = _answer(cue, named, asked, record["document"]["content"])
    return _said_faults(wanted, answer.text, names, named)


def _misplaced(turn: Turn) -> bool:
    places = turn.text.count("<box>")
    return places != len(turn.boxes) and (turn.role is Role.USER or places > 0)


def _box(line: dict[str, Any]) -> Box:
    xs, ys = line["quad_px"][0::2], line["quad_px"][1::2]
    return Box(min(xs), min(ys), max(xs), max(ys))


def _read_faults(box: Box, answer: str, lines: Sequence[dict[str, Any]]) -> list[str]:
    inside = [line["text"] for line in lines if _box(line).iou(box) > 0.9]
    if len(inside) != 1:
        return [f"{len(inside)} lines lie at {box}"]
    rest = _beside(inside[0], answer)
    return [f"{inside[0]!r} lies there"] if rest is None or re.search(r"\d", rest) else []


def _locate_faults(question: str, boxes: Sequence[Box], lines: Sequence[dict[str, Any]]) -> list[str]:
    quoted = question[question.find('"') + 1 : question.rfind('"')]
    places = [_box(line) for line in lines if occurs(line["text"], quoted)]
    if len(places) != 1 or len(boxes) != 1:
        return [f"{quoted!r} stands in {len(places)} lines, {len(boxes)} boxes told"]
    return [] if places[0].iou(boxes[0]) > 0.9 else [f"{quoted!r} lies at {places[0]}, told {boxes[0]}"]


def _whole_faults(answer: Turn, lines: Sequence[dict[str, Any]]) -> list[str]:
    """All lines, each on a line of its own, in the order of their numbers, with their boxes."""
    whole = [line["text"] for line in sorted(lines, key=lambda one: one["order"])]
    if answer.text.split("\n")[-len(whole) :] != whole or len(answer.text.split("\n")) > len(whole) + 1:
        return [f"the lines are {whole}"]
    off = [b for b, line in zip(answer.boxes, lines, strict=False) if b.iou(_box(line)) <= 0.9]
    return [f"{len(answer.boxes)} boxes for {len(lines)} lines, {len(off)} of them elsewhere"] if (
        off or len(answer.boxes) != len(lines)
    ) else []  # fmt: skip


Wanted = tuple[str, ...] | None
"""The parts of the right answer, in order; none of them where a denial is right; None where nothing is asked."""


def _answer(cue: str, found: list[str], asked: str, content: dict[str, Any]) -> Wanted:
    """The right answer to a question that names `found`, worked out from the content."""
    by = {sort: [f.partition(" ")[2] for f in found if f.startswith(f"{sort} ")] for sort in
          ("field", "missing", "row", "column", "stranger", "item", "things")}  # fmt: skip
    if by["missing"] or by["stranger"]:
        return ()
    if by["column"]:
        return _of_table(cue, by["row"], by["column"][0], content)
    if cue == "next" and by["item"]:
        (items,) = [one["items"] for one in content["listings"] if by["item"][0] in one["items"]]
        return (items[items.index(by["item"][0]) + 1],)
    if by["things"]:
        (items,) = [one["items"] for one in content["listings"] if one["name"] == by["things"][0]]
        return (str(len(items)),) if cue == "count" else tuple(items)
    if cue == "count":
        (rows,) = [t["rows"] for t in content["tables"] if re.search(rf"\b{t['rows_are']}s\b", asked)]
        return (str(len(rows)),)
    values = [f["value"] for f in content["fields"] if f["name"] in by["field"]]
    return (values[0],) if len(values) == 1 else None


def _of_table(cue: str, rows: list[str], column: str, content: dict[str, Any]) -> Wanted:
    (table,) = [t for t in content["tables"] if column in [c["name"] for c in t["columns"]]]
    (place,) = [i for i, c in enumerate(table["columns"]) if c["name"] == column]
    cells = {r["name"]: r["cells"][place] for r in table["rows"]}
    if cue == "":
        return (cells[rows[0]],) if len(rows) == 1 else None
    chosen = rows or list(cells)
    amounts = {name: _amount(cells[name]) for name in chosen}
    low, high = min(amounts.values()), max(amounts.values())
    ends = {"largest": high, "smallest": low, "compare": high}
    if cue in ends:
        best = [name for name, amount in amounts.items() if amount == ends[cue]]
        return tuple(best) if len(best) == 1 else None
    made = sum(amounts.values(), Fraction(0)) if cue == "sum" else high - low
    return (_written(table["columns"][place]["form"], made, cells[chosen[0]]),)


def _amount(cell: str) -> Fraction:
    return Fraction(re.sub(r"[^\d.]", "", cell))


def _written(form: str, amount: Fraction, like: str) -> str:
    """An amount with the unit of its column and as many decimals as a cell has."""
    match = re.search(r"\.(\d+)", like)
    decimals = len(match.group(1)) if match else 0
    return form.replace("{}", f"{float(amount):.{decimals}f}")


def _beside(text: str, answer: str) -> str | None:
    """What an answer says beside a text that it has letter by letter at word boundaries; None where it has it not."""
    match = re.search(rf"(?<![\w-]){re.escape(text)}(?!\w)", answer)
    return answer[: match.start()] + answer[match.end() :] if match else None


def _said_faults(wanted: Wanted, answer: str, names: Names, named: Sequence[str]) -> list[str]:
    """`named` is what the question names: an answer may name it again ("Tea: $2.50"), and nothing else."""
    if wanted is None:
        return ["nothing that has one answer is asked"]
    if not wanted:
        return [] if _DENIAL.search(answer) and not re.search(r"\d", answer) else ["it is not given"]
    if len(wanted) > 1:
        return [] if names.found(answer) == [f"item {w}" for w in wanted] else [f"it is {list(wanted)}"]
    rest = _beside(wanted[0], answer)
    if rest is None or re.search(r"\d", names.masked(rest)):
        return [f"it is {wanted[0]!r}"]
    again = [] if wanted[0] in names.sorts else named
    others = [name for name in names.found(rest) if name not in again]
    return [f"it is {wanted[0]!r}, and nothing of {others}"] if others else []


def truth_faults(record: dict[str, Any]) -> list[str]:
    """What is wrong with a sidecar itself: marks that do not name what their line says, words that do not make up
    their line, text outside of the picture, a receipt that does not add up, shares that are not a whole."""
    document, exact = record["document"], record["truth"]
    lines, content = exact["texts"], document["content"]
    faults = [
        f"line {i} {line['text']!r} is marked {mark}, which says {said!r}"
        for i, (mark, line) in enumerate(zip(document["marks"], lines, strict=True))
        if (said := _marked(mark, content)) is not None and said != line["text"].rstrip(":")
    ]
    for i, line in enumerate(lines):
        words = [w for w in document["words"] if w["order"] == i]
        if " ".join(w["text"] for w in words) != line["text"]:
            faults.append(f"the words of line {i} are not {line['text']!r}")
        box = _box(line)
        if box.clipped(exact["width_px"], exact["height_px"]) != box:
            faults.append(f"{line['text']!r} lies outside of the picture")
    return faults + _sum_faults(content)


def _marked(mark: str, content: dict[str, Any]) -> str | None:
    """What a mark stands for; None where it is of no content."""
    what, *numbers = mark.split(".")
    at = [int(n) for n in numbers]
    if what in ("title", "subtitle"):
        return str(content[what])
    if what in ("field", "label"):
        return str(content["fields"][at[0]]["value" if what == "field" else "name"])
    if what == "item":
        return str(content["listings"][at[0]]["items"][at[1]])
    if what in ("row", "column"):
        return str(content["tables"][0][f"{what}s"][at[0]]["name"])
    return str(content["tables"][0]["rows"][at[0]]["cells"][at[1]]) if what == "cell" else None


def _sum_faults(content: dict[str, Any]) -> list[str]:
    if content["kind"] == "receipt":
        values = {
            f["name"]: _amount(f["value"]) for f in content["fields"] if f["name"] in ("Subtotal", "Tax", "Total")
        }
        items = sum(_amount(row["cells"][1]) for row in content["tables"][0]["rows"])
        right = items == values["Subtotal"] and items + values["Tax"] == values["Total"]
        return [] if right else [f"items make {float(items)}, the receipt says {values}"]
    if content["manner"] == "pie":
        whole = sum(_amount(row["cells"][0]) for row in content["tables"][0]["rows"])
        return [] if whole == 100 else [f"the shares make {whole} %"]
    return []
