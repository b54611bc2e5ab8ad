"""`demo`: the first result. Rendered scenes and a few real pictures (or the user's own media) through both families.

The pictures are files of the installed scikit-image package; their licences are what its documentation states.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from rich.console import Console

from reelmill.jobs.packing import pack_and_show
from reelmill.jobs.rendering import render
from reelmill.jobs.running import PARTLY, Where, require_store_outside, work
from reelmill.jobs.verifying import truth_table
from reelmill.pipelines import internvid_tg, ocr_rich
from reelmill.pipelines._place import place_of
from reelmill.schemas.errors import NotFound
from reelmill.sinks.dataset import Store

SCENES, SEED = 8, 20
PICTURES = {
    "page.png": "",
    "text.png": "LicenseRef-public-domain",
    "coffee.png": "CC0-1.0",
    "chelsea.png": "CC0-1.0",
    "astronaut.png": "LicenseRef-public-domain",
}


def demo(store: Path, media: Path | None) -> int:
    """Make, pack, measure and show both families; returns the exit code."""
    started, console = time.monotonic(), Console()
    if media:
        require_store_outside(store, (str(media),))
    folder = media or _own_media(store / "media")
    where = Where(store)
    place = place_of(store, (str(folder),), "" if media else "demo")
    recipes = (internvid_tg.recipe(), ocr_rich.recipe())
    reports = [report for recipe in recipes for report in work(recipe, place, where)]
    pages = []
    for label in (place.dataset(recipe).label for recipe in recipes):
        if media is None:
            console.print(truth_table(store, label))
        if Store(store).find(label).counts().accepted_children:
            pages.append(pack_and_show(store, label, "frames"))
        else:
            console.print(
                f"{label}: no sample was accepted; `reelmill rejects {label} --store {store}` says why", soft_wrap=True
            )
    console.print(f"done in {time.monotonic() - started:.0f} s; open in a browser:", highlight=False)
    for page in pages:
        console.print(f"  {page}", highlight=False, soft_wrap=True)
    return PARTLY if any(r.counts.pending for r in reports) else 0


def _own_media(folder: Path) -> Path:
    """Scenes with exact truth, and pictures that ship inside an installed package."""
    for path in render(folder, SCENES, SEED, "demo"):
        _state_licence(path, "CC0-1.0")
    source = _scikit_image()
    for name, licence in PICTURES.items():
        shutil.copyfile(source / name, folder / name)
        if licence:
            _state_licence(folder / name, licence)
    return folder


def _state_licence(path: Path, licence: str) -> None:
    """A licence beside a file, as REUSE does it; the listing reads it and carries it to every sample."""
    path.with_name(f"{path.name}.license").write_text(f"SPDX-License-Identifier: {licence}\n", encoding="utf-8")


def _scikit_image() -> Path:
    try:
        import skimage.data
    except ImportError as error:
        raise NotFound("the demo's pictures", seen=str(error), do="pip install 'reelmill[demo]'") from error
    return Path(skimage.data.__file__).parent
