"""Streams as rows: a frame, what is said behind it, and where silence is due."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published import clip, of_kind, sample
from spelling import SLOTS, TEXTS, packed_form

from reelmill.schemas.errors import BadInput
from reelmill.schemas.sample import Role, StreamSample, Turn
from reelmill.sinks.publishing.packed import PackedStream
from reelmill.training.data.form import CHATML, LLAVA_1_5, PLAIN, Form
from reelmill.training.data.live import behind
from reelmill.training.data.tokenizer import trained
from reelmill.training.data.tokens import Tokens
from reelmill.training.data.units import documents_of
from reelmill.training.documents import IGNORED, Document

ASK, SAY = Role.USER, Role.ASSISTANT
SLOT_NAMES = ("time", "box")
TOKENIZER = trained(TEXTS, slots=SLOT_NAMES, kind="bytes", vocabulary=330)
PLAINLY = Tokens(TOKENIZER, 16, codecs=SLOTS)


def stream(*said: tuple[float, Role, str], until_s: float = 6.0, from_s: float = 0.0) -> PackedStream:
    """Turns at their times over frames at 0, 1, ... 5 s."""
    turns = tuple(Turn(role, text, (), (), ()) for _, role, text in said)
    own = {"turns_at_s": tuple(t for t, *_ in said), "watch_from_s": from_s, "watch_until_s": until_s}
    made = packed_form(of_kind(sample(clip(0), 0, turns=turns), StreamSample, **own))
    assert isinstance(made, PackedStream)
    return made


def text_of(document: Document, tokens: Tokens = PLAINLY) -> str:
    """The row, with | where silence is due."""
    words = tokens.tokenizer.convert_ids_to_tokens(document.ids.tolist())
    due = silent(document)
    return str("".join("|" * bool(quiet) + word for quiet, word in zip(due, words, strict=True))).replace("Ġ", " ")


def silent(document: Document) -> np.ndarray:
    return np.asarray((document.labels != IGNORED) & (document.labels != document.ids))


def learned(document: Document, tokens: Tokens = PLAINLY) -> str:
    kept = (document.labels != IGNORED) & ~silent(document)
    return str(tokens.tokenizer.decode(document.ids[kept]))


def test_replies_stand_behind_their_frames_and_all_other_frames_are_silent() -> None:
    document = PLAINLY.document([stream((1.0, ASK, "stop?"), (3.5, SAY, "Now."))])
    v = "<visual>"
    row = f"{v}|{v}|<user>stop?|{v}|{v}|{v}<assistant>Now.<eos>{v}|<user>"
    assert text_of(document) == row
    assert learned(document) == "<assistant>Now.<eos>"
    assert set(document.labels[silent(document)]) == {TOKENIZER.eos_token_id}
    assert set(document.branch.tolist()) == {0}
    assert len(document.frames) == document.ids.tolist().count(PLAINLY.visual_id) == 6


def test_a_question_that_is_answered_at_once_has_no_silence_behind_it() -> None:
    v = "<visual>"
    at_once = stream((0.0, ASK, "a"), (0.0, SAY, "b"), (5.0, SAY, "c"))
    assert text_of(PLAINLY.document([at_once])) == (f"{v}|<user>a<assistant>b<eos>{v}|{v}|{v}|{v}|{v}<assistant>c<eos>")


def test_silence_alone_is_learned_to_the_end() -> None:
    document = PLAINLY.document([stream((0.0, ASK, "never?"))])
    assert text_of(document) == "<visual>|<user>never?" + "|<visual>" * 5 + "|<user>"
    assert learned(document) == ""


def test_replies_behind_one_frame_are_one_reply_and_late_turns_are_left_out() -> None:
    document = PLAINLY.document([stream((2.2, SAY, "a"), (2.9, SAY, "b"), (5.5, SAY, "nobody sees"))])
    assert learned(document) == "<assistant>a b<eos>"
    assert "nobody" not in text_of(document)


def test_frames_are_those_of_the_watch() -> None:
    document = PLAINLY.document([stream((2.0, SAY, "a"), from_s=1.0, until_s=4.0)])
    assert document.at_s.tolist() == [1.0, 2.0, 3.0]
    assert text_of(document) == "<visual>|<visual><assistant>a<eos><visual>|<user>"
    with pytest.raises(BadInput, match="no stored frames"):
        PLAINLY.document([stream((2.0, SAY, "a"), from_s=7.0, until_s=8.0)])


def test_fewer_frames_make_a_turn_wait_and_never_come_early() -> None:
    """Of six frames those at 1 and 4 s are shown."""
    few = replace(PLAINLY, max_frames=2)
    document = few.document([stream((1.5, ASK, "q"), (2.0, SAY, "a"))])
    assert document.at_s.tolist() == [1.0, 4.0]
    assert text_of(document) == "<visual>|<visual>|<user>q<assistant>a<eos>"


@pytest.mark.parametrize(
    ("form", "row"),
    [
        (LLAVA_1_5, "<s><image>|USER: q|<image> ASSISTANT: a</s>"),
        (
            CHATML,
            "<image>|<|im_start|>user\nq<|im_end|>\n|<image><|im_start|>assistant\na<|im_end|>",
        ),
    ],
)
def test_other_forms_say_silence_by_their_end_and_speak_by_something_else(form: Form, row: str) -> None:
    tokenizer = trained(TEXTS, form=form, slots=SLOT_NAMES, kind="bytes", vocabulary=330)
    tokens = Tokens(tokenizer, 16, form=form, codecs=SLOTS, max_frames=2)
    document = tokens.document([stream((0.0, ASK, "q"), (4.0, SAY, "a"))])
    said = text_of(document, tokens).replace("Ċ", "\n")
    assert said == row
    end = tokenizer.convert_tokens_to_ids(form.end)
    assert set(document.labels[silent(document)]) == {end}
    speaks = np.flatnonzero((document.labels != IGNORED) & ~silent(document))[0]
    assert document.ids[speaks] != end


TURNS = st.lists(st.tuples(st.integers(0, 60), st.sampled_from(Role), st.text("ab <>", max_size=6)), max_size=7)


@settings(max_examples=60)
@given(TURNS, st.sampled_from([PLAIN, CHATML]))
def test_any_stream_keeps_the_laws(said: list[tuple[int, Role, str]], form: Form) -> None:
    """A mark a frame; at each frame and question one target: the reply that comes, or silence."""
    turns = sorted(((tenths / 10, role, text) for tenths, role, text in said), key=lambda turn: turn[0])
    tokens = replace(PLAINLY, tokenizer=_TOKENIZERS[form.end], form=form)
    document = tokens.document([stream(*turns)])
    marks = np.flatnonzero(document.ids == tokens.visual_id)
    assert len(marks) == len(document.frames) == 6
    assert (document.labels[marks + 1] != IGNORED).all()
    shown = [turn for turn in turns if turn[0] <= 5.0]
    waiting = [i for i, (_, role, _) in enumerate(shown) if role is ASK]
    replies = learned(document, tokens).count(tokens.form.end)
    # every frame and every question is followed by a reply or by silence
    assert int(silent(document).sum()) + replies == 6 + len(waiting)


_TOKENIZERS: dict[str, Any] = {
    form.end: trained(TEXTS, form=form, slots=SLOT_NAMES, kind="bytes", vocabulary=330) for form in (PLAIN, CHATML)
}


@given(st.lists(st.integers(0, 60), max_size=8), st.lists(st.integers(0, 60), min_size=1, max_size=8, unique=True))
def test_a_turn_waits_for_the_first_frame_that_shows_its_time(turns: list[int], frames: list[int]) -> None:
    at_s, times = sorted(f / 10 for f in frames), sorted(t / 10 for t in turns)
    said = behind(at_s, stream(*((t, SAY, str(i)) for i, t in enumerate(times))))
    placed = {int(turn.text): frame for frame, group in enumerate(said) for turn in group}
    for number, time_s in enumerate(times):
        later = [f for f, seen_s in enumerate(at_s) if seen_s >= time_s]
        assert placed.get(number) == (later[0] if later else None)
    assert [int(turn.text) for group in said for turn in group] == sorted(placed)


def test_streams_of_a_clip_are_documents_of_their_own() -> None:
    several = [replace(stream((0.0, ASK, "q")), key=f"k{n}") for n in range(3)]
    assert [len(of) for of in documents_of(several)] == [1, 1, 1]
    with pytest.raises(BadInput, match="give it a document of its own"):
        PLAINLY.document(several)
