"""What small models from scratch learn in seconds: accuracy against visual tokens, and three codecs of time.

Tokens: pictures of one thing, asked where it is (pictures come first: docs/decisions/0046-learning-on-a-cpu.md). Each
paper learns for as many seconds on a trunk of the ladder with the same start, rows and data; FastV, which learns
nothing, drops tokens of the model that learned with all of them. The box is read where the answer begins, from the true
question, so nothing depends on decoding.

Codecs: variant `small` with `dist`, `bins` and `text`, pictures and then clips, as many steps each; answers are decoded
greedily and scored as `eval` does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean
from typing import Any

import torch
from measure import Result, bars
from torch import Tensor

from gpu import drawn
from gpu.bench import Bench, Unsaved
from reelmill.pipelines.scenes.micro_pack import write_micro
from reelmill.training import ladder, variants
from reelmill.training.assemble import Vocabulary, assembled, from_scratch, on
from reelmill.training.data.shards import opened
from reelmill.training.data.tokens import Tokens
from reelmill.training.documents import Document, packed
from reelmill.training.evals.evaluate import evaluate
from reelmill.training.evals.model import ModelAnswerer
from reelmill.training.hooks.drop import Drop
from reelmill.training.loop.fit import Told
from reelmill.training.loop.plan import Data, Plan, Rates
from reelmill.training.running import counting
from reelmill.training.variants import small
from reelmill.training.vlm import VLM

SIZE, BRIEF_SIZE = ladder.S, ladder.XS
"""S sees 8 x 8 patches of 64 pixels, so that 64 tokens are the ceiling."""
LEARNED, ASKED = 24_000, 2_000
ROW, RATE, WARMUP = 8_192, 1e-3, 50
_PACE, _FIRST = 30, 8
"""The step after which the pace is known, from steps behind the first ones."""
_GAP_S = 12.0
"""A run is not begun with less time left than it takes and this."""


@dataclass(frozen=True, slots=True)
class Run:
    """A variant that learns, and the budgets that it is asked with; None: all that it has."""

    variant: str
    budgets: tuple[int | None, ...] = (None,)
    settings: Mapping[str, Any] = field(default_factory=dict)


RUNS = (
    Run("llava15"),
    Run("mqt", (2, 4, 8, 16, 32, 64)),
    Run("m3", (1, 4, 16)),
    Run("fourier_vlm"),
    Run("pllava"),
    Run("llava_mini"),
)
FASTV = (0.5, 0.25, 0.125)
DROPPED_AT = 2


def learn(
    bench: Bench, model: VLM, objective: Any, packs: drawn.Memory, *, seconds: float = 0.0, steps: int = 0
) -> tuple[int, list[float]]:
    """Trains for so many steps, or, with none given, for so many seconds: the pace of the first steps says how many.
    Gives the steps, and the loss of each."""
    pace, first = (4, 2) if bench.brief else (_PACE, _FIRST)
    at, losses = list[float](), list[float]()

    def tell(told: Told) -> None:
        at.append(time.perf_counter())
        losses.append(told.losses["loss"])
        if told.step == pace and not steps:
            each, left = (at[-1] - at[first - 1]) / (pace - first), seconds - (at[-1] - start)
            fit.plan = replace(fit.plan, steps=pace + max(1, int(left / each)))

    rates = Rates(rate=RATE, warmup=WARMUP)
    plan = Plan("small", (Data("drawn"),), steps=steps or 1_000_000, tokens=packs.row, rates=rates)
    run = bench.work / "run"
    run.mkdir(exist_ok=True)
    start = time.perf_counter()
    fit = Unsaved(plan, model, objective, packs, run, tell, device=bench.device)
    fit.go()
    return fit.step, losses


# ---- accuracy against tokens -----------------------------------------------------------------------------------------


def overlap(said: Tensor, true: Tensor) -> Tensor:
    """IoU of boxes [K, 4] (x0, y0, x1, y1)."""
    inside = (torch.minimum(said[:, 2:], true[:, 2:]) - torch.maximum(said[:, :2], true[:, :2])).clamp(min=0).prod(1)
    of_said, of_true = ((box[:, 2:] - box[:, :2]).clamp(min=0).prod(1) for box in (said, true))
    return inside / (of_said + of_true - inside).clamp(min=1e-6)


def boxes(bench: Bench, model: VLM, asked: Sequence[Document], budget: int | None) -> dict[str, float]:
    """Mean IoU and Acc@0.5 of the boxes that answer."""
    model.eval()
    found = []
    with torch.no_grad(), bench.halved():
        for start in range(0, len(asked), 128):
            seq = model(packed(list(asked[start : start + 128])).to(bench.device), budget)
            slots = seq.slots["box"]
            states = seq.h[seq.rows(seq.before[seq.rows(slots.at)])]
            found.append(overlap(model.codec("box").read("box", states).float(), slots.values))
    iou = torch.cat(found)
    return {"iou": float(iou.mean()), "acc": float((iou >= 0.5).float().mean())}


def constant(learned: Sequence[Document], asked: Sequence[Document]) -> dict[str, float]:
    """The same of the mean box of what is learned: what who sees nothing may say."""
    true, known = (torch.tensor([s.values for d in of for s in d.slots if s.codec == "box"]) for of in (asked, learned))
    iou = overlap(known.mean(0, keepdim=True).expand_as(true), true)
    return {"iou": float(iou.mean()), "acc": float((iou >= 0.5).float().mean())}


def model_of(run: Run, size: ladder.Size, tokens: Tokens) -> tuple[VLM, Any]:
    """A variant on a fresh trunk, with the same codec for all; and its objective."""
    torch.manual_seed(0)
    vocabulary = vocabulary_of(tokens)
    tower, lm = ladder.tower(size), ladder.language(size, vocabulary.words)
    made = variants.named(run.variant).build(on(tower, lm, 1), **run.settings)
    made = replace(made, codecs=small.CODECS["dist"](size.words, 1.0))
    return assembled(made, tower, lm, vocabulary), made.objective


def vocabulary_of(tokens: Tokens) -> Vocabulary:
    """As `training.running` tells a model of its words."""
    ids = {name: tokens.tokenizer.convert_tokens_to_ids(f"<{name}>") for name in drawn.SLOTS}
    return Vocabulary(len(tokens.tokenizer), tokens.visual_id, ids)


def tokens_report(bench: Bench, page: Result) -> Any:
    """A row for every variant and budget."""
    size = BRIEF_SIZE if bench.brief else SIZE
    words = drawn.words(bench.work, size.image)
    tokens = drawn.writing(words, "dist", size.image)
    part = drawn.Part(words, size.image, pictures=True, seed=1, first=0, count=64, together=False, boxes=1)
    counts = (64, 32) if bench.brief else (LEARNED, ASKED)
    learned, asked = (
        drawn.drawn(replace(part, seed=seed, count=count), alone=bench.brief)["dist"]
        for seed, count in zip((1, 2), counts, strict=True)
    )
    floor = bench.row("tokens", variant="constant", tokens=0, **constant(learned, asked))
    rows: list[dict[str, Any]] = []
    for run in RUNS:
        if bench.left_s() < bench.seconds + _GAP_S and not bench.brief:
            page.note(f"Not run for want of time: {run.variant}.")
            continue
        rows += bench.tried("tokens", page, run.variant, partial(curve, bench, run, size, tokens, learned, asked)) or []
    page.raw["tokens"] = {"rows": rows, "floor": floor}
    page.note(
        f"{len(learned)} pictures of {size.image} pixels learned, {len(asked)} asked, {bench.seconds:.0f} s a variant,"
        f" rows of {ROW} tokens, rate {RATE}, one seed. FastV drops before layer {DROPPED_AT} of {size.layers}."
    )
    table = [(r["variant"], r["tokens"], r["steps"], r["seconds"], r["loss"], r["iou"], r["acc"]) for r in rows]
    table.append(("constant", 0, "-", "-", "-", floor["iou"], floor["acc"]))
    page.table(("variant", "tokens a picture", "steps", "s", "loss at the end", "IoU", "Acc@0.5"), table)
    return figure(rows, floor)


def curve(
    bench: Bench, run: Run, size: ladder.Size, tokens: Tokens, learned: Sequence[Document], asked: Sequence[Document]
) -> list[dict[str, Any]]:
    """A variant learns and is asked with each of its budgets; the full model also as FastV."""
    bench.fresh()
    model, objective = model_of(run, size, tokens)
    row = 512 if bench.brief else ROW
    packs = drawn.Memory(learned, counting(model), row, seed=0, pin=bench.device.type == "cuda")
    start = time.perf_counter()
    steps, losses = learn(bench, model, objective, packs, seconds=bench.seconds)
    same = {"steps": steps, "seconds": time.perf_counter() - start, "loss": fmean(losses[-20:])}
    rows = []
    for budget in run.budgets:
        if budget is not None and budget > size.image**2 // size.patch**2:
            continue
        count = model.reducer.count(1, model.tower.grid, budget)
        found = boxes(bench, model, asked, budget)
        rows.append(bench.row("tokens", variant=run.variant, tokens=count, **same, **found))
    if run.variant == "llava15":
        cells = rows[0]["tokens"]
        for keep in FASTV:
            model.hooks = (Drop(DROPPED_AT, keep),)
            found = boxes(bench, model, asked, None)
            rows.append(bench.row("tokens", variant="fastv", tokens=int(keep * cells), **same, **found))
    return rows


def figure(rows: Sequence[Mapping[str, Any]], floor: Mapping[str, Any]) -> Any:
    """Acc@0.5 over tokens, a line a variant."""
    from matplotlib.figure import Figure

    drawn_ = Figure(figsize=(7, 4.2))
    axes = drawn_.subplots()
    for variant in dict.fromkeys(r["variant"] for r in rows):
        own = sorted((r["tokens"], r["acc"]) for r in rows if r["variant"] == variant)
        axes.plot([x for x, _ in own], [y for _, y in own], "o-", label=variant)
    axes.axhline(floor["acc"], color="#888888", linestyle="--", label="constant box")
    axes.set_xscale("log", base=2)
    axes.set(xlabel="visual tokens a picture (FastV: behind the layer where it drops)", ylabel="Acc@0.5")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return drawn_


# ---- codecs of time --------------------------------------------------------------------------------------------------

CODECS = ("dist", "bins", "text")
PICTURES, CLIPS, HELD = 12_000, 6_000, 250
PICTURES_ROW, CLIPS_ROW = 3_000, 6_000
_PICTURES_SHARE, _MORE = 0.4, 1.5
"""Of the time of a codec, which is that of a variant by so much: two sets, one after the other."""
MEASURES = ("tiou", "r@0.5", "r@0.7")


def codecs_report(bench: Bench, page: Result) -> Any:
    """A row for every codec, task and measure; the first codec's pace says how many steps all of them have."""
    size = ladder.XS
    words = drawn.words(bench.work, size.image)
    sets = {
        pictures: drawn.drawn(
            drawn.Part(words, size.image, pictures, 3, 0, 24 if bench.brief else count, CODECS), alone=bench.brief
        )
        for pictures, count in ((True, PICTURES), (False, CLIPS))
    }
    held = bench.work / "held"
    how = drawn.preset(size.image, pictures=False)
    write_micro(held, 8 if bench.brief else HELD, seed=4, preset=how, val_share=1.0)
    steps: tuple[int, int] = (0, 0)
    rows: list[dict[str, Any]] = []
    for codec in CODECS:
        if bench.left_s() < _MORE * bench.seconds + _GAP_S and not bench.brief:
            page.note(f"Not run for want of time: {codec}.")
            continue
        bench.fresh()
        tokens = drawn.writing(words, codec, size.image)
        settings = {"codec": codec}
        model, variant = from_scratch("small", size, vocabulary_of(tokens), frames=16, settings=settings)
        steps, losses = taught(bench, model, variant.objective, {k: of[codec] for k, of in sets.items()}, steps)
        bench.row("codecs", codec=codec, steps=sum(steps), losses=[round(x, 4) for x in losses[::20]])
        rows += bench.tried("codecs", page, codec, partial(answered, bench, codec, model, tokens)) or []
    page.raw["codecs"] = rows
    page.note(
        f"Size XS, {PICTURES} pictures in rows of {PICTURES_ROW} tokens for {steps[0]} steps, then {CLIPS} clips in"
        f" rows of {CLIPS_ROW} for {steps[1]}; {HELD} clips asked when a thing is visible or moves. One seed."
    )
    names = ("codec", "task", "measure", "mean", "prior", "questions")
    page.table(names, [tuple(r[n] for n in names) for r in rows])
    shown = [r for r in rows if r["measure"] == "tiou"]
    return bars("tIoU", {f"{r['codec']}, {r['task']}": r["mean"] for r in shown})


def taught(
    bench: Bench, model: VLM, objective: Any, sets: Mapping[bool, Sequence[Document]], steps: tuple[int, int]
) -> tuple[tuple[int, int], list[float]]:
    """Pictures, then clips; steps of each, and the losses of all."""
    all_s, done, losses = _MORE * bench.seconds, list[int](), list[float]()
    plan = ((True, PICTURES_ROW, _PICTURES_SHARE, steps[0]), (False, CLIPS_ROW, 1 - _PICTURES_SHARE, steps[1]))
    for pictures, row, share, known in plan:
        pin = bench.device.type == "cuda"
        packs = drawn.Memory(sets[pictures], counting(model), 600 if bench.brief else row, seed=0, pin=pin)
        spent, own = learn(bench, model, objective, packs, seconds=share * all_s, steps=known)
        done.append(spent)
        losses += own
    return (done[0], done[1]), losses


def answered(bench: Bench, codec: str, model: VLM, tokens: Tokens) -> list[dict[str, Any]]:
    """Scores of decoded answers about times, by task and measure."""
    model.eval()
    split = opened(bench.work / "held", "val")
    known = opened(bench.work / f"words-{ladder.XS.image}-clips")
    test, train = ([s for s in map(of.sample, range(len(of))) if s.task.startswith("when")] for of in (split, known))
    answerer = ModelAnswerer(model, tokens, split, together=64, longest=16)
    report = evaluate(test, train, answerer, run=codec, dataset="micro")
    found = []
    for task, measure in sorted({(s.task, s.measure) for s in report.scores if s.measure in MEASURES}):
        own = [s for s in report.scores if (s.task, s.measure) == (task, measure)]
        prior = fmean(s.prior for s in own if s.prior is not None)
        mean = fmean(s.value for s in own)
        found.append(
            bench.row("codecs", codec=codec, task=task, measure=measure, mean=mean, prior=prior, questions=len(own))
        )
    return found
