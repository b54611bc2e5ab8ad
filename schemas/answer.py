"""What teachers say of questions and answers: listed events, checked statements, scores, preferences, written pairs."""

from __future__ import annotations

from dataclasses import dataclass

from reelmill.schemas.span import Span
from reelmill.schemas.verdict import Verdict


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """An event as a teacher listed it: a clause, and the span in clip time that it named, unchecked."""

    phrase: str
    span: Span


@dataclass(frozen=True, slots=True)
class CheckedFact:
    """A single statement out of answer number `answer`. `margin` is ln P(yes) - ln P(no), by which it `holds` or not;
    None where the engine gives no log-probabilities and its word was taken."""

    answer: int
    text: str
    holds: bool
    margin: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """A judge's mark for answer number `answer`, 1 (wrong) to 5 (right and complete), and what decided it."""

    answer: int
    score: int
    why: str


@dataclass(frozen=True, slots=True)
class Preference:
    """Which of two answers is truer: their numbers. `better` is None where the judge called them equal, or chose by
    their order (asked both ways round, it gave the same place)."""

    first: int
    second: int
    better: int | None
    agreed: bool
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WrittenPair:
    """A question and answer by a teacher. `quote` are the words of the evidence that it says the answer rests on."""

    question: str
    answer: str
    quote: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class DrawnEvent:
    """An event as a model tells it: one of the sentences that it was to choose from, and seconds of the clip."""

    phrase: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class DrawnAccount:
    """A model's account of a clip. `given` is what it was told of the truth: "", times or sentences; `number` its place
    among the samples."""

    given: str
    number: int
    told: tuple[DrawnEvent, ...]
