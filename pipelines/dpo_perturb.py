"""Preference pairs about time: a true account of a clip and a perturbed one, both checked against the same events.

After TEMPLE (arXiv 2503.16929): the list of what happens is perturbed (dropped, shuffled, reversed ...), one writer
tells both lists, and the trainer sees the clean frames with either. Here events stand for its clip captions, every
claim of both sides is checked, and stages that would coincide for a short list are made once.
"""

from __future__ import annotations

from reelmill.pipelines import clips, events, media
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.pipelines.views.preference import PAIRS, ComparePerturbed
from reelmill.schemas.errors import BadInput


def recipe(evidence: str = "rules", agreement: bool = True, seed: int = 0, captions: str = "events") -> Recipe:
    """One row per video clip, exploded into pairs. `evidence` and `agreement` as in `internvid_tg`; `seed` draws other
    perturbations and wordings; `captions` is what the lists are made of, so far events alone."""
    if captions != "events":
        raise BadInput(f"captions={captions}", seen="an unknown kind", do="use events")
    if evidence not in ("rules", "truth"):
        raise BadInput(f"evidence={evidence}", seen="an unknown kind", do="use rules or truth")
    source = _true() if evidence == "truth" else Rows(clips.recipe(), joined=(events.recipe(agreement),), only="video")
    name = "dpo_perturb_truth" if evidence == "truth" else "dpo_perturb"
    return Recipe(name=name, version="1", source=source, steps=(ComparePerturbed(seed=seed),), explode=PAIRS)


def _true() -> Rows:
    from reelmill.annotators.cut import CLIPS
    from reelmill.annotators.events import EVENTS
    from reelmill.pipelines.scenes.evidence import CutAtTruth, TrueEvents

    cut = Recipe(
        name="clips_truth", version="1", source=Rows(media.recipe(), only="video"), steps=(CutAtTruth(),), explode=CLIPS
    )
    true = Recipe(name="events_truth", version="1", source=Rows(cut), steps=(TrueEvents(),), explode=EVENTS)
    return Rows(cut, joined=(true,), only="video")
