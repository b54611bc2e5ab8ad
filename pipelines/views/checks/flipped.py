"""A dialogue that was turned round, judged by turning it back: does the given answer answer what is asked for?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from reelmill.pipelines.views.checks.forms import form_faults
from reelmill.pipelines.views.checks.grounding import check_grounding, said_of
from reelmill.schemas.event import Event
from reelmill.schemas.sample import Role, Sample, Turn

_GIVEN = re.compile(r'"(?P<answer>.*)"', re.DOTALL)
_FOR_TIME = re.compile(r"\b(?:when|time)\b", re.IGNORECASE)


def check_flipped(sample: Sample, events: Sequence[Event], slack_s: float = 1e-6) -> list[str]:
    """What is wrong with a flipped sample about time, given every true event of its clip; empty where all is right.

    Where the frames are asked for in order (`qa_to_v`), the slots are their times; else the answer that stands quoted
    in the prompt is right for the question that is asked for, speaks of the same one thing, and only adds its times.
    """
    if broken := form_faults(sample):
        return broken
    given, question = sample.turns
    if sample.task == "qa_to_v":
        return _order_faults(sample, question)
    quoted = _GIVEN.search(given.text)
    if quoted is None:
        return [f"no answer is quoted in {given.text!r}"]
    answer = Turn(Role.ASSISTANT, quoted["answer"], (), given.src_s, given.boxes)
    back = replace(sample, turns=(replace(question, role=Role.USER, src_s=question.tgt_s, tgt_s=()), answer))
    return [*_asked_faults(given, quoted, question, events), *check_grounding(back, events, slack_s)]


def _asked_faults(given: Turn, quoted: re.Match[str], question: Turn, events: Sequence[Event]) -> list[str]:
    """Both speak of one thing and the same, and the prompt says that its time is what was wanted."""
    told, asked = (sorted(set(said_of(text, events))) for text in (quoted["answer"], question.text))
    faults = [] if told == asked and len(asked) == 1 else [f"the answer is about {told}, the question about {asked}"]
    around = given.text[: quoted.start()] + given.text[quoted.end() :]
    return faults if _FOR_TIME.search(around) else [*faults, f"the prompt does not say what is wanted: {around!r}"]


def _order_faults(sample: Sample, answer: Turn) -> list[str]:
    """One slot for each frame, from its time to that of the next."""
    starts, shown = list(answer.tgt_s[0::2]), [f.at_s for f in sample.frames]
    follows = list(answer.tgt_s[1:-1:2]) == starts[1:]
    return [] if starts == shown and follows else [f"slots begin at {starts}, frames stand at {shown}"]
