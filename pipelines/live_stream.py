"""Dialogues while the clip plays: answers when something begins or ends, silence in between, no word of the future.

After LIVE (VideoLLM-online, Chen et al. 2024, section 3.2), which has a language model write answers at the starts and
ends of annotated steps. Here the times are those of verified events and the words are templates; see decision 0036.
"""

from __future__ import annotations

from reelmill.pipelines import clips, events
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines._truth import true_clips
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.live import SAMPLES, CompileLive
from reelmill.schemas.errors import BadInput


def recipe(evidence: str = "rules", agreement: bool = False) -> Recipe:
    """One row per video clip, exploded into streams. `evidence` is rules, or truth for rendered scenes; `agreement` as
    in `events`."""
    if evidence == "truth":
        return Recipe(
            name="live_stream_truth", version="1", source=true_clips(), steps=(CompileLive(),), explode=SAMPLES
        )
    if evidence != "rules":
        raise BadInput(f"evidence={evidence}", seen="an unknown kind", do="use rules or truth")
    source = Rows(clips.recipe(), joined=(events.recipe(agreement),), only="video")
    return Recipe(name="live_stream", version="1", source=source, steps=(CompileLive(),), explode=SAMPLES)
