"""The caption view: a caption of a clip or picture as one question and answer, over the frames that it saw.

caption "A red circle enters." of frames at 0, 0.5 and 1 s
gives   "Describe this video." -> "A red circle enters.", with these three frames, method "model"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row
from reelmill.annotators.caption import CAPTION, CAPTION_FRAMES_S, CAPTION_MODEL
from reelmill.annotators.check_facts import ANSWERS, QUESTION
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.pipelines.sources.rows import BASE, PROVENANCE
from reelmill.pipelines.views.phrasing import (
    Label,
    defused,
    sample,
    sample_key,
)
from reelmill.pipelines.views.worded import Worded
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.keys import seed_for
from reelmill.schemas.provenance import UNMEASURED
from reelmill.schemas.sample import Role, Turn
from reelmill.schemas.verdict import ACCEPTED

FAMILY = "captioned"


@dataclass(frozen=True, kw_only=True)
class CompileCaption(Worded):
    """One sample per captioned clip or picture. `method` is what made the captions: a model, or rules."""

    phrasings: str = FAMILY
    method: str = "model"
    needs: ClassVar[tuple[Column, ...]] = (
        *(KEY, MEDIA, FRAMES, BASE, PROVENANCE),
        *(CAPTION, CAPTION_MODEL, CAPTION_FRAMES_S),
    )
    looked_at: ClassVar[str] = "the caption"

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        if not row["caption"]:
            raise Unusable("no_caption", f"{row['caption_model']} gave none")
        clip = self.material(row, row["caption_model"])
        key = sample_key(clip.key, FAMILY, "caption")
        seen = set(row["caption_frames_s"])
        frames = [f for f in clip.frames if f.at_s in seen]
        question = self.wording.pick(f"{clip.media.kind}.question", seed_for(self.seed, key, "question"))
        turns = (
            Turn(Role.USER, question, (), (), ()),
            Turn(Role.ASSISTANT, defused(row["caption"]), (), (), ()),
        )
        label = Label((f"caption of {clip.key}",), UNMEASURED, self.method, ACCEPTED)
        return {"samples": (sample(clip, key, FAMILY, "caption", frames, turns, label),)}


@dataclass(frozen=True)
class CaptionAsAnswer:
    """A caption as the answer to a question, for steps that judge answers."""

    question: str = "Describe what is shown."
    needs: ClassVar[tuple[Column, ...]] = (KEY, CAPTION)
    gives: ClassVar[tuple[Column, ...]] = (QUESTION, ANSWERS)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=256)

    def setup(self) -> None:
        """Nothing to make ready."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        if not row["caption"]:
            raise Unusable("no_caption", "there is none to judge")
        return {"question": self.question, "answers": (row["caption"],)}
