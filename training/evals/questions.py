"""From published samples to questions with their truth, and how a model is asked them, round by round.

Each answer of a dialogue is one question. In later rounds the turns before it are the true ones (`teacher`) or hold
what the model itself said (`replay`); a report names which. A question holds nothing of its truth: not the answer, not
that it is about what does not happen (it is asked in the same words as what does).

    sample   USER When does the dog run?   ASSISTANT During <time>.   USER And then?   ASSISTANT It stops.
    items    key.0 spans, key.1 answer

>>> form_of("internvid_tg", "grounding", Turn(Role.ASSISTANT, "At <time>.", (), (1.0, 2.0), ()), ())
<Form.SPANS: 'spans'>
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from reelmill.schemas.errors import GuardBroken
from reelmill.schemas.metrics.captions import tokens
from reelmill.schemas.metrics.grounding import Interval
from reelmill.schemas.sample import Role, Tubelet, Turn
from reelmill.schemas.tube import Box
from reelmill.sinks.publishing.packed import PackedFrame, PackedGrounded, PackedMedia, PackedSample
from reelmill.training.evals.named import named, verb_of

TIME, BOX, TUBE = "<time>", "<box>", "<tube>"

ASKED_AS: Mapping[tuple[str, str], str] = {
    ("internvid_tg", "absent"): "grounding",
    ("st_align", "absent"): "stvg",
}
"""Tasks whose questions read like those of another: what does not happen is asked about like what does."""
CAPTIONS = frozenset({"span_caption", "summary", "vc", "ic", "tr", "reg", "caption", "captions", "dense_text"})
"""Tasks whose answers are sentences that can be worded in many ways."""
DENSE = frozenset({"dense_caption", "dvc"})
"""Tasks whose answers are events line by line, also where there is one line."""


class Form(enum.StrEnum):
    """What an answer consists of, by which it is scored."""

    SPANS = "spans"
    BOXES = "boxes"
    TUBES = "tubes"
    CAPTION = "caption"
    DENSE = "dense"
    ANSWER = "answer"
    DENIAL = "denial"


class History(enum.StrEnum):
    """What stands in the rounds before a question: true answers, or the model's own."""

    TEACHER = "teacher"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked. `before` are the turns so far, `ask` the question; `tubes` those of both, in order.
    `round` counts the answers before. `task` is what the question reads like."""

    key: str
    sample_key: str
    dataset: str
    family: str
    task: str
    round: int
    media: PackedMedia
    frames: tuple[PackedFrame, ...]
    before: tuple[Turn, ...]
    ask: Turn
    tubes: tuple[Tubelet, ...] = ()


@dataclass(frozen=True, slots=True)
class Truth:
    """The true answer: `spans` in seconds of the clip, `boxes` in pixels of the medium as shown."""

    form: Form
    text: str
    spans: tuple[Interval, ...]
    boxes: tuple[Box, ...]
    tubes: tuple[Tubelet, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A question with its truth. `source` is the digest of its source file: clips of one are not independent. `verb`
    and `objects` are read from words (`named`), the verb of the answer where the question has none; "" and None where
    nothing is known. `task` is the sample's own."""

    question: Question
    truth: Truth
    source: str
    task: str
    verb: str = ""
    objects: int | None = None

    @property
    def key(self) -> str:
        return self.question.key


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said. `<time>`, `<box>` and `<tube>` in `text` stand for what the codecs read there: `spans` as
    (start, end) in seconds of the clip, `boxes` in pixels of the medium as shown. What could not be read is missing."""

    text: str
    spans: tuple[Interval, ...] = ()
    boxes: tuple[Box, ...] = ()
    tubes: tuple[Tubelet, ...] = ()


class Answerer(Protocol):
    """Answers questions, greedily: the same questions get the same replies."""

    def answer(self, questions: Sequence[Question]) -> Sequence[Reply]:
        """One reply for each question, in their order."""
        ...


def pairs(flat_s: Sequence[float]) -> tuple[Interval, ...]:
    """(start, end) pairs of a turn's flat times."""
    return tuple(zip(flat_s[0::2], flat_s[1::2], strict=True))


def described(text: str, spans: Sequence[Interval]) -> list[tuple[Interval, str]] | None:
    """Events told line by line, each with one time and a sentence. None where a line has another form, or times are
    missing or too many."""
    lines = [line for line in text.splitlines() if line.strip()]
    said = [" ".join(tokens(line.replace(TIME, " "))) for line in lines]
    if len(lines) != len(spans) or not all(said) or any(line.count(TIME) != 1 for line in lines):
        return None
    return list(zip(spans, said, strict=True))


def form_of(family: str, task: str, answer: Turn, tubes: Sequence[Tubelet]) -> Form:
    """How an answer is scored: by what stands in it, and where words alone stand in it, by the task's name."""
    if (family, task) in ASKED_AS:
        return Form.DENIAL
    if tubes:
        return Form.TUBES
    if answer.tgt_s:
        lines = described(answer.text, pairs(answer.tgt_s))
        return Form.DENSE if lines is not None and (task in DENSE or len(lines) > 1) else Form.SPANS
    if BOX in answer.text:
        return Form.BOXES
    return Form.CAPTION if task in CAPTIONS else Form.ANSWER


def items_of(samples: Sequence[PackedSample], objects: Mapping[str, int] | None = None) -> list[Item]:
    """Questions of dialogues, in the order of samples and turns. Streams, pairs and samples without turns have none of
    this kind. `objects`: how many things are in each clip, by its key, where that is known; else as `objects_named`."""
    known = objects_named(samples) if objects is None else objects
    return [item for sample in samples for item in _items(sample, known.get(sample.parent_key))]


def objects_named(samples: Iterable[PackedSample]) -> Mapping[str, int]:
    """How many things an account of everything that happens in a clip names, by the clip's key. Other answers are not
    counted: they name one thing in several ways, and things that are not there."""
    found: dict[str, int] = {}
    for sample in samples:
        for turn in sample.turns:
            if turn.role is Role.ASSISTANT and form_of(sample.family, sample.task, turn, ()) is Form.DENSE:
                things = {thing for thing, _ in named(turn.text)}
                found[sample.parent_key] = max(len(things), found.get(sample.parent_key, 0))
    return {clip: count for clip, count in found.items() if count}


def _items(sample: PackedSample, objects: int | None) -> Iterator[Item]:
    if hasattr(sample, "turns_at_s") or hasattr(sample, "rejected"):
        return
    tubes = _tubes_by_turn(sample)
    answers = [i for i, turn in enumerate(sample.turns) if turn.role is Role.ASSISTANT]
    for number, at in enumerate(answers):
        if not at or sample.turns[at - 1].role is not Role.USER:
            continue  # an answer to nothing
        answer, ask = sample.turns[at], sample.turns[at - 1]
        question = Question(
            key=f"{sample.key}.{number}",
            sample_key=sample.key,
            dataset=sample.dataset,
            family=sample.family,
            task=ASKED_AS.get((sample.family, sample.task), sample.task),
            round=number,
            media=sample.media,
            frames=sample.frames,
            before=sample.turns[: at - 1],
            ask=ask,
            tubes=tuple(t for own in tubes[:at] for t in own),
        )
        form = form_of(sample.family, sample.task, answer, tubes[at])
        truth = Truth(form, answer.text, pairs(answer.tgt_s), answer.boxes, tubes[at])
        verb = verb_of(ask.text) or verb_of(answer.text)
        yield Item(question, truth, sample.media.digest, sample.task, verb, objects)


def _tubes_by_turn(sample: PackedSample) -> list[tuple[Tubelet, ...]]:
    left = iter(sample.tubes if isinstance(sample, PackedGrounded) else ())
    return [tuple(next(left) for _ in re.findall(TUBE, turn.text)) for turn in sample.turns]


def asked(items: Sequence[Item], answerer: Answerer, history: History = History.TEACHER) -> dict[str, Reply]:
    """Replies by the key of their question, a round of all dialogues at a time.

    Raises GuardBroken where there are more or fewer replies than questions.
    """
    told: dict[str, Reply] = {}
    for number in sorted({item.question.round for item in items}):
        own = [item.question for item in items if item.question.round == number]
        questions = [replayed(q, told) if history is History.REPLAY else q for q in own]
        replies = answerer.answer(questions)
        if len(replies) != len(questions):
            raise GuardBroken("an answerer", seen=f"{len(replies)} replies to {len(questions)} questions")
        told |= {question.key: reply for question, reply in zip(questions, replies, strict=True)}
    return told


def replayed(question: Question, told: Mapping[str, Reply]) -> Question:
    """The same question after the model's own replies, in place of the true answers before it."""
    left, before, tubes, number = iter(question.tubes), list[Turn](), list[Tubelet](), 0
    for turn in (*question.before, question.ask):
        true = [next(left) for _ in re.findall(TUBE, turn.text)]
        reply = told.get(f"{question.sample_key}.{number}") if turn.role is Role.ASSISTANT else None
        number += turn.role is Role.ASSISTANT
        if reply is None:
            before.append(turn)
            tubes += true
        else:
            before.append(Turn(Role.ASSISTANT, reply.text, (), tuple(t for s in reply.spans for t in s), reply.boxes))
            tubes += reply.tubes
    return replace(question, before=tuple(before[:-1]), tubes=tuple(tubes))
