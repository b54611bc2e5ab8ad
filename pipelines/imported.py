"""Existing annotated and instruction sets as samples: their dialogues and captions, with every row accounted for.

`reelmill import` runs it. Any row of the set ends accepted or rejected with a reason, also one whose media are missing.
"""

from __future__ import annotations

from pathlib import Path

from reelmill.pipelines import clips
from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.annotated.imports import ImportedRows
from reelmill.pipelines.sources.annotated.reading import reader
from reelmill.pipelines.sources.annotated.set_file import SetFile
from reelmill.pipelines.views.imported import CompileImported
from reelmill.pipelines.views.worded import SAMPLES
from reelmill.schemas.errors import BadInput


def recipe(set: str = "", path: str = "", whole: bool = False) -> Recipe:
    """One row per row of the set at `path`, exploded into samples. `set` names the reader, such as coco.

    `whole` as in `clips`: without it, a row about a video of several shots is rejected.
    """
    if not set or not path:
        do = "give --set set=llava_json --set path=FILE, or use `reelmill import`"
        raise BadInput("an existing set is imported from its file", seen="no set or no path", do=do)
    reader(set)
    source = ImportedRows(clips.recipe(whole=whole), SetFile(set, Path(path)))
    return Recipe(name="imported", version="1", source=source, steps=(CompileImported(),), explode=SAMPLES)
