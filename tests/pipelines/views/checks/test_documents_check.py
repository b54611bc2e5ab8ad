"""The checker of document dialogues: it passes what is so, and each seeded defect is caught."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from reelmill.pipelines.views.checks.documents import check_document, truth_faults
from reelmill.schemas.media import Kind, MediaRef
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.tube import Box
from reelmill.schemas.verdict import ACCEPTED

CONTENT: dict[str, Any] = {
    "kind": "receipt",
    "title": "Tea Room",
    "subtitle": "",
    "manner": "",
    "fields": [
        {"name": "Date", "value": "2 May 2024"},
        {"name": "Subtotal", "value": "$6.50"},
        {"name": "Tax", "value": "$0.65"},
        {"name": "Total", "value": "$7.15"},
    ],
    "tables": [
        {
            "rows_are": "item",
            "columns": [{"name": "Qty", "form": "{}"}, {"name": "Amount", "form": "${}"}],
            "rows": [{"name": "Green tea", "cells": ["2", "$4.00"]}, {"name": "Cake", "cells": ["1", "$2.50"]}],
            "absent": ["Soup"],
        }
    ],
    "listings": [{"name": "points", "items": ["Pay the bill", "Leave a note"]}],
    "absent": ["Tip"],
    "blank": ["Phone"],
}
TEXTS = ("Tea Room", "Date", "2 May 2024", "Green tea", "2", "$4.00")
MARKS = ("title", "label.0", "field.0", "row.0", "cell.0.0", "cell.0.1")


def quad(i: int) -> list[float]:
    x0, y0, x1, y1 = box(i).x0_px, box(i).y0_px, box(i).x1_px, box(i).y1_px
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def box(i: int) -> Box:
    return Box(10.0, 10.0 + 30 * i, 110.0, 30.0 + 30 * i)


def record() -> dict[str, Any]:
    words = [{"text": w, "order": i} for i, text in enumerate(TEXTS) for w in text.split()]
    texts = [{"text": t, "quad_px": quad(i), "order": i} for i, t in enumerate(TEXTS)]
    truth = {"texts": texts, "width_px": 200, "height_px": 240}
    return {"truth": truth, "document": {"content": copy.deepcopy(CONTENT), "marks": list(MARKS), "words": words}}


def dialogue(*said: tuple[str, str], asked_at: tuple[Box, ...] = (), told: tuple[Box, ...] = ()) -> Sample:
    turns = []
    for question, answer in said:
        turns += [Turn(Role.USER, question, (), (), asked_at), Turn(Role.ASSISTANT, answer, (), (), told)]
    media = MediaRef("file:///a.png", "d" * 64, Kind.IMAGE, 200, 240, 0.0, None, "")
    return Sample("k", "p", "code_guided", "t", media, (), tuple(turns), (), 1.0, "truth", (), ACCEPTED)


RIGHT = [
    ("What is the Total on this receipt?", "It is $7.15."),
    ("What is the Subtotal?", "Subtotal: $6.50"),
    ("Which Date does the receipt show?", "2 May 2024"),
    ("What is the Amount of Green tea?", "Green tea: $4.00"),
    ("What is the sum of Amount for Green tea and Cake?", "$6.50"),
    ("What is the sum of Qty over every item?", "It comes to 3."),
    ("What is the difference in Amount between Cake and Green tea?", "They differ by $1.50."),
    ("Which has the higher Amount, Cake or Green tea?", "The higher value is that of Green tea."),
    ("Which item has the lowest Qty?", "Cake"),
    ("How many items does the receipt have?", "There are 2."),
    ("What is the Tip on this receipt?", "That is not given."),
    ("What is the Phone on this receipt?", "The receipt does not say."),
    ("What is the Amount of Soup?", "That is not given."),
    ("List the points in order.", "They are: Pay the bill and Leave a note."),
    ("How many points are shown?", "2"),
    ("What stands right after 'Pay the bill'?", "Leave a note"),
]
WRONG = [
    ("What is the Total on this receipt?", "It is $7.25."),
    ("What is the Total on this receipt?", "It is $6.50."),
    ("What is the Total on this receipt?", "It is 7.15."),
    ("What is the Total on this receipt?", "It is $7.15 or $7.16."),
    ("What is the Total on this receipt?", "That is not given."),
    ("What is the Subtotal?", "Subtotal: $7.15"),
    ("Which Date does the receipt show?", "2 May 2025"),
    ("What is the Amount of Green tea?", "Green tea: $2.50"),
    ("What is the Amount of Green tea?", "2"),
    ("What is the Amount of Green tea?", "Cake: $4.00"),
    ("What is the sum of Amount for Green tea and Cake?", "$6.60"),
    ("What is the sum of Amount for Green tea and Cake?", "$6.5"),
    ("What is the sum of Qty over every item?", "2"),
    ("What is the difference in Amount between Cake and Green tea?", "-$1.50"),
    ("Which has the higher Amount, Cake or Green tea?", "Cake"),
    ("Which has the higher Amount, Cake or Green tea?", "Cake or Green tea"),
    ("Which item has the lowest Qty?", "Green tea"),
    ("How many items does the receipt have?", "3"),
    ("What is the Tip on this receipt?", "It is $1.00."),
    ("What is the Tip on this receipt?", "Soup"),
    ("What is the Amount of Soup?", "$4.00"),
    ("List the points in order.", "They are: Leave a note and Pay the bill."),
    ("List the points in order.", "Pay the bill"),
    ("How many points are shown?", "3"),
    ("What stands right after 'Pay the bill'?", "Pay the bill"),
    ("What is the weather like?", "Fine."),
    ("What is the Qty of Cake and Green tea?", "1"),
]


@pytest.mark.parametrize("said", RIGHT, ids=lambda s: s[0])
def test_what_is_so_passes(said: tuple[str, str]) -> None:
    assert check_document(dialogue(said), record()) == []


@pytest.mark.parametrize("said", WRONG, ids=lambda s: " ".join(s))
def test_what_is_not_so_is_caught(said: tuple[str, str]) -> None:
    (fault,) = check_document(dialogue(said), record())
    assert said[0] in fault


def test_a_wrong_turn_in_a_dialogue_is_caught() -> None:
    assert check_document(dialogue(*RIGHT[:4]), record()) == []
    assert len(check_document(dialogue(RIGHT[0], WRONG[6], RIGHT[1]), record())) == 1


def test_a_tie_has_no_answer() -> None:
    tied = record()
    tied["document"]["content"]["tables"][0]["rows"][1]["cells"][0] = "2"
    for question in ("Which item has the lowest Qty?", "Which has the higher Qty, Cake or Green tea?"):
        assert check_document(dialogue((question, "Cake")), tied)


def test_text_and_boxes_are_held_to_the_lines() -> None:
    read = ("What is written in <box>?", "Green tea")
    assert check_document(dialogue(read, asked_at=(box(3),)), record()) == []
    assert check_document(dialogue(read, asked_at=(box(1),)), record())
    assert check_document(dialogue(read, asked_at=(Box(0, 0, 5, 5),)), record())
    locate = ('Where is the text "Green tea"?', "It is at <box>.")
    assert check_document(dialogue(locate, told=(box(3),)), record()) == []
    assert check_document(dialogue(locate, told=(box(4),)), record())
    assert check_document(dialogue(locate, told=(Box(10, 100, 110, 123),)), record())
    assert check_document(dialogue(locate), record()), "a place without a box"
    assert check_document(dialogue(('Where is "Coffee"?', "At <box>."), told=(box(3),)), record())
    twice = record()
    twice["truth"]["texts"][4]["text"] = "Green tea"
    assert check_document(dialogue(locate, told=(box(3),)), twice)


def test_a_transcription_is_whole_and_in_order() -> None:
    asked, boxes = "What is the full text of this receipt?", tuple(box(i) for i in range(6))
    whole = "\n".join(TEXTS)
    assert check_document(dialogue((asked, whole), told=boxes), record()) == []
    assert check_document(dialogue((asked, "It says:\n" + whole), told=boxes), record()) == []
    for wrong in ("\n".join(TEXTS[::-1]), "\n".join(TEXTS[:-1]), whole.replace("4.00", "4.08"), whole + "\nTip\n9"):
        assert check_document(dialogue((asked, wrong), told=boxes), record()), wrong
    assert check_document(dialogue((asked, whole), told=boxes[:-1]), record())
    assert check_document(dialogue((asked, whole), told=boxes[::-1]), record())


def test_malformed_dialogues_are_named() -> None:
    good = dialogue(RIGHT[0])
    assert check_document(dataclasses.replace(good, turns=good.turns[::-1]), record())
    assert check_document(dataclasses.replace(good, turns=()), record())
    assert "no document's truth" in check_document(good, {"truth": {}})[0]


def test_the_sidecar_itself_is_held_to_what_it_says() -> None:
    assert truth_faults(record()) == []


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        (("truth", "texts", 2, "text", "3 May 2024"), "is marked field.0, which says '2 May 2024'"),
        (("document", "marks", 5, "cell.1.1"), "which says '$2.50'"),
        (("document", "words", 3, "text", "9"), "the words of line 2"),
        (("truth", "width_px", 100), "lies outside of the picture"),
        (("document", "content", "fields", 3, "value", "$7.16"), "items make 6.5"),
        (("document", "content", "tables", 0, "rows", 1, "cells", 1, "$2.51"), "items make 6.51"),
    ],
)
def test_a_defect_of_the_truth_is_caught(part: tuple[Any, ...], fault: str) -> None:
    broken = record()
    *path, last, value = part
    place: Any = broken
    for step in path:
        place = place[step]
    place[last] = value
    assert any(fault in said for said in truth_faults(broken)), truth_faults(broken)


def test_shares_that_are_no_whole_are_caught() -> None:
    pie = record()
    pie["document"]["content"] |= {"kind": "chart", "manner": "pie", "fields": []}
    pie["document"]["marks"] = [""] * len(MARKS)
    rows = pie["document"]["content"]["tables"][0]["rows"]
    rows[0]["cells"], rows[1]["cells"] = ["60%"], ["40%"]
    assert truth_faults(pie) == []
    rows[1]["cells"] = ["41%"]
    assert truth_faults(pie) == ["the shares make 101 %"]
