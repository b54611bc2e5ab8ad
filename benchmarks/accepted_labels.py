"""Does a model learn more from accepted labels than from all of them? With the localisers' own errors, same budget.

Faint scenes (pipelines/scenes/faint.py) go through `clips`, `tubes` and `events`; their stored frames, shrunk to the
size of micro clips, are asked about in the words of micro clips. Three arms go on from `pictures` of learning.py for as
many steps, with rows as long, and are asked about other scenes of the same kind with true labels:

    truth      true labels: what is to be had
    all        every candidate: refused movements, spans with a refused or unseen end, boxes of doubted tubes
    accepted   what the pipeline accepted

Each run is a folder: what is in it is not done again, and a killed run goes on from its checkpoint. What was decided
before the reported run, and why these scenes: docs/decisions/0048-accepted-labels.md.

    python benchmarks/accepted_labels.py --work ../accepted                         everything, then the page
    python benchmarks/accepted_labels.py --work ../accepted --pictures ../learning/runs
                                                                        goes on from runs that learning.py finished
    python benchmarks/accepted_labels.py --brief                                    every arm for 4 steps: that it runs
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from learning import FRAMES, HEADER, MEASURES, PICTURES, SEEDS, Arm, lines, spent_s
from learning import Bench as Learning
from measure import Result, say

from reelmill.pipelines import clips, events
from reelmill.pipelines._place import place_of
from reelmill.pipelines._run import Local, run
from reelmill.pipelines.scenes.faint import RENDERER, Evidence, render_faint, shrunk, told_small
from reelmill.pipelines.scenes.micro import MicroClip
from reelmill.pipelines.scenes.micro_pack import write_pack
from reelmill.pipelines.scenes.micro_samples import MicroFrames, clip_key, samples, stored
from reelmill.pipelines.scenes.render import load_truth
from reelmill.schemas import arrow
from reelmill.schemas.errors import BadInput
from reelmill.schemas.event import Event, EventKind
from reelmill.schemas.media import MediaRef, ShownFrame
from reelmill.schemas.sample import Sample
from reelmill.schemas.tube import Tube
from reelmill.schemas.verdict import State
from reelmill.sinks.dataset import Dataset, Store
from reelmill.training.evals.compare import compare
from reelmill.training.evals.report import Report
from reelmill.training.evals.scores import HIT_IOU, set_tiou
from reelmill.training.ladder import LADDER
from reelmill.training.loop.checkpoint import newest
from reelmill.training.loop.plan import planned

LEARNED, ASKED = 1_500, 800
"""Scenes. The asked ones come to 2.3 questions each: a span or two and a box."""
SEED = {"learned": 460_001, "asked": 460_002}
STEPS, BRIEF_SCENES = 450, 24
BOXES = 4
SIDE_PX = LADDER["XS"].image
ARMS = tuple(Arm(name, name, STEPS, ("truth",), "pictures") for name in ("truth", "all", "accepted"))
PAIRS = (("accepted", "all"), ("truth", "all"), ("truth", "accepted"))
"""Whose scores less whose are told."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A scene as models see it, with its truth and what localisers found in it."""

    digest: str
    frames: Any
    at_s: tuple[float, ...]
    duration_s: float
    truth: Evidence
    found: Evidence

    def told(self, name: str) -> MicroClip:
        """What an arm's labels say of it."""
        said = self.truth if name == "truth" else self.found
        return told_small(0, self.frames, self.at_s, self.duration_s, said, accepted=name == "accepted")


@dataclass(frozen=True, slots=True)
class Bench(Learning):
    """A folder of scenes, sets and runs. `pictures` holds the runs that arms go on from."""

    pictures: Path | None = None

    def start(self, arm: Arm, seed: int) -> Path:
        """Raises BadInput where that run is not at its last step: arms would begin with other weights."""
        place = (self.pictures or self.work / "runs") / f"{arm.start}-{seed}"
        done, steps = newest(place).step, planned(place).steps
        if done < steps:
            raise BadInput(f"run {place}", seen=f"step {done} of {steps}", do="train it to its end first")
        return place

    def folder(self, name: str, part: str) -> Path:
        """The pack of an arm's labels about learned scenes, or of true ones about asked scenes. The sets of `pictures`
        are those of learning.py."""
        if name not in {arm.of for arm in ARMS}:
            return Learning.folder(self, name, part)
        place = self.work / "sets" / f"faint-{name}-{part}"
        boxes = BOXES if part == "learned" else 1
        said = [RENDERER, SEED[part], self.count(part), name, boxes, SIDE_PX]
        inputs, label = hashlib.sha256(json.dumps(said).encode()).hexdigest(), f"faint_{name}@{SEED[part]}"
        asked = asked_of(lambda: self.seen(part), name, boxes, label)
        write_pack(place, label, inputs, asked, val_share=float(part == "asked"))
        return place

    def count(self, part: str) -> int:
        return BRIEF_SCENES if self.brief else {"learned": LEARNED, "asked": ASKED}[part]

    def seen(self, part: str) -> list[Seen]:
        """The scenes of a part that `clips` left whole, localised if they are learned from."""
        return seen_in(self.work, part, self.count(part))


@lru_cache(maxsize=2)
def seen_in(work: Path, part: str, count: int) -> list[Seen]:
    """Scenes, rendered and localised where they are not yet."""
    media = work / "media" / part
    render_faint(media, count, SEED[part])
    place = place_of(work / "store", (str(media),), part)
    localised = part == "learned"
    for report in run(events.recipe() if localised else clips.recipe(), place, Local(1)):
        say(f"{report.label}: {report.counts}")
    return list(_seen(Store(place.store), place.slug, localised))


def asked_of(
    seen: Callable[[], Sequence[Seen]], name: str, boxes: int, label: str
) -> Iterator[tuple[Sample, MicroFrames]]:
    """When and where, by rising key. Captions and orders are not asked. Of two tubes that are named alike the first is
    asked about: the question would be the same."""
    for one in sorted(seen(), key=lambda s: clip_key(s.digest)):
        clip = one.told(name)
        if clip.tubes:
            frames = stored(clip)
            made = samples(clip, frames, one.digest, 0, label, boxes)
            once = {s.key: s for s in reversed(made) if s.task.startswith(("when", "where"))}
            yield from ((once[key], frames) for key in sorted(once))


def _seen(store: Store, slug: str, localised: bool) -> Iterator[Seen]:
    cut = store.find(f"clips-{slug}")
    found = _found(store, slug) if localised else {}
    for row in cut.children().to_pylist():
        media: MediaRef = arrow.typed(MediaRef, row["media"])
        shown = arrow.typed(tuple[ShownFrame, ...], row["frames"])
        if row["verdict"]["state"] == State.ACCEPTED and len(shown) == FRAMES:
            exact = load_truth(Path(media.uri))
            pictures = shrunk((cut.frame(row["part"], f.offset, f.size) for f in shown), SIDE_PX)
            at_s = tuple(f.at_s for f in shown)
            truth = Evidence(exact.tubes, exact.events)
            yield Seen(media.digest, pictures, at_s, media.duration_s, truth, found.get(row["key"], Evidence((), ())))


def _found(store: Store, slug: str) -> dict[str, Evidence]:
    """Tubes and events of each clip, whatever their verdict."""
    tubes = {row["key"]: arrow.typed(tuple[Tube, ...], row["tubes"]) for row in _accepted(store.find(f"tubes-{slug}"))}
    by_clip: dict[str, list[Event]] = {key: [] for key in tubes}
    for row in store.find(f"events-{slug}").children().drop_columns(["part"]).to_pylist():
        by_clip[row["parent_key"]].append(arrow.typed(Event, row))
    return {key: Evidence(tubes[key], tuple(by_clip[key])) for key in tubes}


def _accepted(dataset: Dataset) -> Iterator[dict[str, Any]]:
    return (row for row in dataset.rows().to_pylist() if row["verdict"]["state"] == State.ACCEPTED)


# ---- how wrong labels are --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Error:
    """A label against the truth: `what` is a span ("visible", "moves") or "box", `iou` over time or area."""

    what: str
    named: bool
    iou: float


def errors(seen: Sequence[Seen], name: str) -> list[Error]:
    """Every label of an arm. A box where the thing is not in view has IoU 0; what moves twice is all its moves."""
    return [error for one in seen for error in _errors(one, one.told(name))]


def _errors(one: Seen, told: MicroClip) -> Iterator[Error]:
    (thing,) = one.told("truth").tubes
    moves = [(e.span.start_s, e.span.end_s) for e in one.truth.events if e.kind is EventKind.MOVES]
    boxes = dict(zip(thing.at_s, thing.boxes, strict=True))
    for tube in told.tubes:
        named, own = tube.phrase == thing.phrase, [e for e in told.events if e.subject_id == tube.tube_id]
        kinds = {e.kind for e in own}
        if kinds & {EventKind.ENTERS, EventKind.LEAVES}:
            yield Error("visible", named, tube.span.tiou(thing.span))
        for event in own:
            if event.kind is EventKind.MOVES:
                yield Error("moves", named, set_tiou([(event.span.start_s, event.span.end_s)], moves))
        for at_s, box in zip(tube.at_s, tube.boxes, strict=True):
            yield Error("box", named, box.iou(boxes[at_s]) if at_s in boxes else 0.0)


def label_rows(seen: Sequence[Seen]) -> Iterator[tuple[object, ...]]:
    for arm in ARMS:
        found = errors(seen, arm.name)
        for what in ("visible", "moves", "box"):
            own = [e for e in found if e.what == what]
            right = [fmean(e.iou >= least for e in own) if own else None for least in (HIT_IOU, 0.7)]
            means = [fmean(e.iou for e in own), fmean(e.named for e in own)] if own else [None, None]
            shown = ("-" if v is None else f"{v:.3f}" for v in (*right, *means))
            yield arm.name, what, len(own), *shown


def refusals(seen: Sequence[Seen]) -> Counter[str]:
    """Why candidates were refused: events by their own reason, and spans an end of which was not accepted."""
    events = [e for one in seen for e in (*one.found.events, *one.told("all").events)]
    return Counter(f"{e.kind}: {e.verdict.reason}" for e in dict.fromkeys(events) if not e.verdict.accepted)


# ---- the page --------------------------------------------------------------------------------------------------------


def pooled(reports: Sequence[Report], name: str) -> Report:
    """Runs of several seeds as one. A clip stays one source, so that an interval is by clip."""
    rows = tuple(replace(s, key=f"{n} {s.key}") for n, report in enumerate(reports) for s in report.scores)
    return replace(reports[0], run=name, scores=rows, starts=())


def differences(
    name: str, reports: Sequence[Report], other: str, others: Sequence[Report]
) -> Iterator[tuple[str, ...]]:
    """Rows of the page: one arm's scores less another's, with an interval by clip."""
    every = compare(pooled(others, other), pooled(reports, name))
    each = [{(c.task, c.by, c.measure): c for c in compare(b, a)} for a, b in zip(reports, others, strict=True)]
    for found in every:
        if found.by == "all" and found.measure in MEASURES:
            mean, p = found.found.difference, found.found.p
            interval = "-" if mean.low is None else f"[{mean.low:+.3f}, {mean.high:+.3f}]"
            seeds = " ".join(f"{c[found.task, found.by, found.measure].found.difference.mean:+.3f}" for c in each)
            yield f"{name} - {other}", found.task, found.measure, f"{mean.mean:+.3f} {interval}", seeds, f"{p:.3f}"


def page_of(bench: Bench) -> Result:
    """The labels and every seed that all arms have finished."""
    page = Result("accepted_labels", "Accepted labels against all labels, at the same budget")
    seen = bench.seen("learned")
    seeds = [s for s in SEEDS if all(bench.answers(arm, s, "truth", None).exists() for arm in ARMS)]
    page.note(
        f"{len(seen)} faint scenes of {FRAMES} stored frames were localised by `events`; {STEPS} steps of rows of"
        f" {ARMS[0].row} tokens after `pictures`, variant `small`, size XS; seeds {seeds}. Asked about other scenes"
        " with true labels. Intervals are by clip, for these seeds. Decided before:"
        " docs/decisions/0048-accepted-labels.md."
    )
    labels = list(label_rows(seen))
    page.note("Labels against the truth; `named`: the thing is called as it is in the truth.")
    page.table(("labels", "of", "number", "right, IoU 0.5", "right, IoU 0.7", "mean IoU", "named"), labels)
    why = refusals(seen).most_common()
    page.table(("refused", "candidates"), why)
    runs = [(r.name, arm.steps, spent_s(r)) for arm in ARMS for s in seeds for r in (bench.run(arm, s),)]
    page.table(("run", "steps", "CPU-s"), runs)
    reports = {a.name: [Report.load(bench.answers(a, s, "truth", None)) for s in seeds] for a in ARMS}
    scores = [row for arm in ARMS for row in lines(arm.name, reports[arm.name])] if seeds else []
    page.table(HEADER, scores)
    apart = [row for a, b in PAIRS for row in differences(a, reports[a], b, reports[b])] if seeds else []
    page.table(("arms", "task", "measure", "difference, 95 % by clip", "each seed", "p"), apart)
    page.raw |= {"arms": [asdict(a) for a in ARMS], "labels": labels, "refusals": why, "scores": scores}
    page.raw |= {"runs": runs, "differences": apart}
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("benchmarks/.accepted_labels"))
    parser.add_argument("--pictures", type=Path, help="folder of the runs pictures-0, pictures-1, ... of learning.py")
    parser.add_argument("--seeds", type=int, nargs="+", choices=SEEDS, default=SEEDS)
    parser.add_argument(
        "--brief", action="store_true", help="4 steps of one seed after few scenes; the page is printed"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as aside:
        bench = Bench(Path(aside) if given.brief else given.work.absolute(), given.brief, given.pictures)
        for seed in given.seeds[:1] if given.brief else given.seeds:
            if given.pictures is None:
                bench.train(PICTURES, seed)
            for arm in ARMS:
                bench.train(arm, seed)
                bench.ask(arm, seed)
        page = page_of(bench)
        if given.brief:
            say("\n".join(page.lines))
        else:
            page.save()


if __name__ == "__main__":
    main()
