"""Are streams right? From exact events of composed scenes every one must be; from found events it is measured.

    python benchmarks/live_streams.py            200 composed scenes, then 12 easy and 12 medium rendered ones

The second part renders, and runs `live_stream` with its default evidence; a thing that is named less exactly than the
truth names it ("the blue object" for the blue triangle) counts as wrong there.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from reelmill.jobs import verifying
from reelmill.pipelines import live_stream
from reelmill.pipelines._place import place_of
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes.compose import compose
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render_set
from reelmill.pipelines.scenes.truth import SceneTruth, truth
from reelmill.pipelines.views.checks.live import check_live
from reelmill.pipelines.views.live import CompileLive
from reelmill.schemas import arrow
from reelmill.schemas.column import schema
from reelmill.schemas.event import Event
from reelmill.schemas.media import Kind, MediaRef, ShownFrame
from reelmill.schemas.provenance import Provenance
from reelmill.schemas.sample import StreamSample
from reelmill.schemas.span import Span
from reelmill.sinks.dataset import Store

COMPOSED, RENDERED, SEED = 100, 12, 60361
LINK = Provenance("cut_clips", "rules", "1", "", "", None, "0" * 64, "every frame", "clips@1")


def clips(exact: SceneTruth) -> Iterator[tuple[Span, list[Event], list[ShownFrame]]]:
    """Each shot as a clip: its events in its own time, and the first frame of each half second."""
    for number, shot in enumerate(exact.shots):
        own = [e for e in exact.events if e.subject_id.startswith(f"s{number}m")]
        events = [replace(e, key=f"e{i}", span=e.span.shifted(-shot.start_s)) for i, e in enumerate(own)]
        frames: list[ShownFrame] = []
        for i, t in enumerate(t - shot.start_s for t in exact.frame_times_s if shot.start_s <= t < shot.end_s):
            if t >= len(frames) / 2 - 1e-9:
                frames.append(ShownFrame(i, t, exact.width_px, exact.height_px, f"{i:064x}", 0, 1))
        yield shot, events, frames


def streams(key: str, shot: Span, events: list[Event], frames: list[ShownFrame]) -> tuple[StreamSample, ...]:
    step = CompileLive()
    media = MediaRef("file:///v.mp4", "0" * 64, Kind.VIDEO, 320, 240, shot.duration_s, shot, "")
    own = {"media": media, "frames": tuple(frames), "provenance": (LINK,), "events": tuple(events)}
    row = {"key": key, "clips_dataset": "clips@1", "still": False} | {n: arrow.plain(v) for n, v in own.items()}
    (out,) = step(pa.Table.from_pylist([row], schema=schema(*step.needs))).to_pylist()
    return tuple(arrow.typed(StreamSample, s) for s in out["samples"] or ())


def composed() -> None:
    tasks: Counter[str] = Counter()
    clips_with: Counter[str] = Counter()
    wrong = 0
    for name in ("easy", "medium"):
        for seed in range(COMPOSED):
            for number, (shot, events, frames) in enumerate(clips(truth(compose(seed, PRESETS[name])))):
                found = streams(f"{name}.{seed}.{number}", shot, events, frames)
                tasks.update(s.task if s.verdict.accepted else s.verdict.reason for s in found)
                clips_with.update({s.task for s in found} | {"any"})
                clips_with["silence only"] += any(len(s.turns) == 1 for s in found)
                wrong += sum(bool(check_live(s, events)) for s in found if s.verdict.accepted)
    print(f"composed: {sum(tasks.values())} streams, {wrong} wrong; {dict(tasks)}; clips with: {dict(clips_with)}")


def rendered(name: str, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        media = Path(folder) / "media"
        render_set(media, RENDERED, seed, PRESETS[name], pictures=0)
        place = place_of(Path(folder) / "store", (str(media),), name)
        recipe = live_stream.recipe()
        counts = run(recipe, place, Local(1))[-1].counts
        print(f"{name}, seed {seed}: {counts.accepted} clips, {counts.accepted_children} streams, {counts.reasons}")
        for figure in verifying.measure(Store(place.store), place.dataset(recipe)):
            if "samples right" in figure.name or figure.name in ("events, precision", "events, recall"):
                print(f"  {figure.name}: {figure.value} (n={figure.count})")


if __name__ == "__main__":
    composed()
    rendered("easy", SEED)
    rendered("medium", SEED + 1)
