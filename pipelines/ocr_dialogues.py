"""Questions about text that two engines read alike: places, next words, counts, presence, prices, scripts.

After LLaVAR stage B (Zhang et al. 2023) in its form by rules; `ocr_written` is the form with a teacher.
"""

from __future__ import annotations

from pathlib import Path

from reelmill.annotators.text import TESSERACT
from reelmill.pipelines import agreed_text, clips, text
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.ocr_rich import text_truth, truth_wanted
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.dialogues import CompileDialogues
from reelmill.pipelines.views.worded import SAMPLES
from reelmill.schemas.errors import NotFound


def recipe(
    text_engine: str = "rapidocr", second_engine: str = TESSERACT, evidence: str = "rules", absent_words: str = ""
) -> Recipe:
    """One row per clip or picture, exploded into samples. Engines as in `agreed_text`; `evidence` is rules, or truth
    for rendered scenes. `absent_words` names a file of words, one in a line, to ask for where they are not there: the
    words of a collection make a better choice than the list that ships."""
    step = CompileDialogues(absent_words=_words(absent_words))
    if truth_wanted(evidence):
        source = Rows(clips.recipe(), joined=(text_truth(),))
        return Recipe(name="ocr_dialogues_truth", version="1", source=source, steps=(step,), explode=SAMPLES)
    made = (text.recipe(text_engine), agreed_text.recipe(text_engine, second_engine))
    return Recipe(
        name="ocr_dialogues", version="1", source=Rows(clips.recipe(), joined=made), steps=(step,), explode=SAMPLES
    )


def _words(file: str) -> tuple[str, ...]:
    """The words of a file, each once, sorted. Raises NotFound."""
    if not file:
        return ()
    try:
        found = Path(file).read_text(encoding="utf-8").split()
    except OSError as error:
        raise NotFound(f"absent_words={file}", seen=str(error), do="name a file with a word in each line") from error
    return tuple(sorted(set(found)))
