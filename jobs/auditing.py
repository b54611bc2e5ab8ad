"""`audit`: ask a person whether labels are right, keep what is said, and say how often they are.

reelmill audit internvid_tg-mine                          # the page at an address of this machine, until Ctrl-C
reelmill audit internvid_tg-mine --page audit.html        # the page as one file, for a person elsewhere
reelmill audit internvid_tg-mine --marks marks.json       # what that page offered as a download
"""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from reelmill.jobs.audit_server import AuditServer
from reelmill.jobs.inspecting import lined, opened
from reelmill.jobs.progress import wide_console
from reelmill.schemas.errors import BadInput, NotFound, StoreUnusable
from reelmill.sinks.audit import marks, page
from reelmill.sinks.audit.precision import Audit, audit_of, interval
from reelmill.sinks.dataset import Dataset, Store
from reelmill.sinks.publishing.frames import StoredFrames
from reelmill.sinks.state.objects import LocalObjects, store_trouble
from reelmill.sinks.state.place import Folder

_DISPUTES_SHOWN = 20


def serve(store: Folder, label: str, asked: page.Asked, port: int) -> None:
    """Serve the page until Ctrl-C; every mark is on disk before the page says so. Then say what the marks say.

    Raises BadInput where the port is taken.
    """
    place, console = opened(store), wide_console()
    dataset = place.find(label)
    pictures = page.Held(StoredFrames(place))
    html = page.page(place, dataset, asked, pictures, served=True).encode()
    try:
        server = AuditServer(asked, html, pictures.jpegs, lambda mark: marks.keep(dataset, [mark]), port)
    except OSError as error:
        raise BadInput(f"--port {port}", seen=str(error), do="give another, or 0 for whichever is free") from error
    with server:
        _say(console, f"{dataset.label}: {len(asked.questions)} samples, marked by {asked.rater}")
        _say(console, f"open {server.url} in a browser of this machine; end with Ctrl-C")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            _say(console, f"{server.stored} marks stored")
    settle(place, dataset)


def write_page(store: Folder, label: str, asked: page.Asked, out: Path) -> None:
    """Write the page as one file that needs no server. Raises BadInput where it cannot be written."""
    place = opened(store)
    html = page.page(place, place.find(label), asked, page.Embedded(StoredFrames(place)), served=False)
    try:
        LocalObjects(out.absolute().parent).put(out.name, html.encode())
    except StoreUnusable as error:
        raise BadInput(f"--page {out}", seen=error.seen, do="name a file that can be written") from error
    _say(wide_console(), f"{out}: {len(asked.questions)} samples; read its marks with --marks")


def read_marks(store: Folder, label: str, file: Path) -> None:
    """Store the marks of a downloaded file that are not stored yet, and say what all marks say.

    Raises NotFound without the file, BadInput where it holds something else.
    """
    place = opened(store)
    dataset = place.find(label)
    try:
        with store_trouble(file):
            data = file.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"marks {file}", seen="no such file", do="give the file that the page downloaded") from error
    given = marks.read_file(data, str(file), dataset)
    known = set(marks.kept(dataset))
    new = [m for m in given if m not in known]
    for rater in sorted({m.rater for m in new}):
        marks.keep(dataset, [m for m in new if m.rater == rater])
    _say(wide_console(), f"{file}: {len(given)} marks, {len(new)} of them new")
    settle(place, dataset)


def ask(store: Folder, label: str, rater: str, n: int, seed: int, wanted: Sequence[str]) -> page.Asked:
    """Draw what a person is asked about. Raises BadInput on a name that is none."""
    try:
        name = marks.rater_named(rater or getpass.getuser())
    except (ValueError, KeyError, OSError) as error:  # a process without an account has no login name
        raise BadInput("--rater", seen=str(error), do="give --rater NAME") from error
    return page.ask(opened(store).find(label), name, n=n, seed=seed, wanted=wanted)


def settle(place: Store, dataset: Dataset) -> None:
    """Print what the marks say, and write card and gallery anew where there are any: shards stay as they are."""
    from reelmill.sinks.gallery import write_gallery
    from reelmill.sinks.pack import manifest, pack

    report(dataset)
    try:
        folder = dataset.folder
    except StoreUnusable:
        return  # a bucket holds no pack
    packed = manifest(dataset)
    if packed is not None and audit_of(dataset) is not None:
        pack(place, dataset, media=packed["media"])
        if (folder / "gallery" / "index.html").is_file():
            write_gallery(place, dataset, folder / "gallery")


def report(dataset: Dataset) -> None:
    """Print the audit: the precision in one line, then by method, family and task, then what raters dispute."""
    audit, console = audit_of(dataset), wide_console()
    if audit is None:
        _say(console, f"{dataset.label}: UNAUDITED; nobody marked a sample")
        return
    _say(console, f"{dataset.label}: {audit.sentence}")
    table = lined("by", "name", "samples", "right", "unsure", "precision")
    for g in audit.groups:
        value = "" if g.rate.value is None else f"{g.rate.value:.2f} ({interval(g.rate)})"
        table.add_row(g.by, g.name, str(g.samples), f"{g.rate.hits} of {g.rate.count}", str(g.unsure), value)
    console.print(table, highlight=False, markup=False)
    _disputes(console, audit)


def _disputes(console: Console, audit: Audit) -> None:
    for one in audit.disputes[:_DISPUTES_SHOWN]:
        said = ", ".join(f"{m.rater} {m.judgement}" + (f" ({m.note})" if m.note else "") for m in one.marks)
        _say(console, f"disputed: {one.key} {one.task}: {said}")
    if len(audit.disputes) > _DISPUTES_SHOWN:
        _say(console, f"... and {len(audit.disputes) - _DISPUTES_SHOWN} more")


def _say(console: Console, line: str) -> None:
    printable = "".join(c if c.isprintable() else " " for c in line)  # a note may hold what a terminal obeys
    console.print(printable, highlight=False, markup=False, soft_wrap=True)
