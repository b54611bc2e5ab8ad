"""OCR-rich dialogues: transcribe, read and locate the text in pictures and frames, with boxes and reading order.

After LLaVAR stage A (Zhang et al. 2023), with confidence, boxes and reading order kept.
"""

from __future__ import annotations

from reelmill.pipelines import clips, text
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.transcription import CompileTranscription
from reelmill.pipelines.views.worded import SAMPLES


def recipe(text_engine: str = "rapidocr") -> Recipe:
    """One row per clip or picture, exploded into samples. `text_engine` as in `text`."""
    source = Rows(clips.recipe(), joined=(text.recipe(text_engine),))
    return Recipe(name="ocr_rich", version="1", source=source, steps=(CompileTranscription(),), explode=SAMPLES)
