"""Questions about text that two engines read alike: what is asked, what is left open, and the law on true lines."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest
from view_rows import compiled, line, picture, row, shown

from reelmill.annotators.annotator import Annotator
from reelmill.pipelines.ocr_dialogues import recipe
from reelmill.pipelines.scenes.pictures import compose_picture, picture_truth
from reelmill.pipelines.views.checks.texts import check_dialogue, check_quotes, quoted
from reelmill.pipelines.views.dialogues import CompileDialogues
from reelmill.pipelines.views.phrasing import load
from reelmill.pipelines.views.text_facts import TASKS, entities
from reelmill.schemas.errors import NotFound
from reelmill.schemas.sample import Sample
from reelmill.schemas.tube import Box

GATE = line("GATE 24", 20, 10, height=40, order=0)
EXIT = line("EXIT", 20, 80, order=1)
TAXI = line("TAXI STAND", 200, 82, order=2, confidence=0.92)
LINES = (GATE, EXIT, TAXI)
MANY = CompileDialogues(most=99)


def outcome(first, second=None, agreed=None, *, step=MANY, unsure=0, media=None, key="clip") -> dict[str, Any]:
    second = first if second is None else second
    agreed = first if agreed is None else agreed
    texts = {"texts": tuple(first), "second_texts": tuple(second), "agreed_texts": tuple(agreed)}
    media = media or picture()
    frames = shown(0, size=(media.width_px, media.height_px))
    told = {"text_engine": "one", "second_engine": "two", "text_unsure": unsure}
    (out,) = compiled(step, row(media, frames, key=key, **texts, **told))
    return out


def samples(first, *others, task: str = "", accepted: bool = True, **kwargs) -> list[Sample]:
    out = outcome(first, *others, **kwargs)
    assert out["verdict"] is None, out["verdict"]
    return [s for s in out["samples"] if task in ("", s.task) and s.verdict.accepted is accepted]


def test_it_is_an_annotator():
    assert isinstance(CompileDialogues(), Annotator)


def test_what_stands_beside_a_line():
    found = samples(LINES, task="beside")
    asked = {}
    for s in found:
        words = s.turns[0].text.replace(quoted(s.turns[0].text), "")
        (direction,) = [d for d in ("above", "below", "left", "right") if d in words]
        (answer,) = [t.text for t in LINES if t.text in s.turns[1].text]
        asked[quoted(s.turns[0].text), direction] = answer
    assert asked == {
        ("GATE 24", "below"): "EXIT",
        ("EXIT", "above"): "GATE 24",
        ("EXIT", "right"): "TAXI STAND",
        ("TAXI STAND", "left"): "EXIT",
    }
    (below,) = [s for s in found if quoted(s.turns[0].text) == "GATE 24"]
    assert below.turns[1].boxes == (EXIT.box,)
    assert below.evidence == ("frame0.line0", "frame0.line1")
    assert below.label_confidence == 0.97


def test_two_lines_about_as_near_leave_it_open():
    rival = line("MARKET", 40, 84, order=3, width=90)
    (refused,) = [
        s
        for s in samples((GATE, EXIT, rival), task="beside", accepted=False)
        if quoted(s.turns[0].text) == "GATE 24" and "below" in s.turns[0].text
    ]
    assert refused.verdict.reason == "unsettled"
    assert refused.verdict.detail == "1 other line(s) about as near"


def test_a_line_that_only_one_engine_read_is_never_the_answer_and_is_not_looked_through():
    unread = line("EX!T", 20, 50, order=1)
    first = (GATE, unread, dataclasses.replace(EXIT, order=2))
    found = samples(first, (GATE, EXIT), (GATE, dataclasses.replace(EXIT, order=2)), task="beside")
    assert found == []


def test_next_words_and_the_largest_text():
    assert {(quoted(s.turns[0].text), s.evidence) for s in samples(LINES, task="next_word")} == {
        ("GATE", ("frame0.line0",)),
        ("TAXI", ("frame0.line2",)),
    }
    (largest,) = samples(LINES, task="largest")
    assert "GATE 24" in largest.turns[1].text
    even = (dataclasses.replace(GATE, quad_px=line("", 20, 10, height=22).quad_px), EXIT)
    assert samples(even, task="largest") == []
    assert samples(even, task="largest", accepted=False)[0].verdict.detail == "the next is 91% as tall"


def test_a_tilted_line_is_as_tall_as_its_letters_and_not_as_its_box():
    """As in a scene: letters of 16 px in a long line that leans have a box of 30 px; letters of 18 px stand upright."""
    leaning = dataclasses.replace(GATE, quad_px=(18.6, 41.2, 191.0, 26.9, 192.4, 42.8, 20.0, 57.1))
    upright = line("EXIT", 217, 41, width=53, height=18, order=1)
    assert leaning.box.y1_px - leaning.box.y0_px > 1.25 * 18
    assert samples((leaning, upright), task="largest") == []
    (refused,) = samples((leaning, upright), task="largest", accepted=False)
    assert ("EXIT" in refused.turns[1].text, refused.verdict.detail) == (True, "the next is 89% as tall")


def test_counts_and_absence_want_the_engines_to_agree_on_everything():
    counts = {s.task: s.turns[1].text for s in samples(LINES) if s.task.endswith("_count")}
    assert "3" in counts["line_count"]
    assert "5" in counts["word_count"]
    strange = line("NOISE", 200, 200, order=3)
    for case in (
        {"first": LINES, "second": (*LINES, strange)},
        {"first": (*LINES, strange), "second": LINES, "agreed": LINES},
        {"first": LINES, "unsure": 1},
    ):
        out = outcome(case["first"], case.get("second"), case.get("agreed"), unsure=case.get("unsure", 0))
        open_ = {s.task for s in out["samples"] if s.verdict.reason == "unsettled"}
        assert {"line_count", "word_count", "present", "script", "entity"} <= open_
        assert not [s for s in out["samples"] if s.verdict.accepted and s.task in open_ - {"largest", "beside"}]


def test_presence_is_asked_once_each_way_and_never_of_a_part_of_a_word():
    found = samples((line("PARKING", 20, 10), line("OPEN DAILY", 20, 60, order=1)), task="present")
    said = {quoted(s.turns[0].text): s.turns[1].text[:2] for s in found}
    assert sorted(said.values()) == ["No", "Ye"]
    only = CompileDialogues(absent_words=("PARK", "KING", "FERRY"))
    for key in "abcdef":
        asked = samples((line("PARKING", 20, 10),), task="present", step=only, key=key)
        assert {quoted(s.turns[0].text) for s in asked} == {"PARKING", "FERRY"}


def test_a_text_that_cannot_be_read_is_asked_about_and_denied():
    faint = line("rn1l", 20, 150, order=3, confidence=0.52)
    (asked,) = samples((*LINES, faint), LINES, LINES, task="illegible")
    assert asked.turns[0].boxes == (Box(20, 150, 100, 170),)
    assert "not" in asked.turns[1].text
    assert asked.label_confidence == pytest.approx(0.48)
    sure = dataclasses.replace(faint, confidence=0.95)  # the engines disagree, and a person may well read it
    assert samples((*LINES, sure), LINES, LINES, task="illegible") == []
    assert samples((*LINES, faint), task="illegible") == []  # both read it, unsure as they are


def test_refusals_name_the_true_fault():
    assert outcome(())["verdict"]["reason"] == "no_text"
    verdict = outcome(LINES, (line("GA7E", 20, 10),), ())["verdict"]
    assert (verdict["reason"], verdict["detail"]) == ("no_agreed_text", "3 and 1 line(s) by one and two, 0 alike")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Total $1,250.00 due", [("price", "$1,250.00")]),
        ("12.50 EUR", [("price", "12.50 EUR")]),
        ("€5", [("price", "€5")]),
        ("$1.5", []),
        ("30% off", []),
        ("2024-02-29", [("date", "2024-02-29")]),
        ("2023-02-29", []),
        ("31/12/2024", [("date", "31/12/2024")]),
        ("45/13/2024", []),
        ("4 July 2026", [("date", "4 July 2026")]),
        ("+49 30 1234 567", [("phone", "+49 30 1234 567")]),
        ("(555) 010-2030", [("phone", "(555) 010-2030")]),
        ("555-0102", []),
        ("mail info@example.org now", [("email", "info@example.org")]),
        ("info@example", []),
        ("www.example.org/shop.", [("url", "www.example.org/shop")]),
        ("https://a.example.com", [("url", "https://a.example.com")]),
        ("GATE 24", [("number", "24")]),
        ("GATE B7 4", []),
        ("10:30", []),
        ("v1.25", []),
    ],
)
def test_only_strict_forms_are_prices_dates_and_the_like(text, found):
    assert entities(text) == found


def test_one_of_a_kind_is_asked_for_and_two_are_not():
    price, mail = line("$4.50", 20, 10), line("info@example.org", 20, 60, order=1)
    asked = {s.turns[0].text: s.turns[1].text for s in samples((price, mail), task="entity")}
    assert sorted("price" in q for q in asked) == [False, True]
    assert all("$4.50" in a for q, a in asked.items() if "price" in q)
    assert samples((price, line("$5.50", 20, 60, order=1)), task="entity") == []


def test_samples_do_not_depend_on_the_order_of_lines_or_on_neighbours():
    one = outcome(LINES)
    assert one == outcome(tuple(reversed(LINES)))
    again = outcome(LINES, step=CompileDialogues(most=99, seed=1))
    assert {s.key for s in again["samples"] if s.task == "beside"} == {
        s.key for s in one["samples"] if s.task == "beside"
    }


def test_from_true_lines_every_sample_is_right_and_quotes_what_is_there():
    made: Counter[str] = Counter()
    for seed in range(25):
        exact = picture_truth(compose_picture(seed))
        media = picture((exact.width_px, exact.height_px))
        for sample in samples(exact.texts, step=CompileDialogues(), media=media, key=str(seed)):
            assert check_dialogue(sample, exact.texts) == [], sample.turns
            assert check_quotes(sample, exact.texts) == []
            made[sample.task] += 1
    assert made["present"] == 50
    assert set(made) == set(TASKS) - {"illegible"}
    assert min(made.values()) >= 3


def seeded(sample: Sample, text: str = "", boxes: tuple[Box, ...] | None = None) -> Sample:
    """A sample whose answer says something else."""
    question, answer = sample.turns
    changed = dataclasses.replace(answer, text=text or answer.text, boxes=answer.boxes if boxes is None else boxes)
    return dataclasses.replace(sample, turns=(question, changed))


WRONG = {
    "beside": "TAXI STAND",
    "next_word": "EXIT",
    "largest": "EXIT",
    "entity": "42",
    "line_count": "4",
    "word_count": "6",
    "script": "Cyrillic",
}


@pytest.mark.parametrize("task", WRONG)
def test_the_checker_catches_a_wrong_answer(task):
    for sample in samples(LINES, task=task):
        if task == "beside" and "TAXI" in sample.turns[1].text:
            continue
        assert check_dialogue(sample, LINES) == []
        assert check_dialogue(seeded(sample, WRONG[task]), LINES)


def test_the_checker_catches_wrong_boxes_denials_and_forms():
    (largest,) = samples(LINES, task="largest")
    assert check_dialogue(seeded(largest, boxes=(EXIT.box,)), LINES)
    assert check_dialogue(seeded(largest, boxes=(Box(0, 0, 900, 10),)), LINES)
    for sample in samples(LINES, task="present"):
        other = "No." if sample.turns[1].text.startswith("Yes") else "Yes."
        assert check_dialogue(sample, LINES) == []
        assert check_dialogue(seeded(sample, other), LINES)
    faint = line("rn1l", 20, 150, order=3, confidence=0.52)
    (illegible,) = samples((*LINES, faint), LINES, LINES, task="illegible")
    assert check_dialogue(illegible, LINES) == []
    assert "'rn1l' can be read at" in check_dialogue(illegible, (*LINES, faint))[0]
    assert check_dialogue(dataclasses.replace(largest, turns=largest.turns[:1]), LINES)
    assert check_quotes(seeded(largest, 'It says "HOTEL".'), LINES)


def test_every_form_of_words_can_be_drawn():
    phrasings = load("ocr_dialogues")
    for task in TASKS:
        assert len(set(phrasings.options(f"{task}.question"))) >= 8
        for side in ("yes", "no") if task == "present" else ("answer",):
            assert len(set(phrasings.options(f"{task}.{side}"))) >= 4
    known = {"text", "answer", "direction", "kind", "count", "script"}
    words = dict.fromkeys(known, "x")
    for task in TASKS:
        for wordings in phrasings.table(task).values():
            assert all("{" not in wording.format_map(words) for wording in wordings)


def test_words_of_a_collection_come_from_a_file(tmp_path):
    (tmp_path / "words.txt").write_text("MOON\nRIVER\nMOON\n")
    (step,) = recipe(absent_words=str(tmp_path / "words.txt")).steps
    assert step == CompileDialogues(absent_words=("MOON", "RIVER"))
    with pytest.raises(NotFound):
        recipe(absent_words=str(tmp_path / "none.txt"))
