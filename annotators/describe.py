"""A caption written by rules: what is known of a clip's events, one sentence for each thing, in order of time.

It says only what the two motion localisers agree on: no scene, no purpose, nothing that stands still. So it is poor and
seldom wrong, and it says of itself that rules made it. A picture has no events and is not described.

    events "the red circle" enters [0.4, 0.9), moves [0.4, 2.0), leaves [3.1, 3.4)
    gives  caption "The red circle enters, moves and leaves.", caption_model "rules"
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from reelmill.annotators.annotator import Resources, each_row
from reelmill.annotators.caption import CAPTION, CAPTION_FRAMES_S, CAPTION_MODEL, CAPTION_PARTS
from reelmill.annotators.events import EVENTS
from reelmill.annotators.shown import FRAMES, MEDIA
from reelmill.schemas import arrow
from reelmill.schemas.caption import PartCaption
from reelmill.schemas.column import KEY, Column
from reelmill.schemas.errors import Unusable
from reelmill.schemas.event import Event
from reelmill.schemas.media import MediaRef, ShownFrame

MODEL = "rules"


@dataclass(frozen=True)
class Describe:
    """The embedded form of `caption`: gives the same columns from the events of a clip."""

    needs: ClassVar[tuple[Column, ...]] = (KEY, MEDIA, FRAMES, EVENTS)
    gives: ClassVar[tuple[Column, ...]] = (CAPTION, CAPTION_MODEL, CAPTION_FRAMES_S, CAPTION_PARTS)
    revision: ClassVar[str] = "1"
    resources: ClassVar[Resources] = Resources(rows_per_commit=64)
    model: ClassVar[str] = MODEL
    observed: ClassVar[str] = "accepted events"

    def setup(self) -> None:
        """Nothing to make ready."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return each_row(self, batch, self._row)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        events = [e for e in arrow.typed(tuple[Event, ...], row["events"]) if e.verdict.accepted]
        if not events:
            raise Unusable("nothing_to_say", f"{len(row['events'])} events, 0 accepted")
        text = sentences(events)
        frames_s = tuple(f.at_s for f in arrow.typed(tuple[ShownFrame, ...], row["frames"]))
        whole_s = arrow.typed(MediaRef, row["media"]).duration_s
        part = PartCaption(0.0, 0.0, whole_s, text, frames_s, after=False)
        return {"caption": text, "caption_model": MODEL, "caption_frames_s": frames_s, "caption_parts": (part,)}


def sentences(events: Sequence[Event]) -> str:
    """One sentence for each subject, by its first event; what it does twice in a row is said once."""
    doings: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for event in sorted(events, key=lambda e: (e.span.start_s, e.span.end_s, e.subject_id, e.kind)):
        done = doings.setdefault(event.subject_id, [])
        names[event.subject_id] = event.subject
        if not done or done[-1] != str(event.kind):
            done.append(str(event.kind))
    return " ".join(_sentence(names[subject], done) for subject, done in doings.items())


def _sentence(subject: str, doings: Sequence[str]) -> str:
    """As in `The red circle enters and leaves.`

    >>> _sentence("the red circle", ["enters", "moves", "leaves"])
    'The red circle enters, moves and leaves.'
    """
    listed = " and ".join([", ".join(doings[:-1]), doings[-1]] if len(doings) > 1 else doings)
    return f"{subject[:1].upper()}{subject[1:]} {listed}."
