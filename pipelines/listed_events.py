"""Evidence: listed events with a time that two localisers agree on, and phrases of other clips that none finds here."""

from __future__ import annotations

from reelmill.annotators.agree import LISTED_EVENTS, Agree, AgreeRules
from reelmill.pipelines import borrowed, clips, events, listed, similar, tubes
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas.errors import BadInput


def recipe(
    list_engine: str = "",
    localise_engine: str = "",
    embed_engine: str = "",
    model_revision: str = "",
    list_revision: str = "",
    least_tiou: float = 0.5,
    snap_s: float = 0.5,
    borrow: int = 2,
) -> Recipe:
    """One row per video clip, exploded into events; rejected ones are kept with every proposal.

    `list_engine` lists and `localise_engine` (else the same) is asked when each happens: one witness. `embed_engine`
    (transformers:MODEL, a dual encoder, of `model_revision`) and the motion tubes are the others. Ends
    that no tube gives move by at most `snap_s` to a change of the picture. `borrow` phrases of other clips are looked
    for in each.
    """
    if list_engine == "embedded":
        do = "give a chat engine, or run `events`: the embedded form reads events off motion, in words of its own"
        raise BadInput("events are listed by a model", seen="list=embedded", do=do)
    if not 0 < least_tiou <= 1:
        raise BadInput(f"least_tiou={least_tiou}", seen="not in (0, 1]", do="0.5 is the default")
    lists = listed.recipe(list_engine, localise_engine, list_revision)
    lent = borrowed.recipe(list_engine, localise_engine, embed_engine, model_revision, list_revision, borrow)
    joined = [lists, tubes.recipe(), events.recipe(), lent]
    if embed_engine:
        joined.append(similar.recipe(embed_engine, (), list_engine, model_revision, list_revision, localise_engine))
    step = Agree(similar=bool(embed_engine), rules=AgreeRules(least_tiou=least_tiou, snap_s=snap_s))
    source = Rows(clips.recipe(), joined=tuple(joined), only="video")
    return Recipe(name="listed_events", version="1", source=source, steps=(step,), explode=LISTED_EVENTS)
