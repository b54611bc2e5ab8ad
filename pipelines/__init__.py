"""What we make: one file per recipe; the machinery that runs them is underscored.

The Python door, kept stable (everything else here may move):

    from reelmill import pipelines
    from reelmill.pipelines import ocr_rich

    dataset = pipelines.build(ocr_rich.recipe(), ["pictures/"], "store")
    dataset.children().to_pylist()
"""

# No `from __future__ import annotations` here: its name would hide the recipe `annotations` from an import.
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reelmill.pipelines._recipe import Recipe
    from reelmill.sinks.dataset import Dataset


def build(recipe: "Recipe", media: Sequence[str], store: str | Path, *, name: str = "", workers: int = 0) -> "Dataset":
    """Bring a recipe's dataset and all it is fed from up to date in this process, and return it for reading.

    `store` is a folder or an `s3://bucket/prefix`.
    `media` are folders, files, globs, tables or URIs; `name` the set of datasets (default from the media); `workers`
    threads (default as many as CPUs and memory carry). Never ends your process, as `reelmill run` ends its own where
    nothing moves. Raises as `reelmill run` reports: see `reelmill.schemas.errors`.
    """
    from reelmill.pipelines._place import place_of
    from reelmill.pipelines._run import Local, run
    from reelmill.sinks.state.place import place_at

    place = place_of(place_at(store), tuple(media), name)
    run(recipe, place, Local(workers) if workers else Local())
    return place.dataset(recipe)
