"""`scenes`: render videos and pictures with exact truth into a folder."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console


def render(folder: Path, count: int, seed: int, preset: str) -> None:
    """Render, or keep what is there already."""
    from reelmill.pipelines.scenes.render import render_set

    paths = render_set(folder, count, seed, preset)
    Console().print(f"{len(paths)} files in {folder}, with their truth beside them", highlight=False)
