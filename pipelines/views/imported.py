"""Samples from what an existing set says of a medium: its dialogues as they are, its captions as one question each.

    turns "What is it?" "A dog."           ->  a sample "dialogue" of these two
    stated "A dog runs." of all of it      ->  a sample "caption": "Describe this picture." "A dog runs."

Nobody here knows who made the labels: `method` is "imported" and the confidence 0.5. Sizes and boxes are checked
against the medium that was found, since a name that fits is no proof that it is the same picture.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from reelmill.annotators.annotator import step_name
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines.sources.annotated.dialogue import harmless
from reelmill.pipelines.sources.annotated.fields import IMPORTED
from reelmill.pipelines.sources.annotated.imports import CLIP_KEY
from reelmill.pipelines.sources.annotated.validating import ANNOTATION
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.phrasing import Label, Material, sample, sample_key
from reelmill.pipelines.views.worded import Worded, lent
from reelmill.schemas import arrow
from reelmill.schemas.annotation import Annotation
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.keys import seed_for
from reelmill.schemas.media import MediaRef
from reelmill.schemas.provenance import UNMEASURED, Provenance
from reelmill.schemas.sample import Role, Sample, Turn
from reelmill.schemas.tube import Box
from reelmill.schemas.verdict import ACCEPTED

FAMILY = "imported"
DIALOGUE, CAPTION = "dialogue", "caption"
EDGE_PX = 2.0
"""How far a box may lie outside and be cut at the edge: sets round to whole pixels on both sides."""


@dataclass(frozen=True, kw_only=True)
class CompileImported(Worded):
    """The samples of one row of a set. `phrasings` has the questions that captions answer."""

    phrasings: str = "captioned"
    needs: ClassVar[tuple[Column, ...]] = (KEY, ANNOTATION, CLIP_KEY, MEDIA, FRAMES, BASE, PROVENANCE)
    looked_at: ClassVar[str] = "the set's own row"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        said: Annotation = arrow.typed(Annotation, row["annotation"])
        clip = lent(row | {"key": row["clip_key"]}, self._link(said, row["media"]["digest"]))
        _require_same(said, clip.media)
        if said.rejected:
            raise Unusable("preference_pair", f"{said.original_id}: a pair; this recipe makes dialogues")
        made = [*self._dialogues(row["key"], said, clip), *self._captions(row["key"], said, clip)]
        if not made:
            held = f"{len(said.stated)} statements, {len(said.regions)} regions, {len(said.texts)} texts"
            raise Unusable("no_words", f"{said.original_id}: {held}, and none that makes a dialogue")
        return {"samples": tuple(sorted(made, key=lambda s: s.key))}

    def _link(self, said: Annotation, digest: str) -> Provenance:
        return Provenance(
            step=step_name(self),
            method=IMPORTED,
            revision=self.revision,
            model="",
            prompt_hash=self.phrasings_hash,
            seed=self.seed,
            source_digest=digest,
            observed=f"row {said.original_id} of {said.source_set}",
            dataset="",
        )

    def _dialogues(self, parent: str, said: Annotation, clip: Material) -> list[Sample]:
        if not said.turns:
            return []
        turns = tuple(_inside(turn, clip.media, clip.duration_s) for turn in said.turns)
        return [_sample(parent, sample_key(parent, FAMILY, DIALOGUE), DIALOGUE, said, clip, turns)]

    def _captions(self, parent: str, said: Annotation, clip: Material) -> list[Sample]:
        """One for each statement about all of the medium; those of a part wait for a recipe that asks about times."""
        return [self._caption(parent, i, one.text, said, clip) for i, one in enumerate(said.stated) if one.span is None]

    def _caption(self, parent: str, place: int, text: str, said: Annotation, clip: Material) -> Sample:
        key = sample_key(parent, FAMILY, CAPTION, place)
        question = self.wording.pick(f"{clip.media.kind}.question", seed_for(self.seed, key, "question"))
        words = harmless(text)
        if not words:
            raise Unusable("no_words", f"{said.original_id}: a caption without a visible character")
        turns = (Turn(Role.USER, question, (), (), ()), Turn(Role.ASSISTANT, words, (), (), ()))
        return _sample(parent, key, CAPTION, said, clip, turns)


def _sample(parent: str, key: str, task: str, said: Annotation, clip: Material, turns: tuple[Turn, ...]) -> Sample:
    label = Label((f"{said.source_set}#{said.original_id}",), UNMEASURED, IMPORTED, ACCEPTED)
    return dataclasses.replace(sample(clip, key, FAMILY, task, clip.frames, turns, label), parent_key=parent)


def _require_same(said: Annotation, media: MediaRef) -> None:
    """Raises Unusable where the set declares another kind or size than the medium has."""
    if said.kind != media.kind:
        raise Unusable("kind_differs", f"{said.original_id}: the set says {said.kind}, the file is a {media.kind}")
    declared, seen = (said.width_px, said.height_px), (media.width_px, media.height_px)
    if any(d is not None and d != s for d, s in zip(declared, seen, strict=True)):
        want = f"{declared[0]} x {declared[1]}"
        raise Unusable("size_differs", f"{said.original_id}: the set says {want}, the file has {seen[0]} x {seen[1]}")


def _inside(turn: Turn, media: MediaRef, duration_s: float) -> Turn:
    """A turn whose boxes end at the edge of the medium. Raises Unusable for boxes and times that lie beyond it."""
    late = [t for t in (*turn.src_s, *turn.tgt_s) if not 0.0 <= t <= duration_s + 1e-6]
    if late:
        raise Unusable("time_outside", f"{late[0]} s in a medium of {duration_s} s")
    return dataclasses.replace(turn, boxes=tuple(_cut(box, media) for box in turn.boxes))


def _cut(box: Box, media: MediaRef) -> Box:
    cut = box.clipped(media.width_px, media.height_px)
    pairs = zip(arrow.plain(box).values(), arrow.plain(cut).values(), strict=True)
    if cut.area_px <= 0 or any(abs(a - b) > EDGE_PX for a, b in pairs):
        raise Unusable("box_outside", f"{box} in {media.width_px} x {media.height_px}")
    return cut
