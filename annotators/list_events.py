"""The events of a clip as a vision-language model lists them, from one frame a second with its time.

First step of InternVid-TG (DisTime, Zeng et al. 2025: GPT-4o over frames at 1 fps). The spans that it names are its
guess; localisers that do not see them decide. The embedded form is another ability: `events`, read off motion.

    gives  listed (ListedEvent("a red circle enters", [0.0, 1.0)), ...), listed_frames_s (0.0, 1.0, 2.0, 3.0)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pydantic

from reelmill.annotators.annotator import Resources
from reelmill.annotators.asking import Asks, Conversation, Question
from reelmill.annotators.engines.engine import Request
from reelmill.annotators.prompts._load import load_prompt
from reelmill.annotators.shown import FRAMES, JPEGS, MEDIA, ShownClip, times_of
from reelmill.schemas.answer import ListedEvent
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.span import Span

LISTED = Column.of("listed", tuple[ListedEvent, ...])
LISTED_FRAMES_S = Column.of("listed_frames_s", tuple[float, ...])

_EDGE_S = 1.0
"""A model that is shown frames at whole seconds may name an end up to one second after the last of them."""


class _Event(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    event: Annotated[str, pydantic.StringConstraints(strip_whitespace=True, min_length=3, max_length=300)]
    start_s: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
    end_s: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> _Event:
        if self.end_s <= self.start_s:
            raise ValueError("end_s is not after start_s")
        return self


class Events(pydantic.BaseModel):
    """What the model must answer."""

    model_config = pydantic.ConfigDict(extra="forbid")
    events: Annotated[list[_Event], pydantic.Field(max_length=40)]


@dataclass(frozen=True)
class ListEvents(Asks):
    """Shows a clip's frames `every_s` seconds apart, `max_frames` at most, and asks for at most `most` events."""

    prompt: str = "list_events"
    every_s: float = 1.0
    max_frames: int = 60
    most: int = 10
    max_tokens: int = 1000
    temperature: float = 0.0
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, JPEGS)
    gives: ClassVar[tuple[Column, ...]] = (LISTED, LISTED_FRAMES_S)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=0.5, rows_per_commit=32)
    observed: ClassVar[str] = "shown frames"

    def _talk(self, row: dict[str, Any]) -> Conversation:
        clip = ShownClip.of(row)
        places = spaced(clip.at_s, self.every_s, self.max_frames)
        images = clip.images(places)
        said = {"times": times_of(images), "duration_s": f"{clip.duration_s:.2f}", "most": f"{self.most}"}
        request = Request(
            id=clip.key,
            prompt=load_prompt(self.prompt).filled(**said),
            images=images,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed_of(clip.key),
        )
        (outcome,) = yield [Question.of(request, Events, lambda a: " ".join(e.event for e in a.events) or "none")]
        return {
            "listed": listed(outcome.value, clip.duration_s)[: self.most],
            "listed_frames_s": tuple(clip.at_s[i] for i in places),
        }


def listed(answer: Events, duration_s: float) -> tuple[ListedEvent, ...]:
    """The events that lie in the clip, in order, each once; ends beyond it by at most a second are cut to it."""
    found: dict[str, ListedEvent] = {}
    for event in sorted(answer.events, key=lambda e: (e.start_s, e.end_s, e.event)):
        if event.start_s < duration_s and event.end_s <= duration_s + _EDGE_S:
            span = Span(event.start_s, min(event.end_s, duration_s))
            found.setdefault(event.event.casefold(), ListedEvent(event.event, span))
    return tuple(found.values())


def spaced(at_s: tuple[float, ...], every_s: float, most: int) -> tuple[int, ...]:
    """Places of the frames nearest to 0, `every_s`, 2 `every_s` ..; wider apart where these are more than `most`.

    >>> spaced((0.0, 0.5, 1.0, 1.5, 2.1), 1.0, 60), spaced((0.0, 1.0, 2.0, 3.0), 1.0, 2)
    ((0, 2, 4), (0, 2))
    """
    step = max(every_s, at_s[-1] / most + 1e-9) if len(at_s) > 1 else every_s
    wanted = [i * step for i in range(int(at_s[-1] / step + 0.5) + 1)]
    nearest = [min(range(len(at_s)), key=lambda i, w=w: abs(at_s[i] - w)) for w in wanted]  # type: ignore[misc]
    return tuple(dict.fromkeys(nearest))[:most]
