"""Publishing a pack at once: it is built as a generation of its own, and one link decides which generation is seen.

    {dataset}/.pack/g-<id>/            a whole pack: shards, tables, .nv-meta, catalog, card, manifest
    {dataset}/.pack/current            link to the generation that counts; replaced by one atomic rename
    {dataset}/shards -> .pack/current/shards, and so on: the names that users see; they never change

A kill or power cut at any point leaves the old generation or the new one, whole. What a killed pack left is removed by
the next.
"""

from __future__ import annotations

import fcntl
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reelmill.schemas.errors import Busy
from reelmill.schemas.points import reach
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.state.objects import sync

NAMES = ("shards", "tables", ".nv-meta", "catalog.duckdb", "README.md", "manifest.json")
"""What a pack shows in the dataset's folder."""
_FOLDER, _CURRENT, _GENERATION, _LINK = ".pack", "current", "g-", "link-"


def current(dataset: Dataset) -> Path | None:
    """Folder of the generation that counts, None where nothing was packed."""
    link = dataset.folder / _FOLDER / _CURRENT
    return link.resolve() if link.exists() else None


@contextmanager
def building(dataset: Dataset) -> Iterator[Path]:
    """An empty folder to build the next generation in; it is removed unless it was `swap`ped in.

    Raises Busy where another process packs the same dataset now.
    """
    with _alone(dataset) as folder:
        clear(dataset)
        generation = folder / f"{_GENERATION}{uuid.uuid4().hex}"
        generation.mkdir()
        reach("pack.begun")
        try:
            yield generation
        finally:
            clear(dataset)


@contextmanager
def _alone(dataset: Dataset) -> Iterator[Path]:
    """The folder of generations, while no other process packs or sweeps the dataset; else Busy."""
    folder = dataset.folder / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(f"the pack of {dataset.label}", seen="another process packs it", do="wait for it") from error
        yield folder


def sweep(dataset: Dataset) -> int:
    """Remove what killed packs left; returns the bytes freed. A process that packs now has done so before it began."""
    if not (dataset.folder / _FOLDER).is_dir():
        return 0
    with suppress(Busy), _alone(dataset) as folder:
        before = tree_bytes(folder)
        clear(dataset)
        return before - tree_bytes(folder)
    return 0


def tree_bytes(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def swap(dataset: Dataset, generation: Path) -> None:
    """Make `generation` the one that is seen. Its files reach the disk first, so that a power cut cannot halve it."""
    for path in [*generation.rglob("*"), generation]:
        sync(path)
    for name in NAMES:
        _link(dataset, dataset.folder / name, f"{_FOLDER}/{_CURRENT}/{name}")
    reach("pack.before")
    _link(dataset, dataset.folder / _FOLDER / _CURRENT, generation.name)
    sync(dataset.folder / _FOLDER)
    reach("pack.swapped")


def _link(dataset: Dataset, place: Path, target: str) -> None:
    """A relative link, made or replaced atomically."""
    if place.is_symlink() and str(place.readlink()) == target:
        return
    aside = dataset.folder / _FOLDER / f"{_LINK}{uuid.uuid4().hex}"
    aside.symlink_to(target)
    reach("pack.link")
    aside.replace(place)
    reach("pack.linked")


def stale(dataset: Dataset) -> list[Path]:
    """Generations that are not the one that counts: leftovers of killed packs."""
    kept = current(dataset)
    return sorted(g for g in (dataset.folder / _FOLDER).glob(f"{_GENERATION}*") if kept is None or g.name != kept.name)


def clear(dataset: Dataset) -> None:
    """Remove stale generations, and what is half-written in the one that counts. Call it only while nobody packs."""
    kept = current(dataset)
    for left in [*(dataset.folder / _FOLDER).glob(f"{_LINK}*"), *(kept.glob("*.part") if kept else ())]:
        left.unlink()
    for generation in stale(dataset):
        shutil.rmtree(generation)
        reach("pack.cleared")
