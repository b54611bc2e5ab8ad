"""Evidence: questions and answers that a teacher wrote about clips and pictures whose caption and text are known."""

from __future__ import annotations

from reelmill.annotators.ask import AskAndWrite, AskOfAgreedText
from reelmill.annotators.caption import CLIP
from reelmill.annotators.text import TESSERACT
from reelmill.pipelines import agreed_text, captions, clips, text
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas.errors import BadInput


def recipe(write_engine: str = "", caption_engine: str = "embedded", form: str = CLIP) -> Recipe:
    """One row per captioned clip or picture. `write_engine` (--engine write=...) asks and writes."""
    if not write_engine:
        raise BadInput("questions are written by a model", seen="no engine", do="give --engine write=openai:MODEL@URL")
    made = captions.recipe(caption_engine, form=form)
    only = "video" if caption_engine == "embedded" else ""
    source = Rows(clips.recipe(), joined=(made, text.recipe()), only=only, with_frames=True)
    return Recipe(name="written", version="1", source=source, steps=(AskAndWrite(write_engine),))


def of_agreed_text(
    write_engine: str, caption_engine: str = "embedded", text_engine: str = "rapidocr", second_engine: str = TESSERACT
) -> Recipe:
    """As `recipe`, where the teacher is told only of lines that two engines read alike."""
    made = (captions.recipe(caption_engine), agreed_text.recipe(text_engine, second_engine))
    only = "video" if caption_engine == "embedded" else ""
    source = Rows(clips.recipe(), joined=made, only=only, with_frames=True)
    return Recipe(name="written_of_text", version="1", source=source, steps=(AskOfAgreedText(write_engine),))
