"""Tokenizers: one trained on the shards' own texts, or one of Hugging Face from a folder, with our marks added.

    tokenizer = trained(texts_of(split, codecs), form=PLAIN, slots=("time", "box"), kind="word")
    tokenizer.save_pretrained(folder)          a folder as any of Hugging Face's, chat template included
    tokenizer = loaded(folder, PLAIN, ("time", "box"))
    grow(tokenizer, texts_of(other, codecs), vocabulary=4096)      words that it had not met

Both kinds give back every character of what they read: words keep the space before them, as bytes do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reelmill.schemas.errors import BadInput, NotFound
from reelmill.sinks.publishing.packed import PackedPreference
from reelmill.training.data.form import PLAIN, Form, slot_mark
from reelmill.training.data.shards import Split
from reelmill.training.data.wording import Spells, Wording

WORD, BYTES = "word", "bytes"
UNKNOWN = "<unk>"
_WORDS = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]|\s"
"""A word or a sign with the space before it, a digit, or what is left of white space: together they are the text."""


def texts_of(split: Split, codecs: Mapping[str, Spells], most: int | None = None) -> Iterator[str]:
    """The words of every turn of a split, or of its first `most` samples, in order, with numbers as the codecs write
    them; slots are left out."""
    for number in range(len(split) if most is None else min(most, len(split))):
        sample = split.sample(number)
        wording = Wording(sample, codecs, str)
        turns = (*sample.turns, *(sample.rejected if isinstance(sample, PackedPreference) else ()))
        for turn in turns:
            written = wording.written(turn)
            text = written.text
            for mark in {slot_mark(codec) for codec, _ in written.slots}:
                text = text.replace(mark, "")
            yield text


def trained(
    texts: Iterable[str],
    *,
    form: Form = PLAIN,
    slots: Sequence[str] = (),
    kind: str = WORD,
    vocabulary: int = 4096,
) -> Any:
    """A `PreTrainedTokenizerFast` over texts; the same texts in the same order give the same tokenizer.

    `kind` is "word" (each word a token, unknown ones `<unk>`) or "bytes" (byte-level BPE, Sennrich et al. 2016 over the
    bytes of GPT-2, to which nothing is unknown). `vocabulary` caps the tokens, marks included. Raises BadInput on
    another kind or a cap that leaves no room for words.
    """
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    marks = list(dict.fromkeys([UNKNOWN, *form.marks, *(slot_mark(name) for name in slots)]))
    least = len(marks) + (256 if kind == BYTES else 1)
    if kind not in (WORD, BYTES) or vocabulary < least:
        do = f"use kind {WORD!r} or {BYTES!r} and a vocabulary of {least} or more"
        raise BadInput(f"a tokenizer of kind {kind!r}", seen=f"vocabulary {vocabulary}", do=do)
    model, trainer = (_word_level if kind == WORD else _byte_level)(vocabulary, marks)
    model.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    model.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=model,
        unk_token=UNKNOWN,
        eos_token=form.end,
        pad_token=form.end,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = form.chat_template()
    return tokenizer


def _word_level(vocabulary: int, marks: list[str]) -> tuple[Any, Any]:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer, trainers.WordLevelTrainer(vocab_size=vocabulary, special_tokens=marks, show_progress=False)


def _byte_level(vocabulary: int, marks: list[str]) -> tuple[Any, Any]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=marks, initial_alphabet=alphabet, show_progress=False
    )
    return tokenizer, trainer


def held(place: str | Path) -> Any:
    """The tokenizer in a folder, or of a name that this machine has already, as it is.

    Nothing is downloaded. Raises NotFound where it is not there, BadInput where it is not a fast one: labels need to
    know where in the text each token ends.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(place), local_files_only=True)
    except (OSError, ValueError) as error:
        seen = str(error).splitlines()[0]
        raise NotFound(f"tokenizer {str(place)!r}", seen=seen, do="give the folder of a tokenizer") from error
    if not tokenizer.is_fast:
        raise BadInput(f"tokenizer {str(place)!r}", seen="a slow one", do="save it with transformers as a fast one")
    return tokenizer


def unread(tokenizer: Any, texts: Iterable[str]) -> Counter[str]:
    """Words that a tokenizer reads as its unknown one, with the space before them and how often they come; none where
    it knows every byte."""
    found: Counter[str] = Counter()
    for text in texts:
        read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        places = zip(read["input_ids"], read["offset_mapping"], strict=True)
        found.update(text[a:b] for token, (a, b) in places if token == tokenizer.unk_token_id)
    return found


def grow(tokenizer: Any, texts: Iterable[str], vocabulary: int) -> int:
    """Gives ids of their own to words that a tokenizer of kind "word" does not know, the most frequent first, while it
    has fewer than `vocabulary`; ids that are there stay. How many were added: none to one that knows every byte.
    """
    room = max(0, vocabulary - len(tokenizer))
    met = unread(tokenizer, texts) if room and tokenizer.unk_token_id is not None else Counter[str]()
    words = sorted(met, key=lambda word: (-met[word], word))[:room]
    if words:
        from tokenizers import models

        # Marks that came later are no part of the model: with their ids in it, they keep them when it is read again.
        known = tokenizer.get_vocab()
        known |= {word: number for number, word in enumerate(words, len(tokenizer))}
        tokenizer.backend_tokenizer.model = models.WordLevel(known, unk_token=tokenizer.unk_token)
    return len(words)


def loaded(place: str | Path, form: Form, slots: Sequence[str] = ()) -> Any:
    """What `held` gives, with the marks that it lacks added. Raises as that does.

    The model's embeddings must then have `len(tokenizer)` rows.
    """
    from tokenizers import AddedToken

    tokenizer = held(place)
    known = tokenizer.get_vocab()
    marks = [*form.marks, *(slot_mark(name) for name in slots)]
    special = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
    lacking = [m for m in dict.fromkeys(marks) if m not in known or m not in special]
    tokenizer.add_tokens([AddedToken(m, special=True, normalized=False) for m in lacking], special_tokens=True)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = form.chat_template()
    return tokenizer
