"""Does a model learn on a CPU from our own shards? Size XS from scratch, on micro clips, in a fixed number of steps.

Arms, three seeds each, in this order:

    pictures          of one thing or two: where it is
    one               goes on from `pictures` with clips of one thing; `bins`, `text`: other codecs, from their own
                      pictures
    nested            goes on from `one` with 1, 4 and 16 tokens a frame
    two               goes on from `one` with clips of two things
    dpo               goes on from `two` with preference pairs, and questions of `two` in a quarter of the documents;
                      `dpo_blind` with the same and grey frames
    pictures_adamw    as `pictures`, with AdamW in place of Muon

Each run is a folder: what is in it is not done again, and a killed run goes on from its checkpoint. Thresholds were
fixed before the reported runs: docs/decisions/0046-learning-on-a-cpu.md.

    python benchmarks/learning.py --work ../learning                      everything, then the page
    python benchmarks/learning.py --work ../learning --arms one --seeds 0 a part, then the page of what is done
    python benchmarks/learning.py --brief                                 every arm for 4 steps: that it runs
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from measure import Result, say

from reelmill.pipelines.scenes.micro import MicroPreset
from reelmill.pipelines.scenes.micro_pack import write_micro
from reelmill.sinks.publishing.packed import PackedPreference, PackedSample
from reelmill.training.data.shards import Split, opened
from reelmill.training.documents import Pack
from reelmill.training.evals.evaluate import evaluate
from reelmill.training.evals.intervals import mean_of
from reelmill.training.evals.model import ModelAnswerer, ModelPreferrer
from reelmill.training.evals.report import Report
from reelmill.training.evals.scores import Score
from reelmill.training.loop.fit import Packs, Told
from reelmill.training.loop.plan import Data, Plan, Rates
from reelmill.training.running import begun, finished

ACTS = ("appear", "appear", "move")
"""Appearances and glides of 2 to 5 of 16 frames: no constant span does well at them. Arrivals and departures are left
out: one of their ends is that of the clip, which a constant knows."""
FLOOR_FROM = 4_000
"""Samples that the floors learn from; with all of them their neighbours would take longer than a run. The floor of
`order` is 0.5: both answers stand in the question, which neither a constant nor a neighbour takes up."""
FRAMES = 16
SEEDS = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class Clips:
    """A set of micro clips: how many are learned from and asked about, with other seeds. Of those that are learned from
    each thing's box is asked for at up to `boxes` frames, and `things` are in them; in those asked about, one up to as
    many. `lasts`: the least and most frames of what happens."""

    learned: int
    asked: int
    things: tuple[int, int]
    paired: bool = False
    frames: int = FRAMES
    acts: tuple[str, ...] = ACTS
    boxes: int = 2
    lasts: tuple[int, int] = (2, 5)


SETS = {
    "pictures": Clips(20_000, 1_000, (1, 2), frames=1, acts=("stay",)),
    "one": Clips(12_000, 800, (1, 1)),
    "two": Clips(12_000, 500, (2, 2), boxes=1),
    "pairs": Clips(6_000, 2_500, (1, 2), paired=True, lasts=(2, 10)),
}
"""What is asked comes to 1,500 questions or pairs a set, captions not counted."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A model of variant `small`: what it learns from and for how many steps, and the arm that it goes on from. `asked`
    are the sets that it is asked about; `budgets` tokens a frame that it is asked with. Of `replayed` it sees
    half as many clips beside."""

    name: str
    of: str
    steps: int
    asked: tuple[str, ...]
    start: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    budgets: tuple[int | None, ...] = (None,)
    objective: str = "variant"
    rates: Rates = field(default_factory=Rates)
    blind: bool = False
    row: int = 3_000
    replayed: str = ""
    optimizer: str = "auto"


PICTURES = Arm("pictures", "pictures", 1_000, ("pictures",), row=1_500)
_PAIRS = Arm(
    "dpo", "pairs", 150, ("pairs", "two"), "two", objective="dpo", rates=Rates(rate=3e-4, warmup=10), replayed="two"
)
ARMS = (
    PICTURES,
    Arm("one", "one", 500, ("one",), "pictures"),
    Arm("two", "two", 1_500, ("two", "pairs"), "one"),
    _PAIRS,
    replace(_PAIRS, name="dpo_blind", asked=("pairs",), blind=True),
    replace(PICTURES, name="pictures_adamw", optimizer="adamw"),
    replace(PICTURES, name="pictures_bins", settings={"codec": "bins"}),
    Arm("bins", "one", 500, ("one",), "pictures_bins", settings={"codec": "bins"}),
    replace(PICTURES, name="pictures_text", settings={"codec": "text"}),
    Arm("text", "one", 500, ("one",), "pictures_text", settings={"codec": "text"}),
    Arm("nested", "one", 300, ("one",), "one", settings={"nested": True}, budgets=(1, 4, 16)),
)
BRIEF = 4


@dataclass(frozen=True, slots=True)
class Bench:
    """A folder of sets and runs."""

    work: Path
    brief: bool

    def folder(self, name: str, part: str) -> Path:
        """The pack of a set's part ("learned" or "asked"), drawn where it is not there yet."""
        clips, seed = SETS[name], 2 * list(SETS).index(name) + (part == "asked")
        count = getattr(clips, part) // (400 if self.brief else 1)
        place = self.work / "sets" / f"{name}-{part}"
        asked = part == "asked"
        things = (1, clips.things[1]) if asked else clips.things
        preset = MicroPreset(objects=things, acts=clips.acts, frames=clips.frames, span_frames=clips.lasts)
        boxes = 1 if asked else clips.boxes
        write_micro(
            place, max(20, count), seed=seed, preset=preset, val_share=float(asked), paired=clips.paired, boxes=boxes
        )
        return place

    def run(self, arm: Arm, seed: int) -> Path:
        return self.work / "runs" / f"{arm.name}-{seed}"

    def start(self, arm: Arm, seed: int) -> Path:
        """The run that an arm goes on from."""
        return self.work / "runs" / f"{arm.start}-{seed}"

    def plan(self, arm: Arm, seed: int) -> Plan:
        return Plan(
            "small",
            self.data(arm),
            steps=BRIEF if self.brief else arm.steps,
            settings=dict(arm.settings),
            seed=seed,
            tokens=arm.row,
            frames=FRAMES,
            rates=arm.rates,
            objective=arm.objective,
            start=str(self.start(arm, seed)) if arm.start else None,
            optimizer=arm.optimizer,
            keep_every=100,
        )

    def data(self, arm: Arm) -> tuple[Data, ...]:
        """What an arm learns from; a pair stays a document of its own."""
        of = (Data(str(self.folder(arm.of, "learned")), shared=True),)
        return of + ((Data(str(self.folder(arm.replayed, "learned")), 0.5, shared=True),) if arm.replayed else ())

    def train(self, arm: Arm, seed: int) -> None:
        """A run to its last step, with CPU-seconds of every step in `cpu.jsonl`."""
        run, plan = self.run(arm, seed), self.plan(arm, seed)
        run.mkdir(parents=True, exist_ok=True)
        with (run / "cpu.jsonl").open("a") as log:

            def tell(told: Told) -> None:
                line = {"step": told.step, "cpu_s": told.cpu_s, "loss": told.losses["loss"], "tokens": told.tokens}
                log.write(json.dumps(line) + "\n")
                log.flush()
                if told.step % 100 == 0:
                    say(f"{run.name}: step {told.step} of {told.steps}, loss {told.losses['loss']:.3f}")

            fit = begun(plan, run, tell)
            if arm.blind:
                fit.packs = Grey(fit.packs)
            fit.go()

    def ask(self, arm: Arm, seed: int) -> None:
        """A finished run's answers about every set that its arm names, each asked once."""
        for of in arm.asked:
            for budget in arm.budgets:
                place = self.answers(arm, seed, of, budget)
                if not place.exists():
                    started = time.process_time()
                    report = self._asked(arm, seed, of, budget)
                    report.save(place)
                    say(f"{place}: {len(report.scores)} scores in {time.process_time() - started:.0f} CPU-s")

    def answers(self, arm: Arm, seed: int, of: str, budget: int | None) -> Path:
        return self.run(arm, seed) / f"evaluation-{of}{'' if budget is None else f'-{budget}'}.json"

    def _asked(self, arm: Arm, seed: int, of: str, budget: int | None) -> Report:
        made = finished(self.run(arm, seed))
        held, learned = opened(self.folder(of, "asked"), "val"), opened(self.folder(of, "learned"))
        # Captions are in drawn order: whether one is right is asked by pairs.
        test = [s for s in first(held, len(held)) if s.task != "caption"]
        train = first(learned, FLOOR_FROM)
        return evaluate(
            test,
            train,
            ModelAnswerer(made.model, made.tokens, held, longest=40, budget=budget, blind=arm.blind),
            preferrer=ModelPreferrer(made.model, made.tokens, held, blind=arm.blind),
            objects=things(test) | things(train),
            run=self.run(arm, seed).name,
            dataset=held.label,
            facts={"steps": str(made.plan.steps)},
        )


class Grey:
    """Packs without anything to see: what can be learned of the words alone."""

    def __init__(self, packs: Packs) -> None:
        self.packs, self.state, self.load = packs, packs.state, packs.load

    def __iter__(self) -> Iterator[Pack]:
        for pack in self.packs:
            yield replace(pack, pixels=torch.full_like(pack.pixels, 128))


def first(split: Split, most: int) -> list[PackedSample]:
    return [split.sample(n) for n in range(min(most, len(split)))]


def things(samples: Sequence[PackedSample]) -> dict[str, int]:
    """How many things are in each clip, as the renderer said."""
    return {
        s.parent_key: int(re.findall(r"objects=(\d+)", s.method)[0])
        for s in samples
        if not isinstance(s, PackedPreference)
    }


# ---- the page --------------------------------------------------------------------------------------------------------

HEADER = ("arm", "task", "of", "measure", "mean, 95 % by clip", "each seed", "prior", "question only", "questions")
MEASURES = ("tiou", "r@0.5", "r@0.7", "acc@0.5", "exact", "prefers")


def told_apart(reports: Sequence[Report]) -> Iterator[tuple[str, str, str, list[list[Score]]]]:
    """Task, group and measure with the rows of each seed; groups are all rows, numbers of things, kinds of pairs."""
    seen = sorted({(s.task, s.measure) for r in reports for s in r.scores if s.measure in MEASURES})
    for task, measure in seen:
        own = [[s for s in r.scores if (s.task, s.measure) == (task, measure)] for r in reports]
        yield task, "all", measure, own
        for group in sorted({group_of(s) for rows in own for s in rows} - {""}):
            yield task, group, measure, [[s for s in rows if group_of(s) == group] for rows in own]


def group_of(score: Score) -> str:
    if score.kind:
        return score.kind
    return "" if score.objects is None else f"{score.objects} thing{'s' * (score.objects > 1)}"


def lines(label: str, reports: Sequence[Report]) -> Iterator[tuple[object, ...]]:
    """The page's rows of an arm: the mean over seeds, an interval by clip, each seed, both floors."""
    for task, group, measure, each in told_apart(reports):
        rows = [s for own in each for s in own]
        mean = mean_of([s.value for s in rows], [s.source for s in rows])
        floors = [
            "-" if any(v is None for v in values) else f"{fmean(v or 0.0 for v in values):.3f}"
            for values in ([s.prior for s in rows], [s.question_only for s in rows])
        ]
        seeds = " ".join(f"{fmean(s.value for s in own):.3f}" for own in each)
        interval = "-" if mean.low is None else f"[{mean.low:.3f}, {mean.high:.3f}]"
        yield label, task, group, measure, f"{mean.mean:.3f} {interval}", seeds, *floors, len(each[0])


def page_of(bench: Bench) -> Result:
    """The table of every finished run."""
    page = Result("learning", "Learning on a CPU from micro clips")
    page.note(
        f"Size XS from scratch, variant `small`, {FRAMES} frames, one thread, Muon but where AdamW is named. Floors"
        f" learn from {FLOOR_FROM} samples. CPU-seconds are those of an arm alone, without the one it goes on from."
        " Thresholds and what was not run: docs/decisions/0046-learning-on-a-cpu.md."
    )
    table: list[tuple[object, ...]] = []
    runs: list[tuple[object, ...]] = []
    for arm in ARMS:
        done = [seed for seed in SEEDS if bench.answers(arm, seed, arm.asked[0], arm.budgets[0]).exists()]
        runs += [(bench.run(arm, s).name, arm.steps, arm.row, spent_s(bench.run(arm, s))) for s in done]
        for of in arm.asked:
            for budget in arm.budgets:
                places = [p for s in done if (p := bench.answers(arm, s, of, budget)).exists()]
                label = arm.name if budget is None else f"{arm.name}, {budget} a frame"
                table += lines(label, [Report.load(p) for p in places])
    page.table(("run", "steps", "row", "CPU-s"), runs)
    page.table(HEADER, table)
    page.raw |= {"arms": [asdict(a) for a in ARMS], "sets": {n: asdict(c) for n, c in SETS.items()}}
    page.raw |= {"runs": runs, "table": table}
    return page


def steps_of(run: Path) -> list[dict[str, float]]:
    """A run's steps; one that was done again, as it was done last."""
    said = map(json.loads, (run / "cpu.jsonl").read_text().splitlines())
    return list({line["step"]: line for line in said}.values())


def spent_s(run: Path) -> float:
    return sum(line["cpu_s"] for line in steps_of(run))


def curves(bench: Bench) -> Any:
    """Training loss over CPU-seconds, a colour an arm and a line a seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    runs = sorted((bench.work / "runs").iterdir())
    colours = {arm: f"C{n}" for n, arm in enumerate(sorted({run.name.rpartition("-")[0] for run in runs}))}
    told: set[str] = set()
    for run in runs:
        arm, _, seed = run.name.rpartition("-")
        label = "_" if arm in told else arm
        told.add(arm)
        axes.plot(*smoothed(steps_of(run)), label=label, color=colours[arm], linestyle=LINES[int(seed)], linewidth=1.2)
    axes.set(xlabel="CPU-seconds", ylabel="training loss, mean of 20 steps", yscale="log")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), title="a line a seed")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


LINES = ("-", "--", ":")


def smoothed(said: Sequence[Mapping[str, float]]) -> tuple[list[float], list[float]]:
    """CPU-seconds so far at every 20th step, and the mean loss of these 20."""
    spent, losses, at = list[float](), list[float](), 0.0
    for number, line in enumerate(said, 1):
        at += line["cpu_s"]
        if number % 20 == 0:
            spent.append(at)
            losses.append(fmean(one["loss"] for one in said[number - 20 : number]))
    return spent, losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("benchmarks/.learning"))
    names = [arm.name for arm in ARMS]
    parser.add_argument("--arms", nargs="+", choices=names, default=names)
    parser.add_argument("--seeds", type=int, nargs="+", choices=SEEDS, default=SEEDS)
    parser.add_argument("--brief", action="store_true", help=f"{BRIEF} steps of one seed, no page")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as aside:
        bench = Bench(Path(aside) if given.brief else given.work, given.brief)
        for arm in [arm for arm in ARMS if arm.name in given.arms]:
            for seed in given.seeds[:1] if given.brief else given.seeds:
                bench.train(arm, seed)
                bench.ask(arm, seed)
        if not given.brief:
            page_of(bench).save(curves(bench))


if __name__ == "__main__":
    main()
