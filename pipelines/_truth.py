"""What views of rendered scenes are compiled from in place of found evidence: clips at the true cuts, true events.

>>> [recipe.name for recipe in true_clips().upstreams]
['clips_truth', 'events_truth']
"""

from __future__ import annotations

from reelmill.pipelines import media
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows


def true_clips(*, tubes: bool = False) -> Rows:
    """Clips cut at the true cuts of rendered videos, with their true events, and their true tubes where wanted."""
    from reelmill.annotators.cut import CLIPS
    from reelmill.annotators.events import EVENTS
    from reelmill.pipelines.scenes.evidence import CutAtTruth, TrueEvents, TrueTubes

    cut = Recipe(
        name="clips_truth", version="1", source=Rows(media.recipe(), only="video"), steps=(CutAtTruth(),), explode=CLIPS
    )
    followed = Recipe(name="tubes_truth", version="1", source=Rows(cut), steps=(TrueTubes(),))
    happened = Recipe(name="events_truth", version="1", source=Rows(cut), steps=(TrueEvents(),), explode=EVENTS)
    return Rows(cut, joined=(*((followed,) if tubes else ()), happened), only="video")
