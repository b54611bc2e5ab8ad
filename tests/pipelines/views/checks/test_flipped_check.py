"""The check of flipped dialogues: right ones pass, and each way of being wrong is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from view_rows import compiled, event, row, shown, video

from reelmill.pipelines.views.checks.flipped import check_flipped
from reelmill.pipelines.views.flipped import CompileFlipped
from reelmill.pipelines.views.grounding import CompileGrounding
from reelmill.schemas import arrow
from reelmill.schemas.sample import Sample, Turn

RED, BLUE = "the red circle", "the blue square"
EVENTS = (event(RED, "enters", 0.4, 0.9), event(RED, "moves", 0.4, 2.0), event(BLUE, "moves", 0.0, 6.0))
SEEDS = range(12)
"""Wordings are drawn by the seed, and only those that repeat the clause can be turned round."""


def flipped(seed: int, *, frame_order: bool = False) -> list[Sample]:
    """What comes of every dialogue about the events, turned round."""
    given = row(video(), shown(0, 50, 100), key="clip", still=False, events=EVENTS)
    (out,) = compiled(CompileGrounding(seed=seed), given)
    plain = [arrow.plain(s) for s in out["samples"] if s.verdict.accepted]
    needs = {c.name for c in CompileFlipped.needs}
    rows = [{name: value for name, value in one.items() if name in needs} for one in plain]
    made = compiled(CompileFlipped(seed=seed, frame_order=frame_order), *rows)
    return [s for one in made for s in one["samples"] or () if s.verdict.accepted]


@pytest.fixture(scope="module")
def asking() -> Sample:
    """One that asks when the red circle enters."""
    found = (s for seed in SEEDS for s in flipped(seed) if "red circle enters" in s.turns[0].text)
    return next(found)


def changed(sample: Sample, given: Turn | None = None, question: Turn | None = None) -> Sample:
    return replace(sample, turns=(given or sample.turns[0], question or sample.turns[1]))


def test_what_the_view_turns_round_is_right() -> None:
    made = [s for seed in SEEDS for s in flipped(seed, frame_order=True)]
    assert {s.task for s in made} == {"va_to_q", "qa_to_v"}
    assert [fault for s in made for fault in check_flipped(s, EVENTS)] == []


def test_an_answer_with_another_time_is_wrong(asking: Sample) -> None:
    start_s, end_s = asking.turns[0].src_s
    late = replace(asking.turns[0], src_s=(start_s + 0.3, end_s + 0.3))
    (fault,) = check_flipped(changed(asking, given=late), EVENTS)
    assert "happens at" in fault
    assert check_flipped(changed(asking, given=late), EVENTS, slack_s=0.31) == []


@pytest.mark.parametrize("about", ["the blue square move", "the red circle move"])
def test_a_question_about_something_else_is_wrong(asking: Sample, about: str) -> None:
    other = replace(asking.turns[1], text=f"When does {about}?")
    assert any("the question about" in fault for fault in check_flipped(changed(asking, question=other), EVENTS))


def test_a_prompt_without_an_answer_or_without_what_is_wanted_is_wrong(asking: Sample) -> None:
    bare = replace(asking.turns[0], text=asking.turns[0].text.replace('"', ""))
    assert "no answer is quoted" in check_flipped(changed(asking, given=bare), EVENTS)[0]
    quoted = asking.turns[0].text[asking.turns[0].text.index('"') : asking.turns[0].text.rindex('"') + 1]
    silent = replace(asking.turns[0], text=f"{quoted} What was asked?")
    assert any("what is wanted" in fault for fault in check_flipped(changed(asking, given=silent), EVENTS))


def test_frames_in_another_order_are_wrong() -> None:
    order = next(s for s in flipped(0, frame_order=True) if s.task == "qa_to_v")
    slots = order.turns[1].tgt_s
    swapped = replace(order.turns[1], tgt_s=(*slots[2:4], *slots[:2], *slots[4:]))
    assert check_flipped(changed(order, question=swapped), EVENTS)
