"""When does it happen: a vision-language model is asked about each listed event alone, without the lister's guess.

One of three ways to localise (the others: similarity of frames and text, tubes). "Not in this clip" is an answer. What
a model that is asked for seconds is worth is measured, not believed: see docs/abilities.md.

    gives  asked (Proposal("asking", [0.4, 1.6), 0.5), Proposal("asking", None, 0.5), ...), one for each of `listed`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pydantic

from reelmill.annotators.annotator import Resources
from reelmill.annotators.asking import Asks, Conversation, Outcome, Question
from reelmill.annotators.engines.engine import Request
from reelmill.annotators.list_events import LISTED, spaced
from reelmill.annotators.localise import PHRASES
from reelmill.annotators.prompts._load import load_prompt
from reelmill.annotators.shown import FRAMES, JPEGS, MEDIA, ShownClip, times_of
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.event import Proposal
from reelmill.schemas.provenance import UNMEASURED
from reelmill.schemas.span import Span

ASKED = Column.of("asked", tuple[Proposal, ...])
ASKED_PHRASES = Column.of("asked_phrases", tuple[Proposal, ...])
LOCALISER = "asking"
_Seconds = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]


class Located(pydantic.BaseModel):
    """What the model must answer."""

    model_config = pydantic.ConfigDict(extra="forbid")
    present: bool
    start_s: _Seconds
    end_s: _Seconds

    @pydantic.model_validator(mode="after")
    def _a_span(self) -> Located:
        if self.present and self.end_s <= self.start_s:
            raise ValueError("present, and end_s is not after start_s")
        return self


@dataclass(frozen=True)
class AskSpans(Asks):
    """Shows the same frames as `ListEvents`. An answer that is none leaves the event without this proposal."""

    prompt: str = "localise"
    every_s: float = 1.0
    max_frames: int = 60
    max_tokens: int = 100
    temperature: float = 0.0
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, JPEGS, LISTED)
    gives: ClassVar[tuple[Column, ...]] = (ASKED,)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=0.5, rows_per_commit=32)
    observed: ClassVar[str] = "shown frames"

    def _phrases(self, row: dict[str, Any]) -> tuple[str, ...]:
        """What is asked about."""
        return tuple(event["phrase"] for event in row["listed"])

    def _talk(self, row: dict[str, Any]) -> Conversation:
        clip = ShownClip.of(row)
        images = clip.images(spaced(clip.at_s, self.every_s, self.max_frames))
        said = {"times": times_of(images), "duration_s": f"{clip.duration_s:.2f}"}
        questions = [
            Question.of(
                Request(
                    id=f"{clip.key}/{number}",
                    prompt=load_prompt(self.prompt).filled(event=phrase, **said),
                    images=images,
                    max_tokens=self.max_tokens,
                    temperature=self.temperature,
                    seed=self.seed_of(clip.key),
                ),
                Located,
            )
            for number, phrase in enumerate(self._phrases(row))
        ]
        outcomes = (yield questions) if questions else ()
        return {self.gives[0].name: tuple(proposal(outcome, clip.duration_s) for outcome in outcomes)}


@dataclass(frozen=True)
class AskPhrases(AskSpans):
    """Asks in the same way about the phrases that a row brings, whoever listed them."""

    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, JPEGS, PHRASES)
    gives: ClassVar[tuple[Column, ...]] = (ASKED_PHRASES,)

    def _phrases(self, row: dict[str, Any]) -> tuple[str, ...]:
        return tuple(row["phrases"])


def proposal(outcome: Outcome[Located], duration_s: float) -> Proposal:
    """The model's word as a proposal; no span where it says that there is none, or where its answer is none."""
    try:
        found = outcome.value
    except Unusable:
        return Proposal(LOCALISER, None, 0.0)
    if not found.present or found.start_s >= duration_s:
        return Proposal(LOCALISER, None, UNMEASURED)
    return Proposal(LOCALISER, Span(found.start_s, min(found.end_s, duration_s)), UNMEASURED)
