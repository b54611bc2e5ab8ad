"""Does a model learn on a CPU from our own shards? Size XS from scratch, on micro clips, in a fixed number of steps.

Arms: `plain` (the trunk of variant `small`), `bins` and `text` (other codecs), `nested` (1, 4 or 16 tokens a frame out
of one model). Each run is a folder, and what is in it is not done again; a killed run goes on from its checkpoint.
Thresholds were fixed before these runs: docs/decisions/0046-learning-on-a-cpu.md.

    python benchmarks/learning.py --work ../learning            all arms and seeds, then the page
    python benchmarks/learning.py --work ../learning --brief    one seed, few steps, no page: that it runs
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from measure import Result, say

from reelmill.pipelines.scenes.micro import MicroPreset
from reelmill.pipelines.scenes.micro_pack import write_micro
from reelmill.sinks.publishing.packed import PackedSample
from reelmill.training.data.shards import Split, opened
from reelmill.training.evals.evaluate import evaluate
from reelmill.training.evals.intervals import mean_of
from reelmill.training.evals.model import ModelAnswerer
from reelmill.training.evals.report import Report
from reelmill.training.evals.scores import Score
from reelmill.training.loop.fit import Told
from reelmill.training.loop.plan import Data, Plan
from reelmill.training.running import begun, finished

PRESET = MicroPreset(acts=("appear", "appear", "move"))
"""Appearances and glides of 2 to 5 of 16 frames, one thing or two: no constant span does well at them. Arrivals and
departures are left out: one end of theirs is that of the clip, which a constant knows."""
LEARNED, ASKED = (6_000, 11), (600, 91)
"""Clips and seed of what is learned from, and of what is asked about."""
FLOOR_FROM = 4_000
"""Samples that the floors learn from: a quarter of an hour would go into neighbours of all of them."""
ROW, FRAMES = 4_500, 16
MEASURES = (
    ("when_appear", "tiou"),
    ("when_appear", "r@0.5"),
    ("when_appear", "r@0.7"),
    ("when_move", "tiou"),
    ("when_move", "r@0.5"),
    ("where_still", "acc@0.5"),
    ("where_moving", "acc@0.5"),
    ("order", "exact"),
)


@dataclass(frozen=True, slots=True)
class Arm:
    """A model: settings of `small`, its steps and seeds."""

    name: str
    steps: int
    seeds: Sequence[int]
    settings: Mapping[str, Any] = field(default_factory=dict)
    budgets: Sequence[int | None] = (None,)


ARMS = (
    Arm("plain", 600, (0, 1, 2)),
    Arm("bins", 600, (0,), {"codec": "bins"}),
    Arm("text", 600, (0,), {"codec": "text"}),
    Arm("nested", 400, (0,), {"nested": True}, (1, 4, 16)),
)


@dataclass(frozen=True, slots=True)
class Sets:
    """What is learned from, and what is asked about."""

    learned: Path
    asked: Path

    @classmethod
    def drawn(cls, work: Path, brief: bool) -> Sets:
        """Both, drawn where they are not there yet."""
        share = 100 if brief else 1
        sets = cls(work / "sets" / "learned", work / "sets" / "asked")
        for folder, (clips, seed), val in ((sets.learned, LEARNED, 0.0), (sets.asked, ASKED, 1.0)):
            write_micro(folder, max(20, clips // share), seed=seed, preset=PRESET, val_share=val)
        return sets


def trained(arm: Arm, seed: int, steps: int, sets: Sets, run: Path) -> None:
    """A run to its last step, with CPU-seconds of every step in `cpu.jsonl`."""
    plan = Plan(
        "small",
        (Data(str(sets.learned), shared=True),),
        steps=steps,
        settings=dict(arm.settings),
        seed=seed,
        tokens=ROW,
        frames=FRAMES,
    )
    run.mkdir(parents=True, exist_ok=True)
    with (run / "cpu.jsonl").open("a") as log:

        def tell(told: Told) -> None:
            log.write(json.dumps({"step": told.step, "cpu_s": told.cpu_s, "loss": told.losses["loss"]}) + "\n")
            log.flush()
            if told.step % 100 == 0:
                say(f"{run.name}: step {told.step} of {steps}, loss {told.losses['loss']:.3f}")

        begun(plan, run, tell).go()


def cpu_s(run: Path) -> float:
    """CPU-seconds of a run's steps; a step that was done again counts once, as it was done last."""
    lines = map(json.loads, (run / "cpu.jsonl").read_text().splitlines())
    return sum({line["step"]: line["cpu_s"] for line in lines}.values())


def asked(run: Path, sets: Sets, budget: int | None) -> Report:
    """What a run's model answers, read back where it was asked before."""
    place = run / ("evaluation.json" if budget is None else f"evaluation-{budget}.json")
    if place.exists():
        return Report.load(place)
    made, held, learned = finished(run), opened(sets.asked, "val"), opened(sets.learned, "train")
    started = time.process_time()
    test, train = all_of(held, len(held)), all_of(learned, FLOOR_FROM)
    report = evaluate(
        test,
        train,
        ModelAnswerer(made.model, made.tokens, held, longest=40, budget=budget),
        objects=objects(test) | objects(train),
        run=run.name,
        dataset=held.label,
        facts={"steps": str(made.plan.steps)},
    )
    report.save(place)
    say(f"{run.name}: asked {len(test)} samples in {time.process_time() - started:.0f} CPU-s")
    return report


def all_of(split: Split, most: int) -> list[PackedSample]:
    return [split.sample(n) for n in range(min(most, len(split)))]


def objects(samples: Sequence[PackedSample]) -> dict[str, int]:
    """How many things are in each clip, as the renderer said."""
    return {s.parent_key: int(re.findall(r"objects=(\d+)", s.method)[0]) for s in samples}


def rows_of(reports: Sequence[Report], task: str, measure: str, things: str = "") -> list[Score]:
    return [
        s
        for r in reports
        for s in r.scores
        if (s.task, s.measure) == (task, measure) and things in ("", str(s.objects))
    ]


def lines(arm: str, reports: Sequence[Report]) -> Iterator[tuple[object, ...]]:
    """The page's rows of an arm: the mean over seeds, an interval by clip, each seed, both floors."""
    for task, measure in MEASURES:
        for things in ("", "1", "2"):
            rows = rows_of(reports, task, measure, things)
            if not rows:
                continue
            mean = mean_of([s.value for s in rows], [s.source for s in rows])
            each = [rows_of([r], task, measure, things) for r in reports]
            prior, words = (fmean(s.prior or 0.0 for s in rows), fmean(s.question_only or 0.0 for s in rows))
            yield (
                arm,
                task,
                things or "all",
                measure,
                f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]",
                " ".join(f"{fmean(s.value for s in own):.3f}" for own in each),
                f"{prior:.3f}",
                f"{words:.3f}",
                len(each[0]),
            )


HEADER = ("arm", "task", "things", "measure", "mean, 95 % by clip", "each seed", "prior", "question only", "questions")


def page_of(work: Path, sets: Sets) -> Result:
    """The table of every finished run."""
    page = Result("learning", "Learning on a CPU from micro clips", rounds=1)
    clips, questions = ASKED[0], len(opened(sets.asked, "val"))
    page.note(
        f"Size XS from scratch, rows of {ROW} tokens, {LEARNED[0]} clips; {questions} samples of {clips} other clips."
        f" Floors learn from {FLOOR_FROM} samples. Thresholds: docs/decisions/0046-learning-on-a-cpu.md."
    )
    table: list[tuple[object, ...]] = []
    runs: list[tuple[object, ...]] = []
    for arm in ARMS:
        done = [run for seed in arm.seeds if (run := work / "runs" / f"{arm.name}-{seed}").is_dir()]
        for budget in arm.budgets:
            name = "evaluation.json" if budget is None else f"evaluation-{budget}.json"
            reports = [Report.load(run / name) for run in done if (run / name).exists()]
            label = arm.name if budget is None else f"{arm.name}, {budget} a frame"
            table += lines(label, reports)
        runs += [(run.name, arm.steps, cpu_s(run), cpu_s(run) / arm.steps) for run in done]
    page.table(("run", "steps", "CPU-s", "CPU-s a step"), runs)
    page.table(HEADER, table)
    page.raw |= {"arms": [asdict(a) for a in ARMS], "runs": runs, "table": table}
    return page


def curves(work: Path) -> Any:
    """Training loss over CPU-seconds, a line a run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5))
    axes = figure.subplots()
    for run in sorted((work / "runs").iterdir()):
        said = [json.loads(line) for line in (run / "cpu.jsonl").read_text().splitlines()]
        spent, losses, at = [], [], 0.0
        for number, line in enumerate(said, 1):
            at += line["cpu_s"]
            losses.append(line["loss"])
            if number % 20 == 0:
                spent.append((at, fmean(losses[-20:])))
        axes.plot(*zip(*spent, strict=True), label=run.name)
    axes.set(xlabel="CPU-seconds", ylabel="training loss, mean of 20 steps")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("benchmarks/.learning"))
    parser.add_argument("--arms", nargs="*", choices=[a.name for a in ARMS], default=[a.name for a in ARMS])
    parser.add_argument("--seeds", type=int, nargs="*", help="only these")
    parser.add_argument("--brief", action="store_true", help="one seed, 10 steps, no page")
    parser.add_argument("--page", action="store_true", help="only the page of what is done")
    given = parser.parse_args()
    torch.set_num_threads(1)
    work = given.work / "brief" if given.brief else given.work
    sets = Sets.drawn(work, given.brief)
    for arm in () if given.page else [a for a in ARMS if a.name in given.arms]:
        for seed in arm.seeds[:1] if given.brief else arm.seeds:
            if given.seeds and seed not in given.seeds:
                continue
            run = work / "runs" / f"{arm.name}-{seed}"
            trained(arm, seed, 10 if given.brief else arm.steps, sets, run)
            for budget in arm.budgets:
                asked(run, sets, budget)
    if not given.brief:
        page_of(work, sets).save(curves(work))


if __name__ == "__main__":
    main()
