"""A model as the one who is asked: questions become prompts, what it says becomes text with times and boxes.

Questions about the same frames share one document, a branch each, where the model does not see by the words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch

from reelmill.schemas.sample import Role, Turn
from reelmill.schemas.tube import Box
from reelmill.sinks.publishing.packed import (
    FORMAT,
    PackedFrame,
    PackedGrounded,
    PackedMedia,
    PackedSample,
)
from reelmill.training.answering import Answer, answer
from reelmill.training.codecs.text import Text
from reelmill.training.data.frames import stacked
from reelmill.training.data.shards import Split
from reelmill.training.data.tokens import Tokens
from reelmill.training.documents import IGNORED, Document, packed
from reelmill.training.evals.likelihood import LogProbs, Pair
from reelmill.training.evals.questions import Question, Reply
from reelmill.training.objectives.dpo import sides
from reelmill.training.vlm import VLM

_PLACES = {"time": 2, "box": 4}
"""Numbers of a place, by codec."""


@dataclass
class ModelAnswerer:
    """Answers greedily, `together` documents at a time, at most `longest` tokens each. `blind` shows grey frames,
    `tell` hears how many questions are done."""

    model: VLM
    tokens: Tokens
    split: Split
    together: int = 32
    longest: int = 64
    budget: int | None = None
    blind: bool = False
    tell: Callable[[int], object] = field(default=lambda _: None)

    def answer(self, questions: Sequence[Question]) -> Sequence[Reply]:
        """One reply for each question, in their order."""
        groups = list(self._groups(questions))
        found: dict[str, Reply] = {}
        for start in range(0, len(groups), self.together):
            batch = groups[start : start + self.together]
            documents = [self._prompt(group) for group in batch]
            end = self.tokens.tokenizer.eos_token_id
            said = answer(self.model, documents, end=end, longest=self.longest, budget=self.budget)
            for group, branches in zip(batch, said, strict=True):
                replies = (self._reply(q, a) for q, a in zip(group, branches, strict=True))
                found |= dict(zip((q.key for q in group), replies, strict=True))
            self.tell(len(found))
        return [found[q.key] for q in questions]

    def _groups(self, questions: Sequence[Question]) -> Iterator[list[Question]]:
        if self.model.by_words:
            yield from ([q] for q in questions)
            return

        def frames(question: Question) -> tuple[str, ...]:
            return tuple(f.sha256 for f in question.frames)

        for _, group in groupby(sorted(questions, key=frames), frames):
            yield list(group)

    def _prompt(self, questions: Sequence[Question]) -> Document:
        """Prompts that end where answers begin."""
        samples = [asked(q.key, q.media, q.frames, (*q.before, q.ask), q.tubes) for q in questions]
        whole = self.tokens.document(samples)
        last = np.append(whole.branch[1:] != whole.branch[:-1], True) & (whole.branch > 0)
        kept = ~last  # an empty answer is its end mark alone
        cut = replace(whole, ids=whole.ids[kept], labels=np.full(kept.sum(), IGNORED), branch=whole.branch[kept])
        new = np.cumsum(kept) - 1
        slots = tuple(replace(s, at=int(new[s.at])) for s in whole.slots)
        if self.blind:
            return greyed(replace(cut, slots=slots))
        number = self.split.numbers[questions[0].sample_key]
        return shown(replace(cut, slots=slots), self.tokens, self.split, number, samples[0])

    def _reply(self, question: Question, said: Answer) -> Reply:
        text, numbers = self._read(said, question.media)
        spans = tuple((a, b) for a, b in numbers["time"])
        boxes = tuple(Box(*b) for b in numbers["box"])
        return Reply(text.strip(), spans, boxes)

    def _read(self, said: Answer, media: PackedMedia) -> tuple[str, dict[str, list[tuple[float, ...]]]]:
        """Text with places, and the numbers of each: seconds, pixels."""
        held = {place: (name, values) for place, name, values in said.slots}
        words: list[int | tuple[str, tuple[float, ...]]] = [held.get(i, token) for i, token in enumerate(said.ids)]
        text, numbers = "", {"time": list[tuple[float, ...]](), "box": list[tuple[float, ...]]()}
        scale = {"time": (media.duration_s,), "box": (float(media.width_px), float(media.height_px))}
        for codec, run in groupby(words, self._codec):
            if codec is None:
                text += self.tokens.tokenizer.decode([w for w in run if isinstance(w, int)], skip_special_tokens=True)
                continue
            flat = [v for word in run if not isinstance(word, int) for v in word[1]]
            d, unit = _PLACES[codec], scale[codec]
            for i in range(0, len(flat) - d + 1, d):
                numbers[codec].append(tuple(v * unit[j % len(unit)] for j, v in enumerate(flat[i : i + d])))
                text += f"<{codec}>"
        for codec, d in _PLACES.items():
            writer = self.model.codecs[codec]
            if isinstance(writer, Text):
                text, found = writer.found(text, d)
                numbers[codec] += found
                text = text.replace("{}", f"<{codec}>")
        return text, numbers

    def _codec(self, word: int | tuple[str, tuple[float, ...]]) -> str | None:
        if isinstance(word, int):
            return None
        codecs: Any = self.model.codecs
        return str(next(name for name, codec in codecs.items() if word[0] in codec.names))


@dataclass
class ModelPreferrer:
    """Says how likely the sides of pairs are to a model. `blind` shows it grey frames."""

    model: VLM
    tokens: Tokens
    split: Split
    together: int = 32
    blind: bool = False

    def log_probs(self, pairs: Sequence[Pair]) -> Sequence[LogProbs]:
        """One for each pair, in their order."""
        found: list[LogProbs] = []
        for start in range(0, len(pairs), self.together):
            documents = [self._document(pair) for pair in pairs[start : start + self.together]]
            pack = packed(documents).to(next(self.model.parameters()).device)
            with torch.no_grad():
                seq = self.model(pack)
                logs, counts = sides(seq, self.model.worded(seq), pack)
            for (chosen, rejected), (m, n) in zip(logs.tolist(), counts.tolist(), strict=True):
                found.append(LogProbs(chosen, int(m), rejected, int(n)))
        return found

    def _document(self, pair: Pair) -> Document:
        number = self.split.numbers[pair.key]
        sample = self.split.sample(number)
        document = self.tokens.document([sample])
        return greyed(document) if self.blind else shown(document, self.tokens, self.split, number, sample)


def greyed(document: Document) -> Document:
    """A document with grey frames, which asks what a model says without looking."""
    return replace(document, frames=np.full_like(document.frames, 128))


def shown(document: Document, tokens: Tokens, split: Split, number: int, sample: PackedSample) -> Document:
    """A document with the frames of a sample, the `number`-th of its split."""
    members = [f.member for f in tokens.shown(sample) if f.member]
    return replace(document, frames=stacked(split.jpegs(number, members), tokens.size_px, document.crops))


def asked(
    key: str, media: PackedMedia, frames: Sequence[PackedFrame], turns: Sequence[Turn], tubes: Sequence[Any]
) -> PackedSample:
    """A dialogue whose last answer is empty."""
    said: Mapping[str, Any] = {
        "format": FORMAT,
        "key": key,
        "media": media,
        "frames": tuple(frames),
        "turns": (*turns, Turn(Role.ASSISTANT, "", (), (), ())),
        "tubes": tuple(tubes),
        "label_confidence": 0.0,
        "evidence": (),
        "provenance": (),
    }
    return PackedGrounded(**{f.name: said.get(f.name, "") for f in fields(PackedGrounded)})
