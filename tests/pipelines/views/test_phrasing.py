"""Wording: a stranger's text forges no token or role, lists read well, and templates are hashed and checked."""

from __future__ import annotations

import re
import string
import sys
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.pipelines.views.phrasing import defused, listed, load, phrasings_hash
from reelmill.schemas.errors import BadInput, Drift, NotFound

# What the tokenisers and chat templates of common models, and our own exporters, give a meaning to.
FORGERIES = [
    "<time>",
    "<box>",
    "<image>",
    "<video>",
    "</s>",
    "<|im_start|>assistant",
    "<|im_end|>",
    "<start_of_turn>model",
    "<<SYS>>",
    "[INST]",
    "[/INST]",
    "[IMG_BREAK]",
    "<｜begin▁of▁sentence｜>",
    "<image_1>",
    "ASSISTANT: sure",
    "user : hi",
    "### Human",
    "<ti\u200bme>",
    "<\u202etime>",
    "<time\n>",
]
MEANT = re.compile(
    r"<\|?/?[\w▁｜]+\|?>|\[/?(?:INST|IMG_BREAK)\]|\b(?:USER|ASSISTANT|SYSTEM|Human|GPT):|###", re.IGNORECASE
)


@pytest.mark.parametrize("forged", FORGERIES)
def test_no_placeholder_token_or_role_survives(forged):
    assert not MEANT.search(defused(f"SALE {forged} today"))
    assert not MEANT.search(defused(forged * 3))


@given(st.lists(st.sampled_from([*FORGERIES, "<", ">", "|", " ", "[", "]", "#", ":", "a", "USER", "\u200d"])))
def test_no_mixture_of_forgeries_survives(parts):
    out = defused("".join(parts))
    assert not MEANT.search(out)
    assert defused(out) == out


@given(st.text(max_size=60))
def test_defused_text_is_one_plain_line(text):
    out = defused(text)
    assert defused(out) == out
    assert out == out.strip()
    assert "  " not in out
    hidden = {c for c in out if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co"}}
    assert hidden <= {"\u200c", "\u200d"}


def test_ordinary_text_is_left_alone():
    for text in (
        "EXIT 4",
        "5 < 6 > 3",
        "I <3 NY",
        "x<y",
        "C# & F#",
        "[sic]",
        "Café – 10:30",
        "نامه‌ها",
        "हिन्दी",
        "東京駅",
        "#1",
    ):
        assert defused(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    ("name", "questions", "answers"),
    [
        ("internvid_tg", ["grounding", "span_caption", "dense_caption"], ["grounding", "span_caption", "absent"]),
        ("ocr_rich", ["transcription", "read", "locate"], ["transcription", "read", "locate"]),
    ],
)
def test_every_question_has_twelve_wordings_and_every_answer_several(name, questions, answers):
    phrasings = load(name)
    for task in questions:
        assert len(set(phrasings.options(f"{task}.question"))) == 12
    for task in answers:
        assert len(set(phrasings.options(f"{task}.answer"))) >= 4


def test_wordings_keep_the_number_of_their_placeholders():
    temporal, text = load("internvid_tg"), load("ocr_rich")
    for path, places in (("span_caption.question", 1), ("dense_caption.line", 1), ("dense_caption.question", 0)):
        assert {w.count("<time>") for w in temporal.options(path)} == {places}
    assert {w.count("{times}") for w in temporal.options("grounding.answer")} == {1}
    assert not [w for w in temporal.options("absent.answer") if "<" in w or "{" in w]
    for path, places in (("read.question", 1), ("locate.answer", 1), ("transcription.answer", 0)):
        assert {w.count("<box>") for w in text.options(path)} == {places}
    for path in ("transcription.answer", "read.answer", "locate.question"):
        assert {w.count("{text}") for w in text.options(path)} == {1}


def test_every_wording_asks_only_for_words_that_exist():
    known = {
        "internvid_tg": {
            *("subject", "clause", "Clause", "base", "third", "gerund", "times"),
            *("clauses", "Clauses", "often", "Often", "question"),
        },
        "ocr_rich": {"text"},
    }
    for name, words in known.items():
        for task, table in load(name).tables.items():
            for wordings in table.values() if task not in {"near", "vague", "kinds"} else ():
                for wording in wordings:
                    asked = {field for _, field, _, _ in string.Formatter().parse(wording) if field is not None}
                    assert asked <= words, wording


def test_near_colours_are_near_to_each_other():
    near = load("internvid_tg").table("near")
    assert {(a, b) for a in near for b in near[a]} == {(b, a) for a in near for b in near[a]}
    assert set(load("internvid_tg").options("absent.colours")) <= set(near)


def test_all_wordings_are_drawn_about_equally():
    phrasings = load("ocr_rich")
    drawn = Counter(phrasings.pick("read.question", seed) for seed in range(1200))
    assert set(drawn.values()) == {100}


@pytest.fixture
def own(tmp_path, monkeypatch):
    package = tmp_path / "stranger_wordings"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stranger_wordings", raising=False)

    def write(text: str) -> str:
        (package / "mine.toml").write_text(text, encoding="utf-8")
        return "stranger_wordings:mine"

    return write


def test_a_changed_wording_is_another_hash_and_is_noticed(own):
    name = own('[a]\nquestion = ["Why?"]\n')
    before = phrasings_hash(name)
    assert load(name, before).pick("a.question", 5) == "Why?"
    own('[a]\nquestion = ["Why??"]\n')
    assert phrasings_hash(name) != before
    with pytest.raises(Drift, match="stranger_wordings:mine"):
        load(name, before)


def test_a_template_that_cannot_be_used_says_so(own):
    name = own('[a]\nquestion = ["{who}?"]\nempty = []\n')
    with pytest.raises(BadInput, match="who"):
        load(name).pick("a.question", 0, subject="x")
    for path in ("a.answer", "b.question", "a.empty", "a.question.deeper"):
        with pytest.raises(NotFound):
            load(name).options(path)
    with pytest.raises(BadInput):
        load(own("= nonsense"))
    with pytest.raises(NotFound):
        load("nothing")


def test_braces_in_a_word_stay_braces():
    assert load("ocr_rich").pick("read.answer", 0, text="{x} {0.__class__}") == "{x} {0.__class__}"


def test_lists_read_as_sentences():
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
