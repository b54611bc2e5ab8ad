"""Tokenizers of our own and of others write the same as the chat template that they carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published import stocked
from spelling import SLOTS, TEXTS, WORDS, asked, plain

from reelmill.schemas.errors import BadInput, NotFound
from reelmill.sinks.pack import pack
from reelmill.training.data.form import LLAVA_1_5, PLAIN, Form
from reelmill.training.data.shards import opened
from reelmill.training.data.tokenizer import grow, held, loaded, texts_of, trained, unread
from reelmill.training.data.tokens import Tokens

TURNS = (*asked("When does the ball roll?", "During 1.0 3.5."), *asked("Where is it?", "It is there."))
MESSAGES = [
    {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "When does the ball roll?"}]},
    {"role": "assistant", "content": "During 1.0 3.5."},
    {"role": "user", "content": "Where is it?"},
    {"role": "assistant", "content": [{"type": "text", "text": "It is there."}]},
]


def like_llama(folder: Path) -> Path:
    """A tokenizer laid out as LLaMA's: words with the space before them as a sign, bytes for what is unknown."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    made.decoder = decoders.Metaspace()
    bytes_of = [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<unk>", "<s>", "</s>", *bytes_of], show_progress=False
    )
    made.train_from_iterator([*TEXTS, "USER: ASSISTANT: "] * 3, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def tokenizers(kind: str, tmp_path: Path) -> tuple[Any, Form]:
    if kind == "llama":
        return loaded(like_llama(tmp_path), LLAVA_1_5), LLAVA_1_5
    trained(TEXTS, kind=kind, vocabulary=330).save_pretrained(tmp_path)
    return loaded(tmp_path, PLAIN), PLAIN


@pytest.mark.parametrize("kind", ["word", "bytes", "llama"])
def test_the_chat_template_writes_what_we_write(kind: str, tmp_path: Path) -> None:
    tokenizer, form = tokenizers(kind, tmp_path)
    document = Tokens(tokenizer, 16, form).document([plain(turns=TURNS)])
    said = tokenizer.apply_chat_template(MESSAGES, return_dict=True, return_assistant_tokens_mask=True)
    assert said["input_ids"] == document.ids.tolist()
    assert len(set(said["input_ids"])) > 20  # and not all of it unknown
    if kind != "llama":  # there the space before an answer belongs to its first token, which the mask leaves out
        assert said["assistant_masks"] == (document.labels >= 0).astype(int).tolist()


def test_llava_is_spelled_as_its_paper_says(tmp_path: Path) -> None:
    tokenizer, form = tokenizers("llama", tmp_path)
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False)
    assert text == (
        "<s>USER: <image>\nWhen does the ball roll? ASSISTANT: During 1.0 3.5.</s>"
        "USER: Where is it? ASSISTANT: It is there.</s>"
    )
    document = Tokens(tokenizer, 16, form).document([plain(turns=TURNS)])
    learned = tokenizer.convert_ids_to_tokens(document.ids[document.labels >= 0].tolist())
    assert "".join(learned) == "▁During▁1.0▁3.5.</s>▁It▁is▁there.</s>"


@pytest.mark.parametrize("kind", ["word", "bytes"])
def test_a_prompt_is_the_beginning_of_what_was_learned(kind: str, tmp_path: Path) -> None:
    tokenizer, form = tokenizers(kind, tmp_path)
    ids = Tokens(tokenizer, 16, form).document([plain(turns=TURNS)]).ids.tolist()
    prompt = tokenizer.apply_chat_template(MESSAGES[:1], add_generation_prompt=True, return_dict=False)
    assert ids[: len(prompt)] == prompt


@pytest.mark.parametrize("kind", ["word", "bytes"])
@settings(max_examples=40)
@given(text=st.text(st.sampled_from("when is it 0123.,;?\n<>  é"), max_size=30))
def test_text_comes_back_as_it_was(kind: str, text: str) -> None:
    tokenizer = _KNOWS[kind]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if tokenizer.unk_token_id not in ids:
        assert tokenizer.decode(ids) == text


_KNOWS = {k: trained([*TEXTS, "when it is 0123,;?\n<>é"], kind=k, vocabulary=330) for k in ("word", "bytes")}


def test_bytes_know_everything_and_words_say_what_they_do_not() -> None:
    assert _KNOWS["bytes"].decode(_KNOWS["bytes"]("日本語 🙂", add_special_tokens=False)["input_ids"]) == "日本語 🙂"
    assert _KNOWS["word"]("zebra", add_special_tokens=False)["input_ids"] == [_KNOWS["word"].unk_token_id]


def test_the_vocabulary_is_capped() -> None:
    assert len(trained(TEXTS, vocabulary=20)) == 20
    assert len(trained(TEXTS, kind="bytes", vocabulary=300)) == 300
    for kind, vocabulary in (("bytes", 200), ("word", 4), ("unigram", 900)):
        with pytest.raises(BadInput, match="use kind 'word' or 'bytes' and a vocabulary of"):
            trained(TEXTS, kind=kind, vocabulary=vocabulary)


def test_texts_are_those_of_the_shards(tmp_path: Path) -> None:
    store, view = stocked(tmp_path)
    pack(store, view, val_share=0.0)
    split = opened(view.folder)
    texts = list(texts_of(split, WORDS))
    assert texts[:2] == ["When does the <red> ball & its shadow roll?", "During 1.0 3.5."]
    assert len(texts) == 2 * len(split)
    assert set(texts_of(split, SLOTS)) == {texts[0], "During ."}


def test_what_a_tokenizer_lacks_is_added_once(tmp_path: Path) -> None:
    folder = like_llama(tmp_path / "one")
    tokenizer = loaded(folder, LLAVA_1_5, ("time",))
    assert tokenizer.convert_tokens_to_ids(["<image>", "<time>"]) == [len(tokenizer) - 2, len(tokenizer) - 1]
    tokenizer.save_pretrained(tmp_path / "two")
    assert len(loaded(tmp_path / "two", LLAVA_1_5, ("time",))) == len(tokenizer)


def test_a_tokenizer_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"tokenizer '.*' not found") as caught:
        loaded(tmp_path / "nothing", PLAIN)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    with pytest.raises(NotFound, match="tokenizer 'nobody/no-such-model' not found"):
        loaded("nobody/no-such-model", PLAIN)


def test_a_word_tokenizer_grows_by_its_unknown_words_the_most_frequent_first(tmp_path: Path) -> None:
    trained(["a red ball"], slots=("time",)).save_pretrained(tmp_path / "old")
    tokenizer = loaded(tmp_path / "old", PLAIN, ("time", "box"))  # a mark that came later
    before = tokenizer.get_vocab()
    told = ["a blue ball", "a green ball", "a blue cup", "red<box>"]
    assert grow(tokenizer, told, len(before) + 2) == 2
    assert set(tokenizer.get_vocab()) - set(before) == {" blue", " cup"}
    tokenizer.save_pretrained(tmp_path / "new")
    again = held(tmp_path / "new")
    assert again.get_vocab() == tokenizer.get_vocab()
    assert before.items() < again.get_vocab().items()
    read = again("a blue cup<box>", add_special_tokens=False)["input_ids"]
    assert again.decode(read) == "a blue cup<box>"
    assert read[-1] == before["<box>"]
    assert set(unread(again, told)) == {" green", "red"}


def test_a_tokenizer_that_is_full_or_reads_bytes_does_not_grow() -> None:
    words = trained(["a red ball"])
    assert grow(words, ["a blue cup"], len(words)) == 0
    assert grow(trained(["a red ball"], kind="bytes", vocabulary=330), ["a blue cup"], 4096) == 0
