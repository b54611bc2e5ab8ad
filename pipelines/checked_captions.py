"""Evidence: what another model makes of the captions: each statement checked against the frames, and a score."""

from __future__ import annotations

from reelmill.annotators.caption import CLIP
from reelmill.annotators.check_facts import CheckFacts
from reelmill.annotators.judge import Judge
from reelmill.pipelines import captions, clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.captioned import CaptionAsAnswer
from reelmill.schemas.errors import BadInput


def recipe(
    judge_engine: str = "", caption_engine: str = "embedded", prompt: str = "caption", form: str = CLIP
) -> Recipe:
    """One row per captioned clip or picture. `judge_engine` (--engine judge=...): not the model that captions."""
    if not judge_engine:
        raise BadInput("captions are checked by a model", seen="no engine", do="give --engine judge=openai:MODEL@URL")
    made = captions.recipe(caption_engine, prompt, form)
    only = "video" if caption_engine == "embedded" else ""
    steps = (CaptionAsAnswer(), CheckFacts(judge_engine), Judge(judge_engine, pairs=False))
    source = Rows(clips.recipe(), joined=(made,), only=only, with_frames=True)
    return Recipe(name="checked_captions", version="1", source=source, steps=steps)
