"""`import`: an existing annotated or instruction set into the store, and what became of each of its rows."""

from __future__ import annotations

from pathlib import Path

from reelmill.jobs import running
from reelmill.jobs.progress import wide_console
from reelmill.jobs.running import Where
from reelmill.pipelines import imported
from reelmill.pipelines._place import place_of
from reelmill.pipelines.sources.annotated import webdataset
from reelmill.pipelines.sources.annotated.imports import ImportedRows
from reelmill.schemas.errors import BadInput
from reelmill.sinks.dataset import Dataset
from reelmill.sinks.state.place import on_disk

SHARDS = "webdataset"


def import_set(set: str, path: Path, media: tuple[str, ...], where: Where, pack_media: str, *, whole: bool) -> int:
    """Import the set at `path` with the media at `media`; returns the exit code. Raises NotFound or BadInput."""
    made = imported.recipe(set, str(path.absolute()), whole)
    if set == SHARDS and not media:
        media = (str(_unpacked(path, where)),)
    if not media:
        raise BadInput(f"{set} names media that it does not hold", seen="no --media", do="give --media FOLDER")
    if isinstance(made.source, ImportedRows):
        made.source.require_rows()
    code = running.run(made, media, where, pack_media)
    _tell(place_of(where.store, media, where.name).dataset(made), path)
    return code


def _unpacked(path: Path, where: Where) -> Path:
    """The media inside the shards as files below the store: they have to lie somewhere as long as the dataset lives."""
    folder = on_disk(where.store) / "media" / where.name
    folder.mkdir(parents=True, exist_ok=True)
    count = webdataset.unpack(path, folder)
    if not count:
        raise BadInput(f"shards at {str(path)!r}", seen="no picture or video inside", do="give --media FOLDER")
    wide_console().print(f"{count} media unpacked to {folder}", highlight=False, markup=False, soft_wrap=True)
    return folder


def _tell(dataset: Dataset, path: Path) -> None:
    """Rows and samples by count; then how many rows found no medium, and where each of them is told of."""
    counts, console = dataset.counts(), wide_console()
    missing = sum(n for (_, _, reason), n in counts.reasons.items() if reason == "media_missing")
    lines = [
        f"{dataset.label}: {counts.live} rows of {path.name}: {counts.accepted} accepted as {counts.accepted_children} "
        f"samples, {counts.rejected} rejected, {counts.pending} pending",
    ]
    if missing:
        where = f"""reelmill rejects {dataset.name} --where "reason = 'media_missing'" """.strip()
        lines.append(f"{missing} rows found no medium: {where} lists them; `retry` sends them back once it is there")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
