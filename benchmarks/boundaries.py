"""Does it help to snap the ends of a span to the nearest change of the picture? Measured on scenes with exact truth.

True events of fresh easy and medium scenes are made as uncertain as a localiser leaves them: named by frames a second
or half a second apart (a model that is asked), or off by up to half a second (uniform). Then each end moves to the
nearest time at which the change map goes from quiet to change (a start) or from change to quiet (an end), if one is
within the bound.

    python benchmarks/boundaries.py --scenes 30
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from measure import say

from reelmill.annotators.boundaries import Switches, snapped
from reelmill.annotators.motion.changes import Changes
from reelmill.jobs.verifying import _Beside
from reelmill.pipelines import tubes
from reelmill.pipelines._place import place_of
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes.evidence import in_clip
from reelmill.pipelines.scenes.presets import PRESETS
from reelmill.pipelines.scenes.render import render_set
from reelmill.schemas import arrow
from reelmill.schemas.span import Span
from reelmill.schemas.verdict import State
from reelmill.sinks.dataset import Store

SEEDS = {"easy": 34011, "medium": 34012}
BOUNDS_S = (0.25, 0.5, 1.0)
Blur = Callable[[Span, float, np.random.Generator], Span]


def _named_by_frames(every_s: float) -> Blur:
    """The frames that the event is seen in are named: the first, and the one after the last."""

    def blur(span: Span, duration_s: float, rng: np.random.Generator) -> Span:
        del rng
        start, end = np.ceil(span.start_s / every_s - 1e-9), np.ceil(span.end_s / every_s - 1e-9)
        return _inside(start * every_s, max(end, start + 1) * every_s, duration_s)

    return blur


def _off_by(most_s: float) -> Blur:
    def blur(span: Span, duration_s: float, rng: np.random.Generator) -> Span:
        by = rng.uniform(-most_s, most_s, 2)
        return _inside(span.start_s + by[0], span.end_s + by[1], duration_s)

    return blur


BLURS: dict[str, Blur] = {
    "frames each 1 s": _named_by_frames(1.0),
    "frames each 0.5 s": _named_by_frames(0.5),
    "uniform, up to 0.5 s": _off_by(0.5),
}


def _inside(start_s: float, end_s: float, duration_s: float) -> Span:
    start_s = float(np.clip(start_s, 0.0, duration_s - 0.04))
    return Span(start_s, float(np.clip(end_s, start_s + 0.04, duration_s)))


def clips(preset: str, scenes: int, folder: Path) -> Iterator[tuple[list[Span], Changes]]:
    """The true spans and the change map of every accepted clip."""
    render_set(folder / "media", scenes, SEEDS[preset], PRESETS[preset], pictures=0)
    run(tubes.recipe(), place_of(folder / "store", (str(folder / "media"),), "b"), Local(1))
    store = Store(folder / "store")
    dataset = store.find("tubes-b")
    beside = _Beside(store, dataset)
    for row in dataset.rows().to_pylist():
        clip = beside.clips.get(row["key"])
        if row["verdict"]["state"] == State.ACCEPTED and clip and clip.media.span:
            events = beside.truths[clip.media.uri].events
            inside = [in_clip(e, clip.media.span, clip.media.duration_s) for e in events]
            yield [e.span for e in inside if e is not None], arrow.typed(Changes, row["changes"])


def figures(true: Sequence[Span], said: Sequence[Span]) -> str:
    off = np.array([(abs(a.start_s - b.start_s), abs(a.end_s - b.end_s)) for a, b in zip(true, said, strict=True)])
    tious = np.array([a.tiou(b) for a, b in zip(true, said, strict=True)])
    ends = f"{off.mean():.3f} | {np.quantile(off, 0.5):.3f} | {np.quantile(off, 0.9):.3f}"
    return f"{ends} | {tious.mean():.3f} | {(tious >= 0.5).mean():.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=30)
    asked = parser.parse_args()
    print("| scenes | localiser | bound, s | end off, mean s | p50 | p90 | mean tIoU | tIoU >= 0.5 | n |")
    for preset in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            found = list(clips(preset, asked.scenes, Path(folder)))
        say(f"{preset}: {len(found)} clips")
        for name, blur in BLURS.items():
            rng = np.random.default_rng(34010)
            true, said, turned = [], [], []
            for spans, changes in found:
                edges = Switches.of(changes)
                for span in spans:
                    true.append(span)
                    said.append(blur(span, changes.end_s, rng))
                    turned.append(edges)
            print(f"| {preset} | {name} | none | {figures(true, said)} | {len(true)} |")
            for bound_s in BOUNDS_S:
                moved = [snapped(s, edges, bound_s) for s, edges in zip(said, turned, strict=True)]
                print(f"| {preset} | {name} | {bound_s} | {figures(true, moved)} | {len(true)} |")


if __name__ == "__main__":
    main()
