"""Evidence: what is said in a clip, as timed segments by Whisper, each judged against where there is sound at all."""

from __future__ import annotations

from reelmill.annotators.transcribe import SPEECH, Transcribe
from reelmill.pipelines import clips, sound
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas.errors import BadInput


def recipe(speech_engine: str = "", language: str = "", model_revision: str = "") -> Recipe:
    """One row per clip, exploded into segments; refused ones are kept. `speech_engine` (--engine speech=...) is
    transformers:MODEL, a Whisper; `language` a tag such as en, else each window's own; `model_revision` a commit."""
    if not speech_engine:
        raise BadInput(
            "speech is written down by a model", seen="no engine", do="give --engine speech=transformers:MODEL"
        )
    source = Rows(clips.recipe(), joined=(sound.recipe(),), only="video")
    step = Transcribe(speech_engine, model_revision=model_revision, language=language)
    return Recipe(name="speech", version="1", source=source, steps=(step,), explode=SPEECH)
