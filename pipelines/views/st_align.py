"""From a clip's tubes and events to dialogues about content, place and time, in the fifteen forms of ST-Align.

After LLaVA-ST (Li et al. 2025, section 4): three stages, from content over coordinates to both interleaved. There the
boxes are those of people; here they are tubes, and what the evidence leaves open is refused with a reason:

    ambiguous_subject  the words for the subject fit another thing in view, and no quality sets it apart
    ambiguous_span     another event fills nearly the same interval      ambiguous_box    ... nearly the same box
    ambiguous_start    the same thing begins two events at once          no_shown_frame   no box is known for the span
    unsettled          the answer would have to name what was proposed but not accepted
    span_outside_clip, low_confidence, too_often

    tube   the red circle, event moves [0.4, 2.0)
    sample Q "When does the red circle move, and where is it then?"  A "It happens at <time>: <tube>"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from reelmill.annotators.annotator import step_name
from reelmill.annotators.detect import DETECT_MODEL, DETECTIONS
from reelmill.annotators.events import EVENTS
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.annotators.tubes import TUBES, TUBES_NOTE
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.aligned import content, still, timed
from reelmill.pipelines.views.aligned.story import FAMILY, Draft, Rules, Story
from reelmill.pipelines.views.aligned.subjects import Thing, detected, followed
from reelmill.pipelines.views.phrasing import Label, Material, joined_methods, sample
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.detection import Detection
from reelmill.schemas.errors import Unusable
from reelmill.schemas.event import Event
from reelmill.schemas.keys import seed_for
from reelmill.schemas.sample import GroundedSample, widened
from reelmill.schemas.tube import Tube
from reelmill.schemas.verdict import ACCEPTED, rejected
from reelmill.sinks.exports.st_align import OF_A_PICTURE

SAMPLES = Column.of("samples", tuple[GroundedSample, ...])

Form = Callable[[Story], Iterator[Draft]]

FORMS: dict[str, Form] = {
    "vc": content.vc,
    "ic": still.ic,
    "vqa_open": content.vqa_open,
    "vqa_attribute": content.vqa_attribute,
    "vqa_yes_no": content.vqa_yes_no,
    "rec": still.rec,
    "reg": still.reg,
    "tvg": timed.tvg,
    "tr": timed.tr,
    "dvc": timed.dvc,
    "dgc": still.dgc,
    "tgc": timed.tgc,
    "stvg": timed.stvg,
    "svg": timed.svg,
    "elc": timed.elc,
    "absent": timed.absent,
}
"""How each task is made: the fifteen forms, and the questions of STVG about what is not in the video."""

WHOLE_SETS = ("vqa_yes_no",)
"""Forms that choose their own samples, since these belong together."""

_ABOUT_FRAMES = tuple(task for task in FORMS if task in OF_A_PICTURE)


@dataclass(frozen=True, kw_only=True)
class Aligned(Worded):
    """What the two steps share: of each form, at most `per_form` accepted samples of a clip or picture."""

    per_form: int = 2
    rules: Rules = field(default_factory=Rules)
    phrasings: str = FAMILY
    gives: ClassVar[tuple[Column, ...]] = (SAMPLES,)

    def story(self, clip: Material, things: Iterable[Thing], events: Iterable[Event] = (), note: str = "") -> Story:
        return Story(self.rules, self.seed, self.wording, clip, things, events, note)

    def samples(self, story: Story, tasks: Iterable[str]) -> tuple[GroundedSample, ...]:
        """Samples of some forms, by key."""
        drafts = [draft for task in tasks for draft in self._chosen(task, FORMS[task](story))]
        return tuple(sorted((self._sample(story.clip, d) for d in drafts), key=lambda s: s.key))

    def _chosen(self, task: str, drafts: Iterable[Draft]) -> list[Draft]:
        """Drafts in the order of a draw by their own key, up to the last good one that is wanted; refused ones that
        come before it are kept with their reason."""
        drawn = sorted(drafts, key=lambda d: seed_for(self.seed, d.key, "drawn"))
        most = len(drawn) if task in WHOLE_SETS else self.per_form
        chosen: list[Draft] = []
        for draft in drawn:
            if sum(d.fault is None for d in chosen) == most:
                break
            chosen.append(draft)
        return chosen

    def _sample(self, clip: Material, draft: Draft) -> GroundedSample:
        sources: tuple[Thing | Event, ...] = (*draft.things, *draft.events)
        label = Label(
            evidence=(*(t.id for t in draft.things), *(e.key for e in draft.events)),
            confidence=min(source.confidence for source in sources),
            method=joined_methods(source.method for source in sources),
            verdict=rejected(step_name(self), *draft.fault) if draft.fault else ACCEPTED,
        )
        frames = clip.frames if draft.frame is None else (clip.frames[draft.frame],)
        made = sample(clip, draft.key, FAMILY, draft.task, frames, draft.turns, label)
        return widened(GroundedSample, made, tubes=draft.tubes)


@dataclass(frozen=True, kw_only=True)
class CompileStAlign(Aligned):
    """All forms, from the tubes and events of a clip. A clip without a tube is refused, or with doubtful ones alone."""

    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, TUBES, TUBES_NOTE, EVENTS, BASE, PROVENANCE)
    looked_at: ClassVar[str] = "tubes and events of the clip"
    revision: ClassVar[str] = "2"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        tubes = arrow.typed(tuple[Tube, ...], row["tubes"])
        if not tubes:
            raise Unusable("no_tube", row["tubes_note"] or "nothing was followed")
        if all(tube.confidence < self.rules.least_confidence for tube in tubes):
            raise Unusable("low_confidence", f"{len(tubes)} tube(s) below {self.rules.least_confidence}")
        clip = self.material(row)
        things = [followed(tube, clip.frames, clip.media) for tube in tubes]
        events = arrow.typed(tuple[Event, ...], row["events"])
        return {"samples": self.samples(self.story(clip, things, events, row["tubes_note"]), FORMS)}


@dataclass(frozen=True, kw_only=True)
class CompileDetected(Aligned):
    """The forms about one frame, of pictures too, from what a detector found there."""

    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, DETECTIONS, DETECT_MODEL, BASE, PROVENANCE)
    looked_at: ClassVar[str] = "detections in the shown frames"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        clip = self.material(row, row["detect_model"])
        found = arrow.typed(tuple[Detection, ...], row["detections"])
        things = [t for d in found if (t := detected(d, clip.frames, clip.media)) is not None]
        if not things:
            raise Unusable("nothing_detected", f"{len(found)} detections in {len(clip.frames)} shown frame(s)")
        return {"samples": self.samples(self.story(clip, things), _ABOUT_FRAMES)}
