"""What an existing annotated set says, row by row, in one form, with what cannot be used named and counted."""

from __future__ import annotations

from reelmill.pipelines._recipe import Recipe
from reelmill.pipelines.sources.annotated.set_file import SetFile
from reelmill.pipelines.sources.annotated.source import Annotated
from reelmill.pipelines.sources.annotated.validating import ValidateAnnotation


def recipe(set: str, path: str) -> Recipe:
    """One row per row of the set's own file. `set` names the reader, `path` the file or folder that it wants.

    Another file is another dataset, with the file's digest in its name, so that several stand in one store.
    """
    owner = SetFile.at(set, path)
    name = f"annotations_{owner.name}_{owner.digest[:8]}"
    return Recipe(name=name, version="1", source=Annotated(owner), steps=(ValidateAnnotation(),))
