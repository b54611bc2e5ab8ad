"""Preference pairs about whole videos: a true account of the clips in their order and a perturbed one, both checked.

After TEMPLE (arXiv 2503.16929): videos of 4 to 32 cuts, neighbours that look alike merged, clip captions that are
dropped, shuffled, reversed or swapped, and the trainer sees the clean frames with either account. Here every claim of
both sides is checked, and stages that would coincide for a short film are made once.
"""

from __future__ import annotations

from reelmill.annotators.caption import AFTER
from reelmill.annotators.embed import Embed
from reelmill.annotators.sharpness import Sharpness
from reelmill.pipelines import captions, clips, embeddings, events, sharpness
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines._truth import true_clips
from reelmill.pipelines.sources.films import Films
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.choosing import ONE_GROUP
from reelmill.pipelines.views.preference import PAIRS
from reelmill.pipelines.views.temple import CompareCaptionedFilms, CompareFilms
from reelmill.schemas.errors import BadInput


def recipe(
    evidence: str = "rules",
    agreement: bool = False,
    caption_engine: str = "embedded",
    form: str = AFTER,
    embed_engine: str = "embedded",
    model_revision: str = "",
    over: float = ONE_GROUP,
    frames: str = "all",
    seed: int = 0,
) -> Recipe:
    """One row per video, exploded into pairs. `evidence` is rules (clip captions worded from events), truth for
    rendered scenes, or captions: those of `caption_engine` in `form` as in `captions`. Cuts whose clips are more alike
    than `over`, by `embed_engine` as in `embeddings`, are one. `frames`: all, or key for two sharp ones of each cut."""
    if not isinstance(over, int | float) or not 0 < over <= 1:
        raise BadInput(f"over={over}", seen="no cosine", do="give a number above 0, at most 1")
    step = CompareFilms(over=float(over), show=frames, seed=seed)
    if evidence == "truth":
        return _recipe("temple_truth", _true_films(), step)
    looks = (embeddings.recipe(embed_engine, model_revision), sharpness.recipe())
    if evidence == "rules":
        told, name = events.recipe(agreement), "temple"
    elif evidence == "captions":
        told, name = captions.recipe(caption_engine, form=form), "temple_captions"
        step = CompareCaptionedFilms(over=float(over), show=frames, seed=seed)
    else:
        raise BadInput(f"evidence={evidence}", seen="an unknown kind", do="use rules, truth or captions")
    return _recipe(name, Rows(clips.recipe(), joined=(told, *looks), only="video"), step)


def _true_films() -> Rows:
    """Clips at the true cuts with their true events, and how they look."""
    true = true_clips()
    shown = Rows(true.base, only="video", with_frames=True)
    looks = (
        Recipe(name="embeddings_by_looks_truth", version="1", source=shown, steps=(Embed(),)),
        Recipe(name="sharpness_truth", version="1", source=shown, steps=(Sharpness(),)),
    )
    return Rows(true.base, joined=(*true.joined, *looks), only="video")


def _recipe(name: str, source: Rows, step: CompareFilms) -> Recipe:
    return Recipe(name=name, version="1", source=Films(source), steps=(step,), explode=PAIRS)
