"""Evidence: what an existing annotated set says of each clip, as stated events and tubes made by people."""

from __future__ import annotations

from reelmill.annotators.events import EVENTS
from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.annotated.reading import is_spoken
from reelmill.pipelines.sources.annotated.set_file import SetFile
from reelmill.pipelines.sources.annotated.witness import WitnessAnnotations
from reelmill.pipelines.sources.rows import Rows
from reelmill.schemas.errors import BadInput


def recipe(set: str, path: str) -> Recipe:
    """One row per video clip, exploded into stated events; the tubes stay with the row. `set` and `path` as in
    `annotations`. Each file of a set is a dataset of its own over the same clips."""
    if is_spoken(set):
        seen = "subtitles: what is said, not what is seen"
        raise BadInput(f"set={set} gives no events", seen=seen, do="read them with `annotations`")
    owner = SetFile.at(set, path)
    name = f"witnessed_{owner.name}_{owner.digest[:8]}"
    source, step = Rows(clips.recipe(), only="video"), WitnessAnnotations.of(owner)
    return Recipe(name=name, version="1", source=source, steps=(step,), explode=EVENTS)


def stated(evidence: str) -> Recipe:
    """The recipe that human:SET:PATH names, as views are told of it. Raises BadInput without a path."""
    _, _, where = evidence.partition(":")
    name, mark, path = where.partition(":")
    if not (mark and path):
        do = "use human:SET:PATH, such as human:vidstg:annotations/"
        raise BadInput(f"evidence={evidence}", seen="no path", do=do)
    return recipe(name, path)
