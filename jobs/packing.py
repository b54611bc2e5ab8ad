"""`pack`: publish a dataset and say where a person should look."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from reelmill.jobs.inspecting import opened


def pack_and_show(store: Path, dataset: str, media: str) -> Path:
    """Pack, write the gallery, print the counts; returns the gallery's page."""
    from reelmill.sinks.gallery import write_gallery
    from reelmill.sinks.pack import pack

    console, place = Console(), opened(store)
    one = place.find(dataset)
    packed = pack(place, one, media=media)
    page = write_gallery(place, one, one.folder / "gallery")
    console.print(f"{one.label}: {packed}", highlight=False)
    console.print(f"gallery: {page}", highlight=False, soft_wrap=True)
    return page
