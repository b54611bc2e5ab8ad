"""One sample turned round: from the answer back to its question, and from both to the order of the frames.

After Flipped-VQA (Ko et al. 2023, "Large Language Models are Temporal and Causal Reasoners for Video Question
Answering"), which trains one model on V,Q -> A, on V,A -> Q and on Q,A -> V. Two things differ here.

V,A -> Q is asked only where the answer determines the question, up to its wording: the answer is one sentence, all that
the question is about stands in it, and what it adds is of one kind (times, boxes or a number), which the words then ask
for. Anything else is refused as `not_invertible`, with what is missing.

    Q "When does the red circle enter the frame?"   A "The red circle enters the frame at <time>."   flipped
    Q "When does the red circle enter the frame?"   A "At <time>."                                   not_invertible

Q,A -> V is there, at each slot, a softmax over the features of all frames, whose target is the number of the frame: an
objective, not a text. Its sample keeps the frames in order; slot i of the answer has the time that frame i stands for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

from reelmill.annotators.annotator import step_name
from reelmill.annotators.shown import MEDIA
from reelmill.pipelines.sources.rows import PROVENANCE
from reelmill.pipelines.views.phrasing import BOX, TIME, listed, sample_key
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.keys import seed_for
from reelmill.schemas.media import FrameRef, MediaRef
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.verdict import ACCEPTED, Verdict, rejected

FAMILY = "flipped"
VA_TO_Q, QA_TO_V = "va_to_q", "qa_to_v"
REFS = Column.of("frames", tuple[FrameRef, ...])
TURNS = Column.of("turns", tuple[Turn, ...])
CONFIDENCE = Column.of("label_confidence", float)
METHOD = Column.of("method", str)
LEAST_FRAMES = 3
"""Two frames have one order and its reverse: half of all guesses are right."""
_WORD = re.compile(r"<time>|<box>|<tube>|\d+(?:[.,]\d+)*|\w+(?:'\w+)?")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SENTENCES = re.compile(r"\n|[.!?][\"')]*\s+(?=\S)")
_ENDINGS = re.compile(r"(?<=\w{3})(?:ing|ed|es|s|e)$")
_DOUBLED = re.compile(r"([^aeiou])\1$")


@dataclass(frozen=True, kw_only=True)
class CompileFlipped(Worded):
    """Samples turned round. `frame_order` adds the sample of Q,A -> V, for trainers that have its objective: as text,
    it only repeats the times of the frames."""

    frame_order: bool = False
    phrasings: str = FAMILY
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, REFS, TURNS, CONFIDENCE, METHOD, PROVENANCE)
    looked_at: ClassVar[str] = "a sample's words, times and boxes"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        turns = arrow.typed(tuple[Turn, ...], row["turns"])
        if [t.role for t in turns] != [Role.USER, Role.ASSISTANT]:
            raise Unusable("not_one_question", f"{len(turns)} turns, want a question and an answer")
        flipped = [self._question(row, *turns), *([self._order(row, *turns)] if self.frame_order else [])]
        return {"samples": tuple(sorted(flipped, key=lambda s: s.key))}

    def _question(self, row: dict[str, Any], question: Turn, answer: Turn) -> Sample:
        """Given the answer, ask the question: each turn keeps its times and boxes and changes its side."""
        key = sample_key(row["key"], FAMILY, VA_TO_Q)
        asking = frozenset(self.wording.options("asking.words"))
        try:
            path, verdict = f"{VA_TO_Q}.{added(question, answer, asking)}", ACCEPTED
        except Unusable as no:
            path, verdict = f"{VA_TO_Q}.times", rejected(step_name(self), no.reason, no.detail)
        text = self._worded(path, key, answer=answer.text)
        turns = (
            replace(answer, role=Role.USER, text=text, src_s=answer.tgt_s, tgt_s=()),
            replace(question, role=Role.ASSISTANT, src_s=(), tgt_s=question.src_s),
        )
        return self._sample(row, key, VA_TO_Q, turns, verdict)

    def _order(self, row: dict[str, Any], question: Turn, answer: Turn) -> Sample:
        """Given question and answer, the frames in order: one slot for each, with the time that it stands for."""
        key = sample_key(row["key"], FAMILY, QA_TO_V)
        text = self._worded(f"{QA_TO_V}.question", key, question=question.text, answer=answer.text)
        said = (*question.src_s, *answer.tgt_s)
        frames = arrow.typed(tuple[FrameRef, ...], row["frames"])
        edges = [*(f.at_s for f in frames), _end_s(arrow.typed(MediaRef, row["media"]))]
        slots = tuple(t for pair in pairwise(edges) for t in pair)
        turns = (
            Turn(Role.USER, text, said, (), (*question.boxes, *answer.boxes)),
            Turn(Role.ASSISTANT, listed([TIME] * len(frames)) if frames else "", (), slots, ()),
        )
        return self._sample(row, key, QA_TO_V, turns, self._ordered(frames))

    def _ordered(self, frames: tuple[FrameRef, ...]) -> Verdict:
        """Whether the frames have an order that can be told: enough of them, and no two the same."""
        if len(frames) < LEAST_FRAMES:
            return rejected(step_name(self), "too_few_frames", f"{len(frames)} frames, want {LEAST_FRAMES}")
        alike = sum(n for n in Counter(f.sha256 for f in frames).values() if n > 1)
        if alike:
            return rejected(step_name(self), "frames_alike", f"{alike} of {len(frames)} frames are the same picture")
        return ACCEPTED

    def _worded(self, path: str, key: str, **words: str) -> str:
        return self.wording.pick(path, seed_for(self.seed, key, "question"), **words)

    def _sample(self, row: dict[str, Any], key: str, task: str, turns: tuple[Turn, ...], verdict: Verdict) -> Sample:
        return Sample(
            key=key,
            parent_key=row["key"],
            family=FAMILY,
            task=task,
            media=arrow.typed(MediaRef, row["media"]),
            frames=arrow.typed(tuple[FrameRef, ...], row["frames"]),
            turns=turns,
            evidence=(row["key"],),
            label_confidence=row["label_confidence"],
            method=row["method"],
            provenance=(*arrow.typed(tuple[Provenance, ...], row["provenance"]), self._link(row)),
            verdict=verdict,
        )

    def _link(self, row: dict[str, Any]) -> Provenance:
        digest = row["media"]["digest"]
        step, revision = step_name(self), self.revision
        return Provenance(step, "rules", revision, "", self.phrasings_hash, self.seed, digest, self.looked_at, "")


def added(question: Turn, answer: Turn, asking: frozenset[str]) -> str:
    """What an answer says beyond its question: `times`, `boxes` or `numbers`.

    Raises Unusable (`not_invertible`) where the answer does not determine the question. `asking` are words that only
    ask; of all others, of quoted ones too, the question has none that its answer lacks. Words are compared without
    their endings, after Harman (1991), extended by -ing and -ed.
    """
    if len(_said(answer.text)) != 1:
        raise _open(f"the answer has {len(_said(answer.text))} sentences, and each could have been asked for")
    asked = {stem(w): w for w in _words(question.text) if w not in asking and w not in (TIME, BOX)}
    told = {stem(w): w for w in _words(answer.text)}
    if not asked:
        raise _open("the question names nothing, so it fits other answers too")
    if missing := sorted(word for stemmed, word in asked.items() if stemmed not in told):
        raise _open(f"the answer does not say {', '.join(missing)}")
    if not (set(_pairs(question.src_s)) <= set(_pairs(answer.tgt_s)) and set(question.boxes) <= set(answer.boxes)):
        raise _open("the question has times or boxes that the answer does not give")
    kinds = list(_more(question, answer))
    if len(kinds) != 1:
        raise _open(f"the answer adds {', '.join(kinds) or 'no time, box or number'}, want one of these")
    known = {*asked, *map(stem, asking), TIME, BOX}
    if other := sorted(word for stemmed, word in told.items() if stemmed not in known and not _NUMBER.fullmatch(word)):
        raise _open(f"the answer also adds {', '.join(other)}, which could have been asked for")
    return kinds[0]


def _more(question: Turn, answer: Turn) -> Iterator[str]:
    """The kinds of things that the answer has and the question lacks."""
    if set(_pairs(answer.tgt_s)) - set(_pairs(question.src_s)):
        yield "times"
    if set(answer.boxes) - set(question.boxes):
        yield "boxes"
    if set(_NUMBER.findall(answer.text)) - set(_NUMBER.findall(question.text)):
        yield "numbers"


def _open(detail: str) -> Unusable:
    return Unusable("not_invertible", detail)


def _said(text: str) -> list[str]:
    return [s for s in _SENTENCES.split(text.strip()) if s.strip()]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _pairs(flat_s: tuple[float, ...]) -> list[tuple[float, float]]:
    return list(zip(flat_s[0::2], flat_s[1::2], strict=True))


def stem(word: str) -> str:
    """A word without the ending that English verbs and plurals take.

    >>> stem("stops"), stem("stopping"), stem("moves"), stem("moving"), stem("red")
    ('stop', 'stop', 'mov', 'mov', 'red')
    """
    return _DOUBLED.sub(r"\1", _ENDINGS.sub("", word))


def _end_s(media: MediaRef) -> float:
    """End of the clip in its own seconds."""
    return min(media.span.duration_s if media.span else media.duration_s, media.duration_s)
