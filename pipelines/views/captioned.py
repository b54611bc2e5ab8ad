"""The caption view: a model's caption of a clip or picture as one question and answer, over the frames that it saw.

caption "A red circle enters." of frames at 0, 0.5 and 1 s
gives   "Describe this video." -> "A red circle enters.", with these three frames, method "model"
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row, step_name
from reelmill.annotators.caption import CAPTION, CAPTION_FRAMES_S, CAPTION_MODEL
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.grounding import FRAMES, MEDIA, SAMPLES
from reelmill.pipelines.views.phrasing import (
    Label,
    Material,
    Phrasings,
    defused,
    load,
    phrasings_hash,
    sample,
    sample_key,
)
from reelmill.schemas import arrow
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.keys import seed_for
from reelmill.schemas.media import MediaRef, ShownFrame
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.sample import Role, Turn
from reelmill.schemas.verdict import ACCEPTED

FAMILY = "captioned"
UNMEASURED = 0.5
"""Confidence of a label that nobody has measured: a model's caption is checked for its form only."""


@dataclass(frozen=True)
class CompileCaption:
    """One sample per captioned clip or picture."""

    seed: int = 0
    phrasings: str = FAMILY
    phrasings_hash: str = ""
    needs: ClassVar[tuple[Column, ...]] = (
        *(KEY, MEDIA, FRAMES, BASE, PROVENANCE),
        *(CAPTION, CAPTION_MODEL, CAPTION_FRAMES_S),
    )
    gives: ClassVar[tuple[Column, ...]] = (SAMPLES,)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=256)

    def __post_init__(self) -> None:
        object.__setattr__(self, "phrasings_hash", self.phrasings_hash or phrasings_hash(self.phrasings))

    def setup(self) -> None:
        """Raises Drift where this machine's phrasings are not those that the step was described with."""
        _ = self._wording

    @cached_property
    def _wording(self) -> Phrasings:
        return load(self.phrasings, self.phrasings_hash)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        if not row["caption"]:
            raise Unusable("no_caption", f"{row['caption_model']} gave none")
        clip = self._material(row)
        key = sample_key(clip.key, FAMILY, "caption")
        seen = set(row["caption_frames_s"])
        frames = [f for f in clip.frames if f.at_s in seen]
        question = self._wording.pick(f"{clip.media.kind}.question", seed_for(self.seed, key, "question"))
        turns = (
            Turn(Role.USER, question, (), (), ()),
            Turn(Role.ASSISTANT, defused(row["caption"]), (), (), ()),
        )
        label = Label((f"caption of {clip.key}",), UNMEASURED, "model", ACCEPTED)
        return {"samples": (sample(clip, key, FAMILY, "caption", frames, turns, label),)}

    def _material(self, row: dict[str, Any]) -> Material:
        media: MediaRef = arrow.typed(MediaRef, row["media"])
        link = Provenance(
            step=step_name(self),
            method="rules",
            revision=self.revision,
            model=row["caption_model"],
            prompt_hash=self.phrasings_hash,
            seed=self.seed,
            source_digest=media.digest,
            observed="the caption",
            dataset="",
        )
        return Material(
            key=row["key"],
            media=media,
            frames=arrow.typed(tuple[ShownFrame, ...], row["frames"]),
            dataset=row["clips_dataset"],
            provenance=(*arrow.typed(tuple[Provenance, ...], row["provenance"]), link),
        )
