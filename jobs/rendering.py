"""`scenes`: render videos and pictures with exact truth into a folder."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from reelmill.schemas.errors import BadInput, NotFound


def render(folder: Path, count: int, seed: int, preset: str) -> list[Path]:
    """Render, or keep what is there already. Raises NotFound on an unknown preset, BadInput where no folder can be."""
    from reelmill.pipelines.scenes.presets import PRESETS
    from reelmill.pipelines.scenes.render import render_set

    if preset not in PRESETS:
        raise NotFound(f"preset {preset!r}", seen=", ".join(PRESETS), do="choose one of these")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"folder {str(folder)!r}", seen=str(error), do="name a folder that can be made") from error
    console = Console()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("rendering", total=None)
        paths = render_set(
            folder,
            count,
            seed,
            PRESETS[preset],
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    console.print(f"{len(paths)} files in {folder}, with their truth beside them", highlight=False, soft_wrap=True)
    return paths
