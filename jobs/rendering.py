"""`scenes` and `documents`: render videos and pictures with exact truth into a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from reelmill.schemas.errors import BadInput, NotFound

ONE, PICTURES = "micro-one", "micro-pictures"
MICRO = ("micro", ONE, PICTURES)
_HELD_OUT = 0.1
"""Share of a set of one thing that is held out: a twentieth of some hundred would say little."""
_BOXES = 4
"""Frames of a clip of one thing at which its box is asked for: boxes are learned from many questions."""
_Render = Callable[[Callable[[int, int], None]], list[Path]]


def render(folder: Path, count: int, seed: int, preset: str) -> list[Path]:
    """Render, or keep what is there already. The preset `micro` writes shards of tiny clips with their questions.

    Raises NotFound on an unknown preset, BadInput where no folder can be.
    """
    from reelmill.pipelines.scenes.presets import PRESETS
    from reelmill.pipelines.scenes.render import render_set

    if preset in MICRO:
        return _micro(folder, count, seed, preset)
    chosen = _named({**PRESETS, **dict.fromkeys(MICRO)}, "preset", preset)
    return _shown(folder, lambda progress: render_set(folder, count, seed, chosen, progress=progress))


def _micro(folder: Path, count: int, seed: int, name: str) -> list[Path]:
    """Clips as a pack that training reads, without files or a run before it. In `micro-one` one thing appears, in
    `micro-pictures` it is there, for one frame: what the smallest model learns first."""
    from reelmill.pipelines.scenes.micro import MicroPreset
    from reelmill.pipelines.scenes.micro_pack import write_micro
    from reelmill.sinks.publishing.view import VAL_SHARE

    simple = {
        ONE: MicroPreset(name, objects=(1, 1), acts=("appear",)),
        PICTURES: MicroPreset(name, frames=1, objects=(1, 1), acts=("stay",)),
    }
    chosen, share = (simple[name], _HELD_OUT) if name in simple else (MicroPreset(), VAL_SHARE)
    console = Console()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("writing", total=count)
        samples = write_micro(
            folder,
            count,
            seed=seed,
            preset=chosen,
            val_share=share,
            boxes=_BOXES if name in simple else 1,
            progress=lambda done, _: progress.update(task, completed=done),
        )
    held = ", ".join(f"{n} {split}" for split, n in sorted(samples.items()))
    console.print(f"{count} clips, {held} samples in {folder}", highlight=False, soft_wrap=True)
    return sorted((folder / "shards").glob("*.tar"))


def render_documents(folder: Path, count: int, seed: int, look: str, kinds: tuple[str, ...]) -> list[Path]:
    """Pictures of documents, all kinds by turns or those that are named. Raises as `render` does."""
    from reelmill.pipelines.documents import render as documents
    from reelmill.pipelines.documents.compose import KINDS, LOOKS

    chosen = _named(LOOKS, "look", look)
    for kind in kinds:
        _named(KINDS, "kind", kind)
    return _shown(folder, lambda p: documents.render_documents(folder, count, seed, chosen, kinds, progress=p))


def _named(known: Mapping[str, Any], what: str, name: str) -> Any:
    if name not in known:
        raise NotFound(f"{what} {name!r}", seen=", ".join(known), do="choose one of these")
    return known[name]


def _shown(folder: Path, work: _Render) -> list[Path]:
    """Render with a bar of progress, and say where the files are."""
    _folder(folder)
    console = Console()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("rendering", total=None)
        paths = work(lambda done, total: progress.update(task, completed=done, total=total))
    console.print(f"{len(paths)} files in {folder}, with their truth beside them", highlight=False, soft_wrap=True)
    return paths


def _folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"folder {str(folder)!r}", seen=str(error), do="name a folder that can be made") from error
