"""Questions and answers about text by a teacher, who knows a caption and the lines that two engines read alike.

After LLaVAR stage B (Zhang et al. 2023), with every quotation and number of an answer looked up.
"""

from __future__ import annotations

from reelmill.annotators.text import TESSERACT
from reelmill.pipelines import agreed_text, captions, clips, written
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.worded import SAMPLES
from reelmill.pipelines.views.written_text import CompileWrittenText
from reelmill.schemas.errors import BadInput


def recipe(
    write_engine: str = "",
    caption_engine: str = "embedded",
    text_engine: str = "rapidocr",
    second_engine: str = TESSERACT,
) -> Recipe:
    """One row per captioned clip or picture, exploded into samples. `write_engine` (--engine write=...) asks and
    writes; the engines of text as in `agreed_text`. Captions by rules are of videos only; --engine caption=... captions
    pictures too."""
    if not write_engine:
        raise BadInput("questions are written by a model", seen="no engine", do="give --engine write=openai:MODEL@URL")
    made = (
        captions.recipe(caption_engine),
        agreed_text.recipe(text_engine, second_engine),
        written.of_agreed_text(write_engine, caption_engine, text_engine, second_engine),
    )
    source = Rows(clips.recipe(), joined=made, only="video" if caption_engine == "embedded" else "")
    return Recipe(name="ocr_written", version="1", source=source, steps=(CompileWrittenText(),), explode=SAMPLES)
