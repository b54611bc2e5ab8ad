"""Is an answer true of the pictures: split into single statements, each asked by itself, yes or no.

Divide and conquer after RLAIF-V (Yu et al. 2024): a statement holds where P(yes) + P(Yes) > P(no) + P(No) over the
first token. Where the engine gives no log-probabilities its word is taken, and the fact says so (`margin` None).

    answer "A red circle enters. It stops."
    gives  facts (CheckedFact(0, "A red circle enters.", True, 3.1), CheckedFact(0, "It stops.", False, -1.2))
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from reelmill.annotators.annotator import Resources
from reelmill.annotators.asking import REPAIR, Asks, Conversation, Question
from reelmill.annotators.engines.engine import Candidate, Reply, Request
from reelmill.annotators.prompts._load import load_prompt
from reelmill.annotators.shown import FRAMES, JPEGS, MEDIA, ShownClip, evenly, times_of
from reelmill.schemas.answer import CheckedFact
from reelmill.schemas.column import KEY, Column

QUESTION = Column.of("question", str)
ANSWERS = Column.of("answers", tuple[str, ...])
FACTS = Column.of("facts", tuple[CheckedFact, ...])

_CANDIDATES = 10
_SPLIT = "split_facts"
_NOT_LETTERS = re.compile(r"[\W_]+")


class Facts(pydantic.BaseModel):
    """What the model must answer when it splits."""

    model_config = pydantic.ConfigDict(extra="forbid")
    facts: Annotated[
        list[Annotated[str, pydantic.StringConstraints(strip_whitespace=True, min_length=3, max_length=300)]],
        pydantic.Field(min_length=1, max_length=40),
    ]


class YesNo(pydantic.BaseModel):
    """One word."""

    word: Literal["yes", "no"]

    @classmethod
    def read(cls, text: str) -> YesNo:
        """Raises pydantic.ValidationError for anything but yes or no; marks around the word are let pass."""
        return cls.model_validate({"word": _NOT_LETTERS.sub("", text).lower()})


@dataclass(frozen=True)
class CheckFacts(Asks):
    """Splits each of a row's `answers` into at most `most` statements, and checks each against its frames."""

    prompt: str = "check_fact"
    max_frames: int = 8
    most: int = 12
    max_tokens: int = 600
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, JPEGS, QUESTION, ANSWERS)
    gives: ClassVar[tuple[Column, ...]] = (FACTS,)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=0.5, rows_per_commit=32)
    observed: ClassVar[str] = "shown frames"

    @property
    def prompts(self) -> tuple[str, ...]:
        return (self.prompt, _SPLIT, REPAIR)

    def _talk(self, row: dict[str, Any]) -> Conversation:
        clip = ShownClip.of(row)
        split = yield [self._split(clip.key, number, row["question"], a) for number, a in enumerate(row["answers"])]
        told = [(number, fact) for number, one in enumerate(split) for fact in one.value.facts[: self.most]]
        checked = yield [self._check(clip, f"{n}/{i}", fact) for i, (n, fact) in enumerate(told)]
        facts = [
            CheckedFact(number, fact, *verdict(outcome.value, outcome.reply))
            for (number, fact), outcome in zip(told, checked, strict=True)
        ]
        return {"facts": tuple(facts)}

    def _split(self, key: str, number: int, question: str, answer: str) -> Question[Facts]:
        prompt = load_prompt(_SPLIT).filled(question=question, answer=answer, most=f"{self.most}")
        return Question.of(Request(f"{key}/{number}", prompt, max_tokens=self.max_tokens), Facts)

    def _check(self, clip: ShownClip, name: str, fact: str) -> Question[YesNo]:
        images = clip.images(evenly(len(clip.at_s), self.max_frames))
        prompt = load_prompt(self.prompt).filled(times=times_of(images), fact=fact)
        request = Request(f"{clip.key}/{name}", prompt, images, max_tokens=4, top_logprobs=_CANDIDATES)
        return Question(request, YesNo, reader=YesNo.read)


def verdict(said: YesNo, reply: Reply) -> tuple[bool, float | None]:
    """Whether a statement holds, and by which margin in nats."""
    margin = yes_margin(reply.first)
    return (said.word == "yes" if margin is None else margin > 0), margin


def yes_margin(first: Sequence[Candidate]) -> float | None:
    """ln P(yes) - ln P(no) over the candidates for the first token, whatever their case and blanks.

    A word that is not among them has at most the probability of the least of them. None where neither is.
    """
    words = {w: [c.logprob for c in first if c.token.strip().lower() == w] for w in ("yes", "no")}
    if not any(words.values()):
        return None
    floor = min(c.logprob for c in first)
    yes, no = (math.log(sum(map(math.exp, found))) if found else floor for found in words.values())
    return round(yes - no, 6)
