"""A caption of a clip's shown frames by a vision-language model behind an engine.

Four forms. `clip`: one question over the whole clip. `differential`: 10 s after 10 s, each told what was said of the
part before and asked what is different (the sliding captions of ShareGPT4Video, Chen et al. 2024), then the whole.
`scales`: 10 s, 30 s and the whole, each told its parts (the three levels of LLaVA-Video-178K, Zhang et al. 2024).
`after` (`CaptionAfter`): each clip beside the one before it in its unit, first what is different, then what is seen
(the differential clip captions of TEMPLE, 2025).

The times that are stored are those of the very frames that were sent (defect D2 of the recipes' register: a caption
whose time is not its frame's).

    Caption("openai:HuggingFaceTB/SmolVLM2-2.2B-Instruct@http://10.0.0.5:8000/v1")
    gives  caption "A red circle enters from the left.", caption_model "...", caption_frames_s (0.0, 0.52, 1.0)
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pydantic

from reelmill.annotators.annotator import Resources
from reelmill.annotators.asking import REPAIR, Asks, Conversation, Outcome, Question
from reelmill.annotators.engines.engine import Request, TimedImage
from reelmill.annotators.prompts._load import load_prompt
from reelmill.annotators.shown import BEFORE, FRAMES, JPEGS, MEDIA, ClipBefore, ShownClip, evenly, times_of
from reelmill.schemas import arrow
from reelmill.schemas.caption import PartCaption
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import BadInput

CAPTION = Column.of("caption", str | None)
CAPTION_MODEL = Column.of("caption_model", str)
CAPTION_FRAMES_S = Column.of("caption_frames_s", tuple[float, ...])
CAPTION_PARTS = Column.of("caption_parts", tuple[PartCaption, ...])
CAPTION_BEFORE = Column.of("caption_before", str)

CLIP, DIFFERENTIAL, SCALES, AFTER = "clip", "differential", "scales", "after"
FORMS = (CLIP, DIFFERENTIAL, SCALES)
_SHORT_S, _MIDDLE_S, _WHOLE_S = 10.0, 30.0, 0.0
_NEXT, _SUMMARY = "caption_next", "caption_whole"

Asking = Generator[Sequence[Question[Any]], Sequence[Outcome[Any]], PartCaption]


Said = Annotated[str, pydantic.StringConstraints(strip_whitespace=True, min_length=3, max_length=1200)]


class CaptionAnswer(pydantic.BaseModel):
    """What the model must answer."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    caption: Said


class AfterAnswer(CaptionAnswer):
    """What the model must answer of a clip that it was shown beside the one before."""

    change: Said


@dataclass(frozen=True)
class Caption(Asks):
    """Asks `engine` about at most `max_frames` shown frames at a time, evenly taken, first and last included."""

    prompt: str = "caption"
    form: str = CLIP
    max_frames: int = 8
    max_tokens: int = 400
    temperature: float = 0.0
    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, JPEGS)
    gives: ClassVar[tuple[Column, ...]] = (CAPTION, CAPTION_MODEL, CAPTION_FRAMES_S, CAPTION_PARTS)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(cpus=0.5, rows_per_commit=32)
    observed: ClassVar[str] = "shown frames"

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise BadInput(f"caption form {self.form!r}", seen="an unknown form", do=f"use {', '.join(FORMS)}")
        super().__post_init__()

    @property
    def prompts(self) -> tuple[str, ...]:
        further = {CLIP: (), DIFFERENTIAL: (_NEXT, _SUMMARY), SCALES: (_SUMMARY,)}[self.form]
        return (self.prompt, *further, REPAIR)

    def _talk(self, row: dict[str, Any]) -> Conversation:
        clip = ShownClip.of(row)
        parts: list[PartCaption] = []
        if self.form == CLIP:
            whole = yield from self._part(clip, clip.whole, _WHOLE_S, self.prompt)
        elif self.form == DIFFERENTIAL:
            whole = yield from self._differential(clip, parts)
        else:
            whole = yield from self._scales(clip, parts)
        return {
            "caption": whole.text,
            "caption_model": clip.model,
            "caption_frames_s": whole.frames_s,
            "caption_parts": (*parts, whole),
        }

    def _differential(self, clip: ShownClip, parts: list[PartCaption]) -> Asking:
        for stretch in clip.stretches(_SHORT_S):
            if parts:
                part = yield from self._part(clip, stretch, _SHORT_S, _NEXT, before=parts[-1].text)
            else:
                part = yield from self._part(clip, stretch, _SHORT_S, self.prompt)
            parts.append(part)
        return (yield from self._sum(clip, clip.whole, _WHOLE_S, parts))

    def _scales(self, clip: ShownClip, parts: list[PartCaption]) -> Asking:
        for stretch in clip.stretches(_SHORT_S):
            parts.append((yield from self._part(clip, stretch, _SHORT_S, self.prompt)))
        for stretch in clip.stretches(_MIDDLE_S):
            inside = [p for p in parts if p.scale_s == _SHORT_S and stretch[0] <= p.start_s < stretch[1]]
            parts.append((yield from self._sum(clip, stretch, _MIDDLE_S, inside)))
        return (yield from self._sum(clip, clip.whole, _WHOLE_S, [p for p in parts if p.scale_s == _MIDDLE_S]))

    def _sum(self, clip: ShownClip, stretch: tuple[float, float], scale_s: float, parts: list[PartCaption]) -> Asking:
        """A caption of a stretch from those of its parts; of one part alone it is that part's."""
        if len(parts) == 1:
            yield []
            return PartCaption(scale_s, *stretch, parts[0].text, parts[0].frames_s, after=False)
        told = "\n".join(f"{p.start_s:.1f} to {p.end_s:.1f} s: {p.text}" for p in parts)
        return (yield from self._part(clip, stretch, scale_s, _SUMMARY, parts=told))

    def _part(self, clip: ShownClip, stretch: tuple[float, float], scale_s: float, prompt: str, **told: str) -> Asking:
        shown = clip.shown(stretch, self.max_frames)
        images = clip.images(shown)
        request = self._request(clip, load_prompt(prompt).filled(times=times_of(images), **told), images)
        (outcome,) = yield [Question.of(request, CaptionAnswer, lambda answer: answer.caption)]
        caption = outcome.value.caption
        clip.model = outcome.reply.model or self.model
        return PartCaption(scale_s, *stretch, caption, tuple(clip.at_s[i] for i in shown), after="before" in told)

    def _request(self, clip: ShownClip, prompt: str, images: tuple[TimedImage, ...]) -> Request:
        return Request(
            id=clip.key,
            prompt=prompt,
            images=images,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed_of(clip.key),
        )


@dataclass(frozen=True)
class CaptionAfter(Caption):
    """Captions of clips shown beside the clip before them; the first clip of a unit is captioned by itself.

    `caption_parts` holds what is different (`after`), then the caption; both name the clip's own frames. The clip
    before is told by its key in `caption_before`, "" where there is none.
    """

    before_prompt: str = "caption_after"
    needs: ClassVar[tuple[Column, ...]] = (*Caption.needs, BEFORE)
    gives: ClassVar[tuple[Column, ...]] = (*Caption.gives, CAPTION_BEFORE)
    observed: ClassVar[str] = "shown frames, and those of the clip before"

    @property
    def prompts(self) -> tuple[str, ...]:
        return (self.prompt, self.before_prompt, REPAIR)

    def _talk(self, row: dict[str, Any]) -> Conversation:
        before: ClipBefore | None = arrow.typed(ClipBefore | None, row["before"])
        if before is None or not before.frames:
            return (yield from super()._talk(row)) | {"caption_before": ""}
        clip = ShownClip.of(row)
        shown = clip.shown(clip.whole, self.max_frames)
        images, earlier = clip.images(shown), _shown_before(before, self.max_frames)
        times = {"times": times_of(images), "times_before": times_of(earlier)}
        request = self._request(clip, load_prompt(self.before_prompt).filled(**times), (*earlier, *images))
        (outcome,) = yield [Question.of(request, AfterAnswer, lambda answer: answer.caption)]
        told, frames_s = outcome.value, tuple(clip.at_s[i] for i in shown)
        change, caption = (
            PartCaption(_WHOLE_S, *clip.whole, text, frames_s, after)
            for text, after in ((told.change, True), (told.caption, False))
        )
        return {
            "caption": caption.text,
            "caption_model": outcome.reply.model or self.model,
            "caption_frames_s": frames_s,
            "caption_parts": (change, caption),
            "caption_before": before.key,
        }


def _shown_before(before: ClipBefore, most: int) -> tuple[TimedImage, ...]:
    places = evenly(len(before.frames), most)
    return tuple(TimedImage(before.jpegs[i], before.starts_s + before.frames[i].at_s) for i in places)
