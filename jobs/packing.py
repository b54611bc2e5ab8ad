"""`pack`: publish a dataset and say where a person should look."""

from __future__ import annotations

from pathlib import Path

from reelmill.jobs.inspecting import opened
from reelmill.jobs.progress import wide_console


def pack_and_show(store: Path, dataset: str, media: str) -> Path:
    """Pack, write the gallery, print the counts; returns the gallery's page."""
    from reelmill.sinks.gallery import write_gallery
    from reelmill.sinks.pack import pack

    console, place = wide_console(), opened(store)
    one = place.find(dataset)
    with console.status(f"packing {one.label} ..."):
        packed = pack(place, one, media=media)
        page = write_gallery(place, one, one.folder / "gallery")
    console.print(f"{one.label}: {packed}", highlight=False, soft_wrap=True)
    console.print(f"gallery: {page}", highlight=False, soft_wrap=True)
    return page
