"""`pack`: publish a dataset and say where a person should look."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status

from reelmill.jobs.inspecting import opened
from reelmill.jobs.progress import wide_console
from reelmill.schemas.errors import Busy
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.state.place import Folder, on_disk

if TYPE_CHECKING:
    from reelmill.sinks.pack import Packed

_LOOK_AGAIN_S = 0.5


def pack_and_show(store: Folder, dataset: str, media: str, wait_s: float = 0.0) -> Path:
    """Pack, write the gallery, print the counts; returns the gallery's page.

    Raises Busy where another process still packs the dataset after `wait_s`.
    """
    from reelmill.sinks.gallery import write_gallery
    from reelmill.sinks.pack import estimate

    console, place = wide_console(), opened(on_disk(store))
    one = place.find(dataset)
    if media == "clip":  # cutting is the one form that takes long and room: said before it begins
        console.print(f"{one.label}: {estimate(place, one, media=media)}", highlight=False, soft_wrap=True)
    with console.status(f"packing {one.label} ...") as status:
        packed = _packed(place, one, media, wait_s, console, status)
        page = write_gallery(place, one, one.folder / "gallery")
    console.print(f"{one.label}: {packed}", highlight=False, soft_wrap=True)
    console.print(f"gallery: {page}", highlight=False, soft_wrap=True)
    return page


def _packed(place: Store, one: Dataset, media: str, wait_s: float, console: Console, status: Status) -> Packed:
    """Two runs that end together both want to pack: the second waits, and finds the work done."""
    from reelmill.sinks.pack import pack

    def progress(doing: str, done: int, total: int) -> None:
        status.update(f"packing {one.label}: {doing}, {done} of {total}")

    until, told = time.monotonic() + wait_s, False
    while True:
        try:
            return pack(place, one, media=media, progress=progress)
        except Busy:
            if time.monotonic() >= until:
                raise
            if not told:
                console.print(f"{one.label}: waiting for another run that packs it", highlight=False, soft_wrap=True)
                told = True
            time.sleep(_LOOK_AGAIN_S)
