"""OCR-rich dialogues: transcribe, read and locate the text in pictures and frames, with boxes and reading order.

After LLaVAR stage A (Zhang et al. 2023), with confidence, boxes and reading order kept.
"""

from __future__ import annotations

from reelmill.pipelines import clips, text
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.transcription import CompileTranscription
from reelmill.pipelines.views.worded import SAMPLES
from reelmill.schemas.errors import BadInput


def recipe(
    text_engine: str = "rapidocr",
    evidence: str = "rules",
    min_words: int = 2,
    min_text_share: float = 0.001,
    min_confidence: float = 0.8,
) -> Recipe:
    """One row per clip or picture, exploded into samples. `text_engine` as in `text`; `evidence` is rules, or truth
    for rendered scenes.

    A frame with fewer than `min_words`, or with less than `min_text_share` of its area under text, is refused as
    too_little_text; one whose mean confidence is under `min_confidence` as low_confidence.
    """
    step = CompileTranscription(words_min=min_words, text_share_min=min_text_share, confidence_min=min_confidence)
    if truth_wanted(evidence):
        source = Rows(clips.recipe(), joined=(text_truth(),))
        return Recipe(name="ocr_rich_truth", version="1", source=source, steps=(step,), explode=SAMPLES)
    source = Rows(clips.recipe(), joined=(text.recipe(text_engine),))
    return Recipe(name="ocr_rich", version="1", source=source, steps=(step,), explode=SAMPLES)


def truth_wanted(evidence: str) -> bool:
    """Raises BadInput for what is neither rules nor truth."""
    if evidence not in ("rules", "truth"):
        raise BadInput(f"evidence={evidence}", seen="an unknown kind", do="use rules or truth")
    return evidence == "truth"


def text_truth(whole: bool = False) -> Recipe:
    """The true texts of rendered media, as both engines would give them if they never erred. `whole` as in `clips`."""
    from reelmill.pipelines.scenes.evidence import TrueTexts

    name = "text_whole_truth" if whole else "text_truth"
    return Recipe(name=name, version="1", source=Rows(clips.recipe(whole=whole)), steps=(TrueTexts(),))
