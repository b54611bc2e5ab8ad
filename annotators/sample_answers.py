"""Several answers of one model to one question about a clip or picture, for preference pairs out of its own mistakes.

After RLAIF-V (Yu et al. 2024): ten answers at temperature 0.7, every one with a seed of its own. An answer that is cut,
degenerate or of another shape is none: its reason stands in `unread`, and the others keep their order.

    SampleAnswers("openai:Qwen/Qwen3-VL-8B-Instruct@http://10.0.0.5:8000/v1", samples=3)
    gives  question "Describe ...", answers ("A red circle enters.", "A circle moves."), unread ("answer_cut",)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from reelmill.annotators.annotator import Resources, step_name
from reelmill.annotators.asking import Asks, Conversation, Outcome, Question
from reelmill.annotators.caption import CaptionAnswer
from reelmill.annotators.check_facts import ANSWERS, QUESTION
from reelmill.annotators.engines.engine import Request
from reelmill.annotators.prompts._load import load_prompt
from reelmill.annotators.shown import FRAMES, JPEGS, MEDIA, ShownClip, evenly, times_of
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import BadInput, Unusable
from reelmill.schemas.keys import seed_for

UNREAD = Column.of("unread", tuple[str, ...])


@dataclass(frozen=True)
class SampleAnswers(Asks):
    """`samples` answers to `question`, in the words of `prompt`, from at most `max_frames` shown frames.

    A row of which fewer than two answers can be read is refused: nothing could be compared.
    """

    prompt: str = "caption"
    question: str = "Describe what is shown."
    samples: int = 10
    temperature: float = 0.7
    max_frames: int = 8
    max_tokens: int = 512
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, JPEGS)
    gives: ClassVar[tuple[Column, ...]] = (QUESTION, ANSWERS, UNREAD)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=0.5, rows_per_commit=32)
    observed: ClassVar[str] = "shown frames"

    def __post_init__(self) -> None:
        if self.samples < 2 or self.temperature <= 0:
            seen = f"samples={self.samples} at temperature {self.temperature}"
            raise BadInput("answers to compare", seen=seen, do="ask for two or more, at a temperature above 0")
        super().__post_init__()

    def _talk(self, row: dict[str, Any]) -> Conversation:
        clip = ShownClip.of(row)
        outcomes = yield [self._asked_for(clip, number) for number in range(self.samples)]
        answers = [o.value.caption for o in outcomes if not isinstance(o.trouble, Unusable)]
        unread = reasons(outcomes)
        if len(answers) < 2:
            raise Unusable("too_few_answers", f"{len(answers)} of {self.samples} can be read: {', '.join(unread)}")
        return {"question": self.question, "answers": tuple(answers), "unread": unread}

    def _asked_for(self, clip: ShownClip, number: int) -> Question[CaptionAnswer]:
        images = clip.images(evenly(len(clip.at_s), self.max_frames))
        request = Request(
            f"{clip.key}/{number}",
            load_prompt(self.prompt).filled(times=times_of(images)),
            images,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=seed_for(self.seed, f"{clip.key}/{number}", step_name(self)) % 2**31,
        )
        return Question.of(request, CaptionAnswer, lambda answer: answer.caption)


def reasons(outcomes: Sequence[Outcome[Any]]) -> tuple[str, ...]:
    """Why answers could not be read, in order."""
    return tuple(o.trouble.reason for o in outcomes if isinstance(o.trouble, Unusable))
