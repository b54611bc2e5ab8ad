"""Evidence: phrases borrowed from the lists of other clips, and where localisers find them in this one, if anywhere."""

from __future__ import annotations

from reelmill.annotators.ask_spans import ASKED_PHRASES, AskPhrases
from reelmill.annotators.borrow import HoldBorrowed
from reelmill.annotators.localise import SIMILAR, SIMILAR_FRAMES_S, SIMILAR_SPANS, SIMILARITIES, Localise
from reelmill.pipelines import clips, embeddings, listed
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.borrowing import Borrowing


def recipe(
    list_engine: str = "",
    localise_engine: str = "",
    embed_engine: str = "",
    model_revision: str = "",
    list_revision: str = "",
    most: int = 2,
) -> Recipe:
    """One row per video clip, with at most `most` phrases. Engines as in `listed_events`."""
    lists = listed.recipe(list_engine, localise_engine, list_revision)
    ask = AskPhrases(localise_engine or list_engine, model_revision=list_revision)
    if not embed_engine:
        source = Borrowing(clips.recipe(), joined=(lists,), only="video", with_frames=True, most=most)
        return Recipe(name="borrowed", version="1", source=source, steps=(ask, HoldBorrowed()), drops=(ASKED_PHRASES,))
    vectors = embeddings.recipe(embed_engine, model_revision)
    source = Borrowing(clips.recipe(), joined=(lists, vectors), only="video", with_frames=True, most=most)
    steps = (ask, Localise(embed_engine, model_revision=model_revision), HoldBorrowed(similar=True))
    drops = (ASKED_PHRASES, SIMILAR, SIMILAR_SPANS, SIMILARITIES, SIMILAR_FRAMES_S)
    return Recipe(name="borrowed", version="1", source=source, steps=steps, drops=drops)
