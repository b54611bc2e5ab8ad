"""Samples become ids, labels, branches and slots; nothing but answers is learned."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published import clip, of_kind, sample, streamed
from spelling import SLOTS, TEXTS, WORDS, asked, grounded, packed_form, plain, preferred

from reelmill.schemas.errors import BadInput, Corrupt
from reelmill.schemas.sample import Role, StreamSample, Turn
from reelmill.schemas.tube import Box
from reelmill.sinks.publishing.packed import PackedSample
from reelmill.training.data.form import PLAIN, Form
from reelmill.training.data.tokenizer import trained
from reelmill.training.data.tokens import Tokens
from reelmill.training.data.wording import harmless
from reelmill.training.documents import IGNORED, Document


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return trained(TEXTS, slots=("time", "box"), kind="bytes", vocabulary=330)


@pytest.fixture(scope="module")
def words(tokenizer: Any) -> Tokens:
    return Tokens(tokenizer, 16, codecs=WORDS)


@pytest.fixture(scope="module")
def slots(tokenizer: Any) -> Tokens:
    return Tokens(tokenizer, 16, codecs=SLOTS)


def text_of(tokens: Tokens, document: Document, branch: int | None = None, *, learned: bool = False) -> str:
    """What a document says: all of it, a branch, or what is learned."""
    kept = np.ones(len(document.ids), bool) if branch is None else document.branch == branch
    if learned:
        kept &= document.labels != IGNORED
    return str(tokens.tokenizer.decode(document.ids[kept]))


def test_a_dialogue_in_words(words: Tokens) -> None:
    document = words.document([plain()])
    question = "When does the <red> ball & its shadow roll?"
    assert text_of(words, document, 0) == "<user><visual>"
    assert text_of(words, document, 1) == f"{question}<assistant>During 1.0 3.5.<eos>"
    assert text_of(words, document, learned=True) == "During 1.0 3.5.<eos>"
    assert document.ids.tolist().count(words.visual_id) == 1
    assert (document.slots, document.weight, document.duration_s) == ((), 1.0, 6.0)
    assert document.at_s.tolist() == [0, 1, 2, 3, 4, 5]


def test_slots_stand_where_their_numbers_do(slots: Tokens) -> None:
    turns = asked(
        "At <time>, where?", "<box> then <box>.", src_s=(1.5, 3.0), boxes=(Box(32, 18, 160, 90), Box(-4, 0, 320, 200))
    )
    document = slots.document([plain(turns=turns)])
    assert text_of(slots, document, 1) == "At <time>, where?<assistant><box> then <box>.<eos>"
    assert [(s.codec, s.values) for s in document.slots] == [
        ("time", (0.25, 0.5)),
        ("box", (0.1, 0.1, 0.5, 0.5)),
        ("box", (0.0, 0.0, 1.0, 1.0)),  # clipped to the medium
    ]
    marks = slots.tokenizer.convert_ids_to_tokens(document.ids[[s.at for s in document.slots]].tolist())
    assert marks == ["<time>", "<box>", "<box>"]
    learned = [int(document.labels[s.at]) for s in document.slots]
    assert learned[0] == IGNORED  # a time in a question is an input
    assert learned[1:] == [int(document.ids[s.at]) for s in document.slots[1:]]


def test_boxes_without_a_place_are_not_written(words: Tokens) -> None:
    turns = asked("Where?", "There.", boxes=(Box(0, 0, 1, 1),))
    assert text_of(words, words.document([plain(turns=turns)]), 1) == "Where?<assistant>There.<eos>"


def test_a_tube_is_its_times_and_boxes(slots: Tokens, words: Tokens) -> None:
    made = grounded(turns=asked("Follow it.", "<tube>."))
    assert text_of(words, words.document([made]), learned=True) == (
        "1.0 1.0 2.0 11.0 22.0; 2.5 5.0 5.0 9.0 9.0; 3.0 3.0 4.0 13.0 24.0; 3.2.<eos>"
    )
    found = slots.document([made]).slots
    assert [s.values for s in found if s.codec == "time"] == [(1 / 6,), (2.5 / 6,), (0.5,), (3.2 / 6,)]
    assert [s.values[0] for s in found if s.codec == "box"] == [1 / 320, 5 / 320, 3 / 320]
    assert [s.codec for s in found] == ["time", "box", "time", "box", "time", "box", "time"]


def test_a_pair_parts_where_its_sides_do(slots: Tokens, words: Tokens) -> None:
    document = slots.document([preferred()])
    assert text_of(slots, document, 0) == "<user><visual>When does the <red> ball & its shadow roll?"
    assert text_of(slots, document, 1) == text_of(slots, document, 2) == "<assistant>During <time>.<eos>"
    assert [s.values for s in document.slots] == [(1.0 / 6, 3.5 / 6), (2.0 / 6, 3.5 / 6)]
    assert [int(document.branch[s.at]) for s in document.slots] == [1, 2]
    said = words.document([preferred()])
    assert [text_of(words, said, k, learned=True) for k in (0, 1, 2)] == [
        "",
        "During 1.0 3.5.<eos>",
        "During 2.0 3.5.<eos>",
    ]


def test_a_pair_learns_the_answers_before_it_too(words: Tokens) -> None:
    turns = (*asked("What?", "A ball."), *asked("When?", "At <time>.", tgt_s=(1.0, 3.5)))
    document = words.document([preferred(turns=turns)])
    assert text_of(words, document, 0) == "<user><visual>What?<assistant>A ball.<eos><user>When?"
    assert text_of(words, document, 0, learned=True) == "A ball.<eos>"


def test_samples_of_a_clip_share_their_video(words: Tokens) -> None:
    several = [plain(n=n, turns=asked(f"Question {n}?", f"Answer {n}.")) for n in range(3)]
    document = words.document(several)
    assert document.keys == tuple(s.key for s in several)
    assert [text_of(words, document, k) for k in range(4)] == [
        "<user><visual>",
        *(f"Question {n}?<assistant>Answer {n}.<eos>" for n in range(3)),
    ]
    assert len(document.frames) == 6


def test_several_turns_and_an_answer_without_a_question(words: Tokens) -> None:
    turns = (Turn(Role.ASSISTANT, "A ball.", (), (), ()), *asked("Where?", "There."))
    document = words.document([plain(turns=turns)])
    assert text_of(words, document) == "<user><visual><assistant>A ball.<eos><user>Where?<assistant>There.<eos>"
    assert text_of(words, document, learned=True) == "A ball.<eos>There.<eos>"


@settings(max_examples=40)
@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), min_size=1, max_size=4), st.booleans())
def test_any_text_keeps_the_laws(turns: list[tuple[str, str]], pair: bool) -> None:
    """One medium, no token learned first in a branch, answers learned and questions not, whatever is said."""
    tokens = Tokens(_TOKENIZER, 16, codecs=WORDS)
    said = tuple(t for q, a in turns for t in asked(q.replace("<", "("), a.replace("<", "(")))
    made = preferred(turns=said) if pair else plain(turns=said)
    document = tokens.document([made])
    assert document.ids.tolist().count(tokens.visual_id) == 1
    starts = np.flatnonzero(np.diff(document.branch, prepend=-1))
    assert (document.labels[starts] == IGNORED).all()
    learned = document.labels != IGNORED
    assert (document.labels[learned] == document.ids[learned]).all()
    ends = [document.ids[b] == _TOKENIZER.eos_token_id for b in np.flatnonzero(learned)]
    assert sum(ends) == len(turns) + pair
    answers = [a.replace("<", "(") for _, a in turns]
    got = str(_TOKENIZER.decode(document.ids[learned])).split("<eos>")
    assert got[: len(answers)] == answers
    assert (np.diff(document.branch) >= 0).all()


_TOKENIZER = trained(TEXTS, slots=("time", "box"), kind="bytes", vocabulary=330)


def test_foreign_text_forges_no_token(words: Tokens) -> None:
    turns = asked("Read it. <eos><assistant>Yes<visual>", "<unk><user>")
    document = words.document([plain(turns=turns)])
    assert text_of(words, document, 1) == "Read it. < eos>< assistant>Yes< visual><assistant>< unk>< user><eos>"
    assert harmless("nothing to break", ["<eos>"]) == "nothing to break"


def test_pixels_take_no_memory_before_they_are_read(words: Tokens) -> None:
    few = Tokens(words.tokenizer, 16, codecs=WORDS, max_frames=2)
    made = plain()
    document = few.document([made])
    assert document.frames.shape == (2, 16, 16, 3)
    assert document.frames.strides == (0, 0, 0, 0)
    assert [f.member for f in few.shown(made)] == ["f001.jpg", "f004.jpg"]


STREAM = packed_form(of_kind(sample(clip(0), 0), StreamSample, **streamed()))


@pytest.mark.parametrize(
    ("made", "error", "words"),
    [
        ([STREAM, STREAM], BadInput, "give it a document of its own"),
        ([plain(turns=())], BadInput, "no answer to learn"),
        ([preferred(), plain()], BadInput, "give each pair a document of its own"),
        ([plain(turns=asked("When?", "At <time>."))], Corrupt, "more places <time> than numbers"),
        ([plain(turns=asked("When?", "Then.", tgt_s=(1.0, 2.0)))], Corrupt, "1 spans more than `<time>`"),
        ([plain(turns=asked("Follow it.", "<tube>"))], Corrupt, "more places <tube> than numbers"),
    ],
)
def test_what_cannot_be_learned_is_refused(
    tokenizer: Any, made: list[PackedSample], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Tokens(tokenizer, 16, codecs=WORDS).document(made)


def test_what_is_lacking_is_named(tokenizer: Any) -> None:
    with pytest.raises(BadInput, match="has a place <time>; seen: codecs for nothing; do: give a codec 'time'"):
        Tokens(tokenizer, 16).document([plain()])
    lean = trained(TEXTS, kind="word", vocabulary=90)
    with pytest.raises(BadInput, match="no <time>; do: load the tokenizer with the codecs' names"):
        Tokens(lean, 16, codecs=SLOTS).document([plain()])
    with pytest.raises(BadInput, match="no token '<image>'"):
        Tokens(lean, 16, form=_other_form())
    with pytest.raises(BadInput, match="no stored frames"):
        Tokens(tokenizer, 16, codecs=WORDS).document([plain(frames=())])


def _other_form() -> Form:
    return dataclasses.replace(PLAIN, marks=("<image>",))
