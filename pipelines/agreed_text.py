"""Evidence: the same frames read by a second engine, and the lines on which both engines agree."""

from __future__ import annotations

from reelmill.annotators.read_second import AgreeTexts, ReadSecond
from reelmill.annotators.text import TESSERACT
from reelmill.pipelines import clips, text
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas.errors import BadInput


def recipe(text_engine: str = "rapidocr", second_engine: str = TESSERACT, whole: bool = False) -> Recipe:
    """One row per clip or picture. `text_engine` and `second_engine` as `text_engine` in `text`; `whole` as in `clips`.

    Raises BadInput where both are one engine, which agrees with itself in everything.
    """
    if text_engine.partition(":")[0] == second_engine.partition(":")[0]:
        do = "give --set second_engine=tesseract, or tesseract:eng+kor"
        raise BadInput(f"second_engine={second_engine}", seen=f"the first engine is {text_engine}", do=do)
    first = text.recipe(text_engine, whole)
    steps = (ReadSecond(second_engine), AgreeTexts())
    source = Rows(clips.recipe(whole=whole), joined=(first,), with_frames=True)
    return Recipe(name="agreed_text_whole" if whole else "agreed_text", version="1", source=source, steps=steps)
