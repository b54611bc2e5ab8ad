"""Several accounts of a clip's events by one model, with nothing given, with the true times or the true sentences.

After VidChain (Lee et al., AAAI 2025): three samples for each video at temperature 0.8, the other half being given
where one half alone is measured. Sentences are chosen from a list, true and false ones in a drawn order, so that
whatever the model says can be checked by rule; a model's own words would need a judge (`sample_answers`).

    SampleAccounts("openai:Qwen/Qwen3-VL-8B-Instruct@http://10.0.0.5:8000/v1")
    gives  accounts (DrawnAccount("", 0, (DrawnEvent("the red circle enters", 0.5, 1.0), ...)), ...), unread ()
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from reelmill.annotators.annotator import Resources, step_name
from reelmill.annotators.asking import Asks, Conversation, Question
from reelmill.annotators.engines.engine import Request
from reelmill.annotators.events import EVENTS
from reelmill.annotators.list_events import Events
from reelmill.annotators.prompts._load import load_prompt
from reelmill.annotators.sample_answers import UNREAD
from reelmill.annotators.shown import FRAMES, JPEGS, MEDIA, ShownClip, evenly, times_of
from reelmill.schemas import arrow
from reelmill.schemas.answer import DrawnAccount, DrawnEvent
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import BadInput, Unusable
from reelmill.schemas.event import RULE_KINDS, Event, EventKind
from reelmill.schemas.keys import seed_for

ACCOUNTS = Column.of("accounts", tuple[DrawnAccount, ...])
NOTHING, TIMES, SENTENCES = "", "times", "sentences"
GIVEN = (NOTHING, TIMES, SENTENCES)


@dataclass(frozen=True)
class SampleAccounts(Asks):
    """`samples` accounts for each of `GIVEN`, from at most `max_frames` shown frames, of at most `most` events.

    One that is cut, of another shape, in other words than the list's, or not as long as what was given, is none: its
    reason stands in `unread`. A clip of fewer than two accepted events, or of more than `most`, is refused.
    """

    prompt: str = "tell_events"
    samples: int = 3
    temperature: float = 0.8
    max_frames: int = 32
    max_tokens: int = 1000
    most: int = 12
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, JPEGS, EVENTS)
    gives: ClassVar[tuple[Column, ...]] = (ACCOUNTS, UNREAD)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=0.5, rows_per_commit=32)
    observed: ClassVar[str] = "shown frames, and the accepted events that were given"

    def __post_init__(self) -> None:
        if self.samples < 1 or self.temperature <= 0:
            seen = f"samples={self.samples} at temperature {self.temperature}"
            raise BadInput("accounts to draw", seen=seen, do="ask for one or more, at a temperature above 0")
        super().__post_init__()

    def _talk(self, row: dict[str, Any]) -> Conversation:
        events = [e for e in arrow.typed(tuple[Event, ...], row["events"]) if e.verdict.accepted]
        true = told_of(events)
        if not 2 <= len(true) <= self.most:
            raise Unusable("events_to_tell", f"{len(true)} accepted events, want 2 to {self.most}")
        clip, choices = ShownClip.of(row), choices_of(events)
        asked = [(given, number) for given in GIVEN for number in range(self.samples)]
        outcomes = yield [self._asked_for(clip, true, choices, *one) for one in asked]
        accounts, unread = [], []
        for (given, number), outcome in zip(asked, outcomes, strict=True):
            try:
                told = _read(outcome.value, given, true, choices)
                accounts.append(DrawnAccount(given, number, told))
            except Unusable as trouble:
                unread.append(trouble.reason)
        return {"accounts": tuple(accounts), "unread": tuple(unread)}

    def _asked_for(
        self, clip: ShownClip, true: Sequence[DrawnEvent], choices: Sequence[str], given: str, number: int
    ) -> Question[Events]:
        images = clip.images(evenly(len(clip.at_s), self.max_frames))
        name = f"{clip.key}/{given}/{number}"
        seed = seed_for(self.seed, name, step_name(self))
        words = {
            "times": times_of(images),
            "duration_s": f"{clip.duration_s:.3f}",
            "given": given_in_words(given, true),
            "choices": "; ".join(random.Random(seed).sample(choices, len(choices))),
        }
        filled = load_prompt(self.prompt).filled(**words)
        more = {"max_tokens": self.max_tokens, "temperature": self.temperature, "seed": seed % 2**31}
        return Question.of(Request(name, filled, images, **more), Events)  # type: ignore[arg-type]


def told_of(events: Sequence[Event]) -> tuple[DrawnEvent, ...]:
    """What is true, once each, in order of time."""
    told = {DrawnEvent(e.phrase, e.span.start_s, e.span.end_s) for e in events}
    return tuple(sorted(told, key=lambda e: (e.start_s, e.end_s, e.phrase)))


def choices_of(events: Sequence[Event]) -> list[str]:
    """The sentences to choose from: every thing of the clip with every kind of event, and what was stated. Sorted."""
    ruled = {e.subject for e in events if e.kind is not EventKind.STATED}
    found = {f"{subject} {kind}" for subject in ruled for kind in RULE_KINDS}
    return sorted(found | {e.phrase for e in events})


def given_in_words(given: str, true: Sequence[DrawnEvent]) -> str:
    """What a model is told of the truth beforehand."""
    if given == TIMES:
        return (
            f"There are {len(true)}; their times are: {', '.join(f'{e.start_s:.2f} to {e.end_s:.2f} s' for e in true)}."
        )
    if given == SENTENCES:
        return f"There are {len(true)}; in order they are: {'; '.join(e.phrase for e in true)}."
    return ""


def _read(answer: Events, given: str, true: Sequence[DrawnEvent], choices: Sequence[str]) -> tuple[DrawnEvent, ...]:
    """Raises Unusable for an account that cannot be compared."""
    known = {choice.casefold(): choice for choice in choices}
    told = list(_told(answer, known))
    if not told:
        raise Unusable("nothing_told", "an empty list")
    if given and len(told) != len(true):
        raise Unusable("other_count", f"{len(told)} events where {len(true)} were given")
    if given == TIMES:
        told = [DrawnEvent(e.phrase, t.start_s, t.end_s) for e, t in zip(told, true, strict=True)]
    if given == SENTENCES:
        told = [DrawnEvent(t.phrase, e.start_s, e.end_s) for e, t in zip(told, true, strict=True)]
    return tuple(told)


def _told(answer: Events, known: dict[str, str]) -> Iterator[DrawnEvent]:
    for event in answer.events:
        phrase = known.get(event.event.rstrip(". ").casefold())
        if phrase is None:
            raise Unusable("other_words", f"{event.event!r} is none of the {len(known)} sentences")
        yield DrawnEvent(phrase, event.start_s, event.end_s)
