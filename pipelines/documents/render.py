"""Documents as files, each with its truth beside it: `receipt_000004.png` and `receipt_000004.png.truth.json`.

The sidecar is that of a rendered scene (`scenes.render`) with one part more, so that whatever is measured on scenes
(words read, lines found) is measured on documents too. A finished file of the same identity is kept.

    >>> render_documents(Path("media"), count=8, seed=7, look=LOOKS["easy"])     # doctest: +SKIP
    [PosixPath('media/chart_000000.png'), PosixPath('media/table_000001.png'), ...]
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from reelmill.pipelines.documents.compose import KINDS, Made, compose, identity
from reelmill.pipelines.documents.content import Document
from reelmill.pipelines.documents.looks import Look
from reelmill.pipelines.scenes.render import appear, finished, load_truth, record_of, write_sidecar
from reelmill.pipelines.scenes.truth import SceneTruth
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.keys import seed_for

Progress = Callable[[int, int], None]


def render_documents(
    folder: Path, count: int, seed: int, look: Look, kinds: Sequence[str] = (), *, progress: Progress | None = None
) -> list[Path]:
    """Render `count` documents into a folder, the kinds (all by default) by turns.

    `progress(done, total)` is called after each file. The seed of a file depends on (seed, file name, look) alone, so a
    larger count begins with the same files. Raises BadInput where matplotlib is missing, OSError where the folder
    cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names, suffix = tuple(kinds) or tuple(KINDS), ".jpg" if look.jpeg_quality[1] else ".png"
    paths: list[Path] = []
    for number in range(count):
        kind = names[number % len(names)]
        path = folder / f"{kind}_{number:06d}{suffix}"
        render_document(seed_for(seed, path.name, look.name), kind, look, path)
        paths.append(path)
        if progress is not None:
            progress(number + 1, count)
    return paths


def render_document(seed: int, kind: str, look: Look, path: Path) -> None:
    """Write one document and its sidecar, unless it is there already."""
    own = identity(seed, kind, look)
    if finished(path, own):
        return
    made = compose(seed, kind, look)
    appear(path, functools.partial(_write, made))
    write_sidecar(path, own, made.exact, document=arrow.plain(made.document))


def load_document(media: Path) -> tuple[SceneTruth, Document]:
    """Lines and content of a rendered document. Raises BadInput where the file has no such truth, Corrupt where that
    cannot be read."""
    record = record_of(media)
    if record is None or "document" not in record:
        raise BadInput(f"{media.name} has no document's truth beside it", seen=str(media), do="render it again")
    document: Document = arrow.typed(Document, record["document"])
    return load_truth(media), document


def _write(made: Made, path: Path) -> None:
    from PIL import Image

    picture = Image.fromarray(made.pixels)
    if made.jpeg_quality:
        picture.save(path, format="JPEG", quality=made.jpeg_quality)
    else:
        picture.save(path, format="PNG")
