"""Evidence: the text that can be read in a clip's shown frames and in pictures, and for how long it is on screen."""

from __future__ import annotations

from reelmill.annotators.text import ReadText
from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows


def recipe(text_engine: str = "rapidocr") -> Recipe:
    """One row per clip or picture, with its lines of text, their words, and the texts over time.

    `text_engine` (--engine text=...) is rapidocr, or tesseract where that program is installed: tesseract:eng+kor names
    its language packs.
    """
    step = ReadText(text_engine)
    return Recipe(name="text", version="1", source=Rows(clips.recipe(), with_frames=True), steps=(step,))
