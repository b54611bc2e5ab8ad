"""A judge of answers: one by one on a scale, or two by two, asked both ways round.

Judges prefer a place: where the same answer does not win from both places, none is better (order swap after Zheng et
al. 2023, "Judging LLM-as-a-Judge", section 3.4). Scores are 1 to 5, each with the sentence that decided it.

    gives  scores (Score(0, 4, "..."), Score(1, 2, "...")), preferences (Preference(0, 1, 0, True, ("...", "...")),)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from reelmill.annotators.annotator import Resources
from reelmill.annotators.asking import REPAIR, Asks, Conversation, Question
from reelmill.annotators.check_facts import ANSWERS, QUESTION
from reelmill.annotators.engines.engine import Request, TimedImage
from reelmill.annotators.prompts._load import load_prompt
from reelmill.annotators.shown import FRAMES, JPEGS, MEDIA, ShownClip, evenly, times_of
from reelmill.schemas.answer import Preference, Score
from reelmill.schemas.column import KEY, Column

SCORES = Column.of("scores", tuple[Score, ...])
PREFERENCES = Column.of("preferences", tuple[Preference, ...])

_TWO = "judge_two"
_Why = Annotated[str, pydantic.StringConstraints(strip_whitespace=True, min_length=3, max_length=600)]


class Mark(pydantic.BaseModel):
    """What the model must answer about one answer."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    why: _Why
    score: Annotated[int, pydantic.Field(ge=1, le=5)]


class Choice(pydantic.BaseModel):
    """What the model must answer about two."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    why: _Why
    better: Literal["first", "second", "equal"]


@dataclass(frozen=True)
class Judge(Asks):
    """Scores each of a row's `answers` and, where `pairs`, compares every two of them."""

    prompt: str = "judge_one"
    pairs: bool = True
    max_frames: int = 8
    max_tokens: int = 200
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, JPEGS, QUESTION, ANSWERS)
    gives: ClassVar[tuple[Column, ...]] = (SCORES, PREFERENCES)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=0.5, rows_per_commit=32)
    observed: ClassVar[str] = "shown frames"

    @property
    def prompts(self) -> tuple[str, ...]:
        return (self.prompt, _TWO, REPAIR)

    def _talk(self, row: dict[str, Any]) -> Conversation:
        clip = ShownClip.of(row)
        images = clip.images(evenly(len(clip.at_s), self.max_frames))
        said, answers = {"times": times_of(images), "question": row["question"]}, row["answers"]
        couples = list(combinations(range(len(answers)), 2)) if self.pairs else []
        marks = [self._one(clip.key, images, n, said | {"answer": text}) for n, text in enumerate(answers)]
        orders = [pair for a, b in couples for pair in ((a, b), (b, a))]
        choices = [
            self._two(clip.key, images, pair, said | {"first": answers[pair[0]], "second": answers[pair[1]]})
            for pair in orders
        ]
        outcomes = yield [*marks, *choices]
        told = [o.value for o in outcomes]
        scores = [Score(n, mark.score, mark.why) for n, mark in enumerate(told[: len(marks)])]
        ways = told[len(marks) :]
        preferences = [preference(*c, *ways[2 * i : 2 * i + 2]) for i, c in enumerate(couples)]
        return {"scores": tuple(scores), "preferences": tuple(preferences)}

    def _one(self, key: str, images: tuple[TimedImage, ...], number: int, said: dict[str, str]) -> Question[Mark]:
        prompt = load_prompt(self.prompt).filled(**said)
        request = Request(f"{key}/{number}", prompt, images, max_tokens=self.max_tokens)
        return Question.of(request, Mark, lambda answer: answer.why)

    def _two(
        self, key: str, images: tuple[TimedImage, ...], pair: tuple[int, int], said: dict[str, str]
    ) -> Question[Choice]:
        prompt = load_prompt(_TWO).filled(**said)
        request = Request(f"{key}/{pair[0]}/{pair[1]}", prompt, images, max_tokens=self.max_tokens)
        return Question.of(request, Choice, lambda answer: answer.why)


def preference(first: int, second: int, straight: Choice, swapped: Choice) -> Preference:
    """Two answers compared both ways round. Only one that wins from both places is better."""
    winner = {"first": first, "second": second, "equal": None}[straight.better]
    again = {"first": second, "second": first, "equal": None}[swapped.better]
    agreed = winner == again
    return Preference(first, second, winner if agreed else None, agreed, (straight.why, swapped.why))
