"""Evidence: the text that can be read in a clip's shown frames and in pictures, and for how long it is on screen."""

from __future__ import annotations

from reelmill.annotators.text import ReadText
from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows


def recipe(text_engine: str = "rapidocr", whole: bool = False) -> Recipe:
    """One row per clip or picture, with its lines of text, their words, and the texts over time.

    `text_engine` (--engine text=...) is rapidocr, or tesseract where that program is installed: tesseract:eng+kor names
    its language packs. `whole` reads videos uncut, as in `clips`: a text that outlasts a shot change is then one.
    """
    step = ReadText(text_engine)
    source = Rows(clips.recipe(whole=whole), with_frames=True)
    return Recipe(name="text_whole" if whole else "text", version="1", source=source, steps=(step,))
