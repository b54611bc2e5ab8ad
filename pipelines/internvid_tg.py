"""Temporally grounded events: when does it happen, what happens then, everything in order, and what does not happen.

After InternVid-TG (DisTime, Zeng et al. 2025): events, several localisers, one accepted interval, templates. Here
every proposal is kept, acceptance needs agreement, and the first form's events are read by rules from motion.
"""

from __future__ import annotations

from reelmill.pipelines import clips, events
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.grounding import SAMPLES, CompileGrounding
from reelmill.pipelines.sources.rows import Rows


def recipe() -> Recipe:
    """One row per video clip, exploded into samples."""
    source = Rows(clips.recipe(), joined=(events.recipe(),), only="video")
    return Recipe(name="internvid_tg", version="1", source=source, steps=(CompileGrounding(),), explode=SAMPLES)
