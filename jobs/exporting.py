"""`export`: a packed dataset as files that a trainer reads, and what was left out of them."""

from __future__ import annotations

from pathlib import Path

from reelmill.jobs.inspecting import opened
from reelmill.jobs.progress import wide_console
from reelmill.schemas.errors import BadInput
from reelmill.sinks.exports.exporting import Exported, Form, chosen_boxes, export
from reelmill.sinks.exports.live_chat import LiveChat
from reelmill.sinks.exports.llava import Llava
from reelmill.sinks.exports.ms_swift import MsSwift
from reelmill.sinks.exports.trl import Trl
from reelmill.sinks.exports.wording import Times
from reelmill.sinks.state.place import Folder, on_disk

FORMS: tuple[type[MsSwift] | type[Llava] | type[Trl] | type[LiveChat], ...] = (MsSwift, Llava, Trl, LiveChat)


def form_of(to: str, times: str, boxes: str) -> Form:
    """The form that the flags name. Raises BadInput on a trainer or a convention that is none."""
    kind = next((f for f in FORMS if f.name == to), None)
    if kind is None:
        raise BadInput(f"--to {to}", seen="no such form", do=f"use {', '.join(f.name for f in FORMS)}")
    if times not in list(Times):
        raise BadInput(f"--times {times}", seen="no such convention", do=f"use {', '.join(Times)}")
    return kind(Times(times), chosen_boxes(kind.conventions, boxes, to))


def export_and_tell(store: Folder, dataset: str, form: Form, out: Path, split: str) -> Exported:
    """Export, with live progress in a terminal, and say what is where."""
    console, one = wide_console(), opened(on_disk(store)).find(dataset)
    with console.status(f"exporting {one.label} ...") as status:

        def progress(done: int, total: int) -> None:
            status.update(f"exporting {one.label}: {done} of {total} samples")

        done = export(one, form, out, split=split, progress=progress)
    console.print(f"{one.label}: {done}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"load it: {form.loads}", highlight=False, markup=False, soft_wrap=True)
    return done
