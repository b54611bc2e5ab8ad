"""Exports of dialogues about time: what a trainer reads is what the sample said, within the bound that is stated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from published import clip
from published import sample as published_sample

from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.span import Span
from reelmill.sinks.exports.temporal import (
    distime,
    et_instruct,
    from_distime,
    from_et_instruct,
    from_timechat,
    from_vtimellm,
    percent,
    seconds,
    timechat,
    vtimellm,
)

QUESTION = Turn(Role.USER, "What fills <time>?", (0.25, 1.5), (), ())
ANSWER = Turn(Role.ASSISTANT, "It happens at <time> and <time>.", (), (1.0, 3.5, 4.0, 6.0), ())
DENSE = Turn(Role.ASSISTANT, "<time>: a dog runs.\n<time>: a cat leaves.", (), (0.0, 2.04, 2.06, 6.0), ())


def sample(*turns: Turn, duration_s: float = 6.0, **changes: Any) -> Sample:
    made = published_sample(clip(0), 0)
    media = replace(made.media, duration_s=duration_s, span=Span(30.0, 30.0 + duration_s))
    return replace(made, media=media, turns=turns or (QUESTION, ANSWER), task="grounding", **changes)


@st.composite
def a_length_and_turns(draw: st.DrawFn) -> tuple[float, tuple[Turn, ...]]:
    """A duration, and turns with up to three intervals each inside it."""
    duration_s = draw(st.floats(0.5, 600.0))
    turns = []
    for role in (Role.USER, Role.ASSISTANT) * draw(st.integers(1, 3)):
        times = draw(st.lists(st.tuples(st.floats(0.0, 0.99), st.floats(0.001, 1.0)), max_size=3))
        spans = [(a * duration_s, min(duration_s, (a + b * (1 - a)) * duration_s)) for a, b in times]
        flat = tuple(t for s, e in spans if s < e for t in (s, e))
        text = " or ".join(["said", *["<time>"] * (len(flat) // 2)])
        turns.append(Turn(role, text, flat if role is Role.USER else (), flat if role is Role.ASSISTANT else (), ()))
    return duration_s, tuple(turns)


def furthest(one: tuple[Turn, ...], other: tuple[Turn, ...]) -> float:
    """How far apart the times of equal texts are at most."""
    assert [(t.role, t.text) for t in one] == [(t.role, t.text) for t in other]
    pairs = [p for a, b in zip(one, other, strict=True) for p in zip(a.src_s + a.tgt_s, b.src_s + b.tgt_s, strict=True)]
    return max((abs(a - b) for a, b in pairs), default=0.0)


def test_et_instruct_by_placeholders() -> None:
    row = et_instruct(sample(), "a.mp4", "reelmill")
    assert row == {
        "task": "grounding",
        "source": "reelmill",
        "video": "a.mp4",
        "duration": 6.0,
        "src": [0.25, 1.5],
        "tgt": [1.0, 3.5, 4.0, 6.0],
        "conversations": [
            {"from": "human", "value": "<image>\nWhat fills <vid> - <vid>?"},
            {"from": "gpt", "value": "It happens at <vid> - <vid> and <vid> - <vid>."},
        ],
    }
    count = sum(said["value"].count("<vid>") for said in row["conversations"])
    assert count == len(row["src"]) + len(row["tgt"]), "one <vid> for every timestamp"


def test_et_instruct_by_text() -> None:
    row = et_instruct(sample(), "a.mp4", "reelmill", "txt")
    assert row["conversations"][1]["value"] == "It happens at 1.0 - 3.5 seconds and 4.0 - 6.0 seconds."
    with pytest.raises(BadInput, match="vid or txt"):
        et_instruct(sample(), "a.mp4", "reelmill", "json")


def test_distime_has_one_placeholder_for_an_interval() -> None:
    assert distime(sample(), "a.mp4") == {
        "video": "a.mp4",
        "src": [0.25, 1.5],
        "tgt": [1.0, 3.5, 4.0, 6.0],
        "conversations": [
            {"from": "human", "value": "<video>\nWhat fills <TIME_STAMP>?"},
            {"from": "gpt", "value": "It happens at <TIME_STAMP> and <TIME_STAMP>."},
        ],
    }
    silent = sample(Turn(Role.USER, "When?", (), (), ()), Turn(Role.ASSISTANT, "Never.", (), (), ()))
    assert set(distime(silent, "a.mp4")) == {"video", "conversations"}


def test_vtimellm_counts_in_hundredths_and_says_where_the_clip_lies() -> None:
    row = vtimellm(sample(), "a.mp4")
    assert [said["value"] for said in row["conversations"]] == [
        "<video>\nWhat fills 04 to 25?",
        "It happens at 17 to 58 and 67 to 99.",
    ]
    assert row["meta"] == {"split": [30.0, 36.0], "duration": 6.0, "token": {}}
    whole = replace(sample().media, span=None)
    assert vtimellm(replace(sample(), media=whole), "a.mp4")["meta"]["split"] == [0.0, 6.0]


def test_timechat_leads_lines_by_their_time() -> None:
    ask = Turn(Role.USER, "What happens?", (), (), ())
    row = timechat(replace(sample(ask, DENSE), task="dense_caption"), "a.mp4", "reelmill")
    assert row["QA"] == [
        {"q": "What happens?", "a": "0.0 - 2.0 seconds, a dog runs.\n2.1 - 6.0 seconds, a cat leaves."}
    ]
    plain = timechat(sample(), "a.mp4", "reelmill")["QA"]
    assert plain[0]["a"] == "It happens at 1.0 - 3.5 seconds and 4.0 - 6.0 seconds."


@pytest.mark.parametrize("line", ["<time>: {}.", "{} at <time>.", "At <time>, {}.", "{} (<time>)."])
def test_every_form_of_a_line_becomes_timechats(line: str) -> None:
    text = "\n".join(line.format(clause) for clause in ("a dog runs", "a cat leaves"))
    turns = (Turn(Role.USER, "What happens?", (), (), ()), replace(DENSE, text=text))
    row = timechat(replace(sample(*turns), task="dense_caption"), "a.mp4", "reelmill")
    assert row["QA"][0]["a"] == "0.0 - 2.0 seconds, a dog runs.\n2.1 - 6.0 seconds, a cat leaves."


@given(a_length_and_turns())
def test_placeholders_come_back_exactly(made: tuple[float, tuple[Turn, ...]]) -> None:
    one = sample(*made[1], duration_s=made[0])
    assert from_et_instruct(et_instruct(one, "v", "s")) == one.turns
    assert from_distime(distime(one, "v")) == one.turns


@given(a_length_and_turns())
def test_text_comes_back_within_half_a_tenth_of_a_second(made: tuple[float, tuple[Turn, ...]]) -> None:
    one = sample(*made[1], duration_s=made[0])
    assert furthest(from_et_instruct(et_instruct(one, "v", "s", "txt")), one.turns) <= 0.05 + 1e-9
    assert furthest(from_timechat(timechat(one, "v", "s")), one.turns) <= 0.05 + 1e-9


@given(a_length_and_turns())
def test_hundredths_come_back_within_their_last_bin(made: tuple[float, tuple[Turn, ...]]) -> None:
    one = sample(*made[1], duration_s=made[0])
    assert furthest(from_vtimellm(vtimellm(one, "v")), one.turns) <= made[0] / 100 + 1e-9


@given(st.floats(0.0, 1.0), st.floats(0.1, 3600.0))
def test_a_hundredth_is_half_a_bin_off_and_the_last_bin_takes_in_the_rest(share: float, duration_s: float) -> None:
    at_s = share * duration_s
    digits = percent(at_s, duration_s)
    bound = duration_s / 200 if share <= 0.995 else duration_s / 100
    assert len(digits) == 2
    assert abs(seconds(digits, duration_s) - at_s) <= bound + 1e-9 * duration_s


@given(st.integers(0, 99), st.floats(0.1, 3600.0))
def test_digits_stand_for_themselves(number: int, duration_s: float) -> None:
    assert percent(seconds(f"{number:02d}", duration_s), duration_s) == f"{number:02d}"


@pytest.mark.parametrize(
    "export", [lambda s: distime(s, "v"), lambda s: vtimellm(s, "v"), lambda s: timechat(s, "v", "")]
)
def test_a_turn_with_a_placeholder_too_many_is_refused(export: Any) -> None:
    with pytest.raises(BadInput, match="3 placeholders, 2 intervals"):
        export(sample(QUESTION, replace(ANSWER, text="<time> <time> <time>")))
