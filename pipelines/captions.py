"""Evidence: a caption of each clip or picture, with the times of the frames that it was made from.

By rules from a clip's events (`embedded`, the default: videos only), or by a model behind an engine.
"""

from __future__ import annotations

from reelmill.annotators.caption import AFTER, CLIP, Caption, CaptionAfter
from reelmill.annotators.describe import Describe
from reelmill.pipelines import clips, events
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows


def recipe(
    caption_engine: str = "embedded", prompt: str = "caption", form: str = CLIP, model_revision: str = ""
) -> Recipe:
    """One row per clip or picture. `caption_engine` (--engine caption=...) is embedded, transformers:MODEL, vllm:MODEL,
    openai:MODEL@URL or replay:FILE; `prompt` one that ships, or package:name of your own; `form` clip, differential,
    scales or after; `model_revision` what you know of the weights behind a server."""
    if caption_engine == "embedded":
        source = Rows(clips.recipe(), joined=(events.recipe(),), only="video")
        return Recipe(name="captions_by_rules", version="1", source=source, steps=(Describe(),))
    if form == AFTER:
        after = CaptionAfter(caption_engine, prompt=prompt, model_revision=model_revision)
        source = Rows(clips.recipe(), with_frames=True, with_before=True)
        return Recipe(name="captions_after", version="1", source=source, steps=(after,))
    step = Caption(caption_engine, prompt=prompt, form=form, model_revision=model_revision)
    return Recipe(name="captions", version="1", source=Rows(clips.recipe(), with_frames=True), steps=(step,))
