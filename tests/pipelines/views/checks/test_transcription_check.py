"""The text comparison of LLaVAR's metric, and what the checks of the text view find."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from view_rows import compiled, line, picture, row, shown

from reelmill.pipelines.views.checks.transcription import check_transcription
from reelmill.pipelines.views.checks.words import normalised, occurs
from reelmill.pipelines.views.transcription import CompileTranscription
from reelmill.schemas.tube import Box


@pytest.mark.parametrize(
    ("answer", "text", "found"),
    [
        ("The sign says STOP.", "stop", True),
        ("It is a bookshop", "book", False),  # word boundaries: naive containment says yes
        ("two dogs", "2 Dogs!", True),
        ("the cat", "a cat", True),
        ("It costs 1,200 dollars", "1200", True),
        ("pi is 3.14", "3.14", True),
        ("pi is 3.14", "14", False),
        ("the end.", "end", True),
        ("don't walk", "DONT WALK", True),
        ("don’t walk", "don't walk", True),
        ("the driver's seat", "drivers seat", True),
        ("the driver's seat", "driver", False),
        ("A ten-minute walk", "10 minute walk", True),
        ("eleven", "11", False),  # the published table ends at ten
        ("e-mail", "e mail", True),
        ("RED\nBOOK", "red book", True),
        ("anything", "", False),
        ("anything", "the", False),
        ("anything", "!?", False),
        ("Straße", "STRASSE", True),
        ("ＥＸＩＴ", "exit", True),
        ("東京駅 北口", "東京駅", True),
        ("東京駅", "東京", False),
    ],
)
def test_occurs(answer, text, found):
    assert occurs(answer, text) is found


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_a_text_occurs_where_it_stands_by_itself(before, text, after):
    assert occurs(f"{before}\n{text}\n{after}", text) is bool(normalised(text))


@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing_that_was_settled(text):
    once = normalised(text)
    assert once == " ".join(once.split())
    assert not set(once.split()) & {"a", "an", "the"}


TRUE = (line("EXIT 4", 20, 10, order=0), line("OPEN DAILY", 20, 60, order=1), line("GATE B", 200, 60, order=2))


def made(texts=TRUE):
    (out,) = compiled(
        CompileTranscription(), row(picture(), shown(0), texts=tuple(texts), text_engine="e", text_unsure=0)
    )
    return out["samples"]


def test_right_samples_pass_and_every_kind_of_lie_is_found():
    found = made()
    assert {s.task for s in found} == {"transcription", "read", "locate"}
    for sample in found:
        question, answer = sample.turns
        assert check_transcription(sample, TRUE) == []
        far = (Box(0, 200, 10, 210),)
        lies = {
            "transcription": [replace(answer, text=answer.text.replace("EXIT 4", "EXIT 5"))],
            "read": [replace(answer, text="It says nothing of it.")],
            "locate": [replace(answer, boxes=far), replace(answer, boxes=()), replace(answer, boxes=far * 2)],
        }[sample.task]
        lies += [replace(answer, text=" ")]
        for lie in lies:
            assert check_transcription(replace(sample, turns=(question, lie)), TRUE), (sample.task, lie)
        if question.boxes:
            elsewhere = replace(question, boxes=far)
            assert check_transcription(replace(sample, turns=(elsewhere, answer)), TRUE)
        outside = replace(question, boxes=(Box(300, 10, 400, 30),), text="What is at <box>?")
        assert check_transcription(replace(sample, turns=(outside, answer)), TRUE)


def test_a_text_that_is_there_twice_cannot_be_located():
    (locate, *_) = [s for s in made() if s.task == "locate"]
    quoted = next(t for t in TRUE if t.text in locate.turns[0].text)
    assert "occurs 2 times" in check_transcription(locate, (*TRUE, replace(quoted, order=9)))[0]
