"""What the motion localisers find of events that people stated: recall at tIoU 0.5 on the real clips that have any.

VidSTG's makers gave the times of sentences about two clips of VidOR (folder of shared media, temporal_events.json). The
clips go through the shipped `events` and `witnessed`; a sentence is found by an answer if one of its spans in the same
clip has a tIoU of at least 0.5 with it, whatever the words: rules have four words and people have all of them, so this
asks only whether anything was seen to happen then. "The whole clip" answers with one span, to show what that is worth.

    REELMILL_MEDIA=... python benchmarks/human_events.py
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import Result, say

from reelmill.pipelines import events, tubes, witnessed
from reelmill.pipelines._place import place_of
from reelmill.pipelines._recipe import Place
from reelmill.pipelines._run import Local, run
from reelmill.schemas import arrow
from reelmill.schemas.event import Event
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import State

LEAST_TIOU = 0.5
Answer = Callable[[Event], Sequence[Span]]

ANSWERS: dict[str, Answer] = {
    "events, accepted": lambda e: [e.span] if e.verdict.accepted else [],
    "events, refused ones too": lambda e: [e.span],
    "any proposal of either localiser": lambda e: [e.span, *(p.span for p in e.proposals if p.span is not None)],
}


def set_file(media: Path, folder: Path) -> tuple[Path, list[Path]]:
    """VidSTG's rows of the clips at hand, in VidSTG's own form, and those clips."""
    probes = {e["file"]: e.get("probe", {}) for e in json.loads((media / "MANIFEST.json").read_text())}
    rows: list[dict[str, Any]] = []
    films = json.loads((media / "groundtruth" / "temporal_events.json").read_text())
    for film in films:
        shared = {"vid": Path(film["file"]).stem, "subject/objects": film["objects"]}
        shared |= {name: film[name] for name in ("fps", "frame_count")}
        shared |= {name: probes[film["file"]][name] for name in ("width", "height")}
        names = ("temporal_gt", "captions", "questions")
        rows += [shared | {name: said[name] for name in names} for said in film["annotations"]]
    path = folder / "val_annotations.json"
    path.write_text(json.dumps(rows))
    return path, [media / film["file"] for film in films]


def by_clip(place: Place, recipe: Any) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for row in place.dataset(recipe).children().drop_columns(["part"]).to_pylist():
        event: Event = arrow.typed(Event, row)
        found.setdefault(event.parent_key, []).append(event)
    return found


def lengths_s(place: Place, recipe: Any) -> dict[str, float]:
    """Seconds of each accepted clip."""
    rows = place.dataset(recipe.source.base).children().to_pylist()
    return {r["key"]: r["media"]["duration_s"] for r in rows if r["verdict"]["state"] == State.ACCEPTED}


def _notes(place: Place) -> list[str]:
    """How many tubes each clip has, and what the step says where there are none."""
    rows = place.dataset(tubes.recipe()).rows().to_pylist()
    return [f"{len(row['tubes'])} ({row['tubes_note'] or 'no note'})" for row in rows if row["tubes"] is not None]


def best(said: Event, spans: Sequence[Span]) -> float:
    return max((said.span.tiou(span) for span in spans), default=0.0)


def main() -> None:
    media = Path(os.environ.get("REELMILL_MEDIA", "../shared/media"))
    if not (media / "groundtruth" / "temporal_events.json").is_file():
        say(f"skipped: no events that people stated in {media}; set REELMILL_MEDIA to the folder of shared media")
        return
    page = Result("human_events", "Motion localisers against events that people stated", rounds=1)
    with tempfile.TemporaryDirectory() as folder:
        path, films = set_file(media, Path(folder))
        place = place_of(Path(folder) / "store", tuple(map(str, films)), "h")
        people, motion = witnessed.recipe("vidstg", str(path)), events.recipe()
        for recipe in (people, motion):
            run(recipe, place, Local(1))
        notes = _notes(place)
        human, seen, whole = by_clip(place, people), by_clip(place, motion), lengths_s(place, people)
    said = [event for clip in human.values() for event in clip if event.verdict.accepted]
    short = [e for e in said if e.span.duration_s < 0.5 * whole[e.parent_key]]
    rows = []
    for name, answer in ANSWERS.items():
        spans = {clip: [span for event in found for span in answer(event)] for clip, found in seen.items()}
        rows.append((name, sum(map(len, spans.values())), *_recalls(said, short, spans)))
    every = {clip: [Span(0.0, length_s)] for clip, length_s in whole.items()}
    rows.append(("the whole clip", len(every), *_recalls(said, short, every)))
    page.note(f"{len(said)} sentences about {len(human)} clips, {len(short)} of them on less than half of the clip.")
    page.note(
        f"Found: a span of the answer has a tIoU of {LEAST_TIOU} or more with the sentence's; words count nothing."
    )
    page.note("Tubes of each clip: " + "; ".join(notes) + ".")
    page.table(("answer", "spans", "recall, all sentences", "recall, short ones", "mean best tIoU"), rows)
    say(str(page.save()))


def _recalls(said: Sequence[Event], short: Sequence[Event], spans: dict[str, list[Span]]) -> tuple[str, str, str]:
    reached = {event.key: best(event, spans.get(event.parent_key, ())) for event in said}

    def share(events_: Sequence[Event]) -> str:
        return f"{sum(reached[e.key] >= LEAST_TIOU for e in events_)}/{len(events_)}"

    return share(said), share(short), f"{sum(reached.values()) / len(said):.3f}"


if __name__ == "__main__":
    main()
