"""Flipped views: an answer that determines its question is turned round exactly; any other is refused with a reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from view_rows import LINK, compiled, picture, video

from reelmill.annotators.annotator import Annotator
from reelmill.pipelines import flipped
from reelmill.pipelines.views.flipped import CompileFlipped, stem
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.media import FrameRef
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.tube import Box
from reelmill.schemas.verdict import ACCEPTED
from reelmill.sinks.verify import sample_findings

BOX = Box(10.0, 10.0, 50.0, 40.0)


def frames(*at_s: float, alike: bool = False) -> tuple[FrameRef, ...]:
    return tuple(FrameRef("clips-x@1", "clip", int(t * 25), t, f"{0 if alike else i:064x}") for i, t in enumerate(at_s))


def asked(text: str, *src_s: float, boxes: tuple[Box, ...] = ()) -> Turn:
    return Turn(Role.USER, text, src_s, (), boxes)


def told(text: str, *tgt_s: float, boxes: tuple[Box, ...] = ()) -> Turn:
    return Turn(Role.ASSISTANT, text, (), tgt_s, boxes)


WHEN = asked("When does the red circle enter the frame?")
AT = told("The red circle enters the frame at <time> and <time>.", 0.4, 0.9, 2.0, 2.5)


def a_sample(*turns: Turn, **changes: Any) -> Sample:
    made = Sample(
        *("original", "clip", "internvid_tg", "grounding", video(), frames(0.0, 2.0, 4.0)),
        *(turns, ("event 1",), 0.7, "rules", (LINK, replace(LINK, step="compile_grounding", dataset="")), ACCEPTED),
    )
    return replace(made, **changes)


def row(sample: Sample) -> dict[str, Any]:
    needs = {c.name for c in CompileFlipped.needs}
    return {n: v for n, v in arrow.plain(sample).items() if n in needs}


def turned(*turns: Turn, frame_order: bool = False, **changes: Any) -> dict[str, Sample]:
    sample = a_sample(*turns, **changes)
    (out,) = compiled(CompileFlipped(frame_order=frame_order), row(sample))
    assert out["verdict"] is None, out["verdict"]
    return {s.task: s for s in out["samples"]}


def test_it_is_an_annotator() -> None:
    assert isinstance(CompileFlipped(), Annotator)


def test_the_answer_is_given_and_the_question_asked() -> None:
    (back,) = turned(WHEN, AT).values()
    given, question = back.turns
    assert (given.role, given.src_s, given.tgt_s) == (Role.USER, AT.tgt_s, ())
    assert AT.text in given.text
    assert "time" in given.text.replace("<time>", "") or "when" in given.text
    assert question == Turn(Role.ASSISTANT, WHEN.text, (), (), ())
    assert back.verdict.accepted
    assert list(sample_findings(back)) == []


def test_a_flipped_sample_is_linked_to_its_sample_and_its_clip() -> None:
    (back,) = turned(WHEN, AT).values()
    assert (back.parent_key, back.evidence, back.family) == ("original", ("original",), "flipped")
    assert {f.key for f in back.frames} == {"clip"}
    assert (back.label_confidence, back.method) == (0.7, "rules")
    assert [p.step for p in back.provenance] == ["cut_clips", "compile_grounding", "compile_flipped"]
    assert back.provenance[-1].source_digest == back.media.digest


INVERTIBLE = {
    "a place": (asked('Where does it say "EXIT"?'), told('"EXIT" is at <box>.', boxes=(BOX,)), "place"),
    "a number": (asked("How many red circles are there?"), told("There are 3 red circles."), "number"),
    "a time of a thing that a box names": (
        asked("When does the dog in <box> move?", boxes=(BOX,)),
        told("The dog in <box> moves at <time>.", 1.0, 2.0, boxes=(BOX,)),
        "time",
    ),
}


@pytest.mark.parametrize("case", INVERTIBLE)
def test_what_the_answer_adds_is_asked_for(case: str) -> None:
    question, answer, word = INVERTIBLE[case]
    (back,) = turned(question, answer).values()
    assert back.verdict.accepted, back.verdict.detail
    assert list(sample_findings(back)) == []
    words = back.turns[0].text.replace(answer.text, "")
    assert word in words or {"place": "where", "time": "when", "number": "number"}[word] in words


NOT_INVERTIBLE = {
    "a time alone": (WHEN, told("At <time>.", 0.4, 0.9), "does not say circle, enter, red"),
    "a denial": (WHEN, told("That does not happen in this video."), "does not say circle, enter, red"),
    "a question about an interval": (
        asked("Which event fills <time>?", 0.4, 0.9),
        told("The red circle enters the frame."),
        "does not say fills",
    ),
    "a question that names nothing": (
        asked("What is in this picture?"),
        told("A dog at <time>.", 0.0, 1.0),
        "names nothing",
    ),
    "several sentences": (WHEN, told(f"{AT.text} It is small.", *AT.tgt_s), "has 2 sentences"),
    "several lines": (WHEN, told("The red circle enters the frame at <time>\n<time>", *AT.tgt_s), "has 2 sentences"),
    "nothing added": (asked("Does the red circle move?"), told("The red circle does move."), "no time, box or number"),
    "two kinds added": (
        asked("When does the dog bark?"),
        told("The dog barks 3 times at <time>.", 1.0, 2.0),
        "adds times, numbers",
    ),
    "words added": (
        asked("When does the dog bark?"),
        told("The brown dog barks at <time>.", 1.0, 2.0),
        "also adds brown",
    ),
    "a box that is not given back": (
        asked("When does the dog in <box> move?", boxes=(BOX,)),
        told("The dog moves at <time>.", 1.0, 2.0),
        "times or boxes that the answer does not give",
    ),
    "another number in the question": (
        asked("When do 2 dogs bark?"),
        told("The dogs bark at <time>.", 1.0, 2.0),
        "does not say 2",
    ),
}


@pytest.mark.parametrize("case", NOT_INVERTIBLE)
def test_an_answer_that_leaves_its_question_open_is_refused(case: str) -> None:
    question, answer, detail = NOT_INVERTIBLE[case]
    verdict = turned(question, answer)["va_to_q"].verdict
    assert verdict.reason == "not_invertible"
    assert detail in verdict.detail


def test_frames_are_put_in_order_by_the_times_they_stand_for() -> None:
    both = turned(WHEN, AT, frame_order=True)
    assert set(both) == {"va_to_q", "qa_to_v"}
    order = both["qa_to_v"]
    assert order.turns[1].tgt_s == (0.0, 2.0, 2.0, 4.0, 4.0, 6.0)
    assert order.turns[1].tgt_s[0::2] == tuple(f.at_s for f in order.frames)
    assert WHEN.text in order.turns[0].text
    assert order.turns[0].src_s == AT.tgt_s
    assert order.verdict.accepted
    assert list(sample_findings(order)) == []


def test_frames_without_an_order_that_can_be_told_are_refused() -> None:
    few = turned(WHEN, AT, frame_order=True, frames=frames(0.0, 2.0))["qa_to_v"]
    assert (few.verdict.reason, few.verdict.detail) == ("too_few_frames", "2 frames, want 3")
    still = turned(WHEN, AT, frame_order=True, frames=frames(0.0, 2.0, 4.0, alike=True))["qa_to_v"]
    assert (still.verdict.reason, still.verdict.detail) == ("frames_alike", "3 of 3 frames are the same picture")
    one = turned(WHEN, AT, frame_order=True, frames=frames(0.0), media=picture())["qa_to_v"]
    assert one.verdict.reason == "too_few_frames"


def test_a_dialogue_of_several_questions_is_refused_as_a_row() -> None:
    (out,) = compiled(CompileFlipped(), row(a_sample(WHEN, AT, WHEN, AT)))
    assert (out["verdict"]["reason"], out["verdict"]["detail"]) == (
        "not_one_question",
        "4 turns, want a question and an answer",
    )


def test_endings_are_taken_off_and_short_words_kept() -> None:
    assert {stem(w) for w in ("leave", "leaves", "leaving")} == {"leav"}
    assert {stem(w) for w in ("stop", "stops", "stopping", "stopped")} == {"stop"}
    assert [stem(w) for w in ("red", "is", "12", "ring")] == ["red", "is", "12", "ring"]


def test_the_recipe_names_the_view_that_it_turns() -> None:
    made = flipped.recipe()
    assert (made.name, made.source.upstreams[0].name) == ("flipped_internvid_tg", "internvid_tg")
    true = flipped.recipe("internvid_tg", {"evidence": "truth"}, frame_order=True)
    assert true.name == "flipped_internvid_tg_truth"
    assert true.fingerprint() != made.fingerprint()


@pytest.mark.parametrize("of", ["nothing", "media", "mix", "_run", "st_align", "../up", 3])
def test_what_makes_no_plain_dialogues_is_refused(of: Any) -> None:
    with pytest.raises(BadInput, match="of="):
        flipped.recipe(of)
