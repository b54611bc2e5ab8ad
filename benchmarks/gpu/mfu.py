"""Arithmetic used (MFU) and where a step's time goes: our loop, our loader with JPEG decoding, packs of 16k tokens.

Operations of a step, recomputed ones not counted (as PaLM counts, arXiv 2204.02311, appendix B):

    tower       2 W n + 4 n^2 d L       a frame of n patches; W weights, width d, L layers
    projector   2 W m                   a frame of m tokens
    words       2 W S + 2 l^2 D L       a row of S tokens; the second for each document of l tokens, who sees half
    head        2 V D                   a learned token

times 3 for what learns (forward once, backward twice), times 1 for a tower that is frozen. MFU is operations over wall
time, all of it, by the data sheet's peak and by the product of matrices measured in the same run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import Result

from gpu import shapes
from gpu.bench import Bench, Unsaved, weighed
from reelmill.training.attention import Layout, of_row
from reelmill.training.data.loader import Loader, Settings, Source
from reelmill.training.data.shards import opened
from reelmill.training.data.tokens import Tokens
from reelmill.training.documents import Pack
from reelmill.training.loop.clock import PARTS, weights
from reelmill.training.loop.fit import Told
from reelmill.training.loop.plan import Data, Plan, Rates
from reelmill.training.objectives.lm import LM
from reelmill.training.running import counting, decoders
from reelmill.training.splice import placed
from reelmill.training.trunk import Causal, body_of
from reelmill.training.values import TEXT, Seq
from reelmill.training.vlm import VLM

ROW, BRIEF_ROW = 16_384, 1_400
WARM, STEPS = 6, 20
SAMPLES, STORED_PX = 600, 256
GOAL, WAIT_GOAL = 0.45, 0.01
RUNS = (
    ("smol", False, False),
    ("smol", False, True),
    ("smol", True, False),
    ("smol", True, True),
    ("qwen", False, True),
)
"""Language model, tower frozen, compiled."""
_COMPILING_S, _MOST_S = 75.0, 200.0
"""A run is not begun with less time left than the first, or when all of them took more than the second: other parts
want some too."""


@dataclass
class Watched:
    """Packs as they come, with what is counted of them; `loader` is ours."""

    loader: Loader
    counted: list[tuple[int, int, int, float]] = field(default_factory=list)

    def __iter__(self) -> Iterator[Pack]:
        for pack in self.loader:
            lengths = torch.bincount(pack.doc) - 1 + shapes.SIDE**2 * torch.bincount(pack.sample)
            said = int((pack.labels >= 0).sum())
            self.counted.append((len(pack.pixels), int(lengths.sum()), said, float(lengths.double().square().sum())))
            yield pack

    def state(self) -> Mapping[str, Any]:
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Nothing to go on from."""


@dataclass
class TowerTime:
    """Seconds of the tower's forward pass, each time that it runs."""

    bench: Bench
    marks: list[Any] = field(default_factory=list)

    def watch(self, model: VLM) -> None:
        model.tower.register_forward_pre_hook(lambda *_: self._mark())
        model.tower.register_forward_hook(lambda *_: self._mark())

    def _mark(self) -> None:
        if self.bench.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """To be asked once the device has done all."""
        pairs = zip(self.marks[::2], self.marks[1::2], strict=True)
        if self.bench.device.type == "cuda":
            return [a.elapsed_time(b) / 1000 for a, b in pairs]
        return [b - a for a, b in pairs]


def operations(model: VLM, frozen: bool, counted: tuple[int, int, int, float]) -> float:
    """Operations of a step, as the module says."""
    frames, tokens, said, squares = counted
    tower: Any = model.tower
    seen, body = tower.model.config, body_of(model.lm)
    patches = tower.grid[0] * tower.grid[1]
    sees = 2 * weights(tower) * patches + 4 * patches**2 * seen.hidden_size * seen.num_hidden_layers
    projects = 2 * weights(model.reducer) * shapes.SIDE**2
    width, layers = body.config.hidden_size, len(body.layers)
    reads = 2 * weights(body) * tokens + 2 * squares * width * layers
    says = 2 * len(model.outputs()[0]) * width * said
    return float((1 if frozen else 3) * sees * frames + 3 * (projects * frames + reads + says))


def loading(folder: Path, tokens: Tokens, row: int, model: VLM) -> Watched:
    """Our loader as `train` builds it."""
    source, settings = Source(opened(folder)), Settings(length=row)
    return Watched(Loader([source], tokens, settings, counting(model), threads=decoders()))


def one(bench: Bench, run: tuple[str, bool, bool], folder: Path, tokens: Tokens, ceiling: float) -> dict[str, Any]:
    """One run: medians would hide a loader that stalls now and then, so sums over all steps behind the warm ones."""
    name, frozen, compile_ = run
    bench.fresh()
    model = shapes.vlm(name, tokens.visual_id, brief=bench.brief)
    row, steps = (BRIEF_ROW, 4) if bench.brief else (ROW, WARM + STEPS)
    warm = 2 if bench.brief else WARM
    parts = {"tower": 0.0} if frozen else {}
    rates = Rates(rate=1e-4, warmup=steps, parts=parts)
    how: dict[str, Any] = {"compile": compile_, "optimizer": "adamw"}  # as such models are tuned
    plan = Plan("llava15", (Data("bench"),), steps=steps, tokens=row, rates=rates, keep_every=10_000, **how)
    packs, towers = loading(folder, tokens, row, model), TowerTime(bench)
    told: list[tuple[float, Told]] = []
    run_folder = bench.work / f"{name}-{frozen}-{compile_}"
    run_folder.mkdir()

    def tell(step: Told) -> None:
        told.append((time.perf_counter(), step))

    fit = Unsaved(plan, model, LM(), packs, run_folder, tell, device=bench.device)
    towers.watch(model)
    fit.go()
    wall_s = told[-1][0] - told[warm - 1][0]
    work = sum(operations(model, frozen, counted) for counted in packs.counted[warm:steps])
    spent = {part: sum(t.seconds[part] for _, t in told[warm:]) for part in PARTS}
    seen_s = sum(towers.seconds()[warm:])
    known = bench.data_sheet()
    return {
        "model": f"{weighed(model.tower):.0f}M + {name} {weighed(model.lm):.0f}M",
        "tower": "frozen" if frozen else "learns",
        "compile": compile_,
        "tokens_a_second": sum(t.tokens for _, t in told[warm:]) / wall_s,
        "step_s": wall_s / (steps - warm),
        "tera_a_step": work / (steps - warm) / 1e12,
        "mfu_data_sheet": work / wall_s / known if known else None,
        "mfu_ceiling": work / wall_s / ceiling,
        "wait": spent["wait"] / wall_s,
        "copy": spent["move"] / wall_s,
        "tower_forward": seen_s / wall_s,
        "lm_forward": (spent["forward"] - seen_s) / wall_s,
        "backward": spent["backward"] / wall_s,
        "optimiser": spent["update"] / wall_s,
        "other": 1 - sum(spent.values()) / wall_s,
        "peak_gb": bench.peak_gb(),
    }


def loader_alone(bench: Bench, folder: Path, tokens: Tokens) -> dict[str, Any]:
    """What the loader gives when nobody holds it up."""
    model = shapes.vlm("smol", tokens.visual_id, brief=True)
    model.tower.model.config.image_size = tokens.size_px
    packs = iter(loading(folder, tokens, BRIEF_ROW if bench.brief else ROW, model))
    next(packs)
    start, frames, rows = time.perf_counter(), 0, 2 if bench.brief else 12
    for _ in range(rows):
        frames += len(next(packs).pixels)
    spent_s = time.perf_counter() - start
    packs.close()  # type: ignore[attr-defined]
    return {"frames_a_second": frames / spent_s, "row_s": spent_s / rows, "threads": decoders()}


def kernels_agree(bench: Bench) -> dict[str, Any]:
    """Attention of a row by the unpadded kernel and by padded documents in bfloat16, forward and gradient, against
    float32: relative errors of both. Empty where no such kernel is."""
    if bench.device.type != "cuda":
        return {}
    lengths = torch.randint(3, 900, (12,)).tolist()
    doc = torch.repeat_interleave(torch.arange(12), torch.tensor(lengths)).to(bench.device)
    same = torch.zeros_like(doc)
    pos, before = placed(doc, same)
    seq = Seq(torch.zeros(len(doc), 1, device=doc.device), pos, same + TEXT, doc, same, same, same.float(), pos, before)
    states = [torch.randn(1, heads, len(doc), 64, device=doc.device) for heads in (15, 5, 5)]
    ways = {"exact": torch.float32, "padded": torch.bfloat16, "unpadded": torch.bfloat16}
    found: dict[str, list[torch.Tensor]] = {}
    for way, kind in ways.items():
        given = [s.to(kind).requires_grad_() for s in states]
        layout = Layout(seq, Causal(), 12)
        if way == "unpadded":
            out = of_row(*(s[0].transpose(0, 1) for s in given), *layout.starts, 0.125).unsqueeze(0)
        else:
            layout.__dict__["ordered"] = False  # the padded way, whatever the device
            out = layout.attend(0, *given, 0.125, 0.0)
        gradients = torch.autograd.grad((out.float() * _fixed(out)).sum(), given)
        found[way] = [out.detach().float(), *(g.float() for g in gradients)]

    def error(way: str) -> float:
        pairs = zip(found[way], found["exact"], strict=True)
        return max(float((a - b).norm() / b.norm()) for a, b in pairs)

    return {"padded": error("padded"), "unpadded": error("unpadded")}


def _fixed(out: torch.Tensor) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(out.shape, generator=draw).to(out.device)


HEADER = (
    "model",
    "tower",
    "compile",
    "tokens/s",
    "step s",
    "TFLOP a step",
    "MFU, data sheet",
    "MFU, measured peak",
    "peak GB",
)
SHARES = ("wait", "copy", "tower_forward", "lm_forward", "backward", "optimiser", "other")


def report(bench: Bench, page: Result) -> Any:
    """All runs for which there is time; the table as far as it came."""
    size_px = 64 if bench.brief else STORED_PX
    folder = shapes.write(bench.work / "bench", 24 if bench.brief else SAMPLES, size_px)
    tokens = shapes.tokens(folder, size_px)
    ceiling = bench.ceiling()
    page.note(f"{bench.named()}: {ceiling / 1e12:.4g} TFLOP/s in one product of random matrices, measured here.")
    agree = bench.tried("mfu", page, "attention", lambda: kernels_agree(bench)) or {}
    bench.row("mfu", check="attention, largest relative error", **agree)
    page.note(f"Attention in bfloat16 against float32, largest relative error: {agree}.")
    alone = bench.row("mfu", check="loader alone", **loader_alone(bench, folder, tokens))
    page.note(f"The loader by itself: {alone}.")
    rows, start = [], time.monotonic()
    for run in RUNS[:3:2] if bench.brief else RUNS:
        if (bench.left_s() < _COMPILING_S or time.monotonic() - start > _MOST_S) and not bench.brief:
            page.note(f"Not run for want of time: {run}.")
            continue
        found = bench.tried("mfu", page, str(run), partial(one, bench, run, folder, tokens, ceiling))
        rows += [bench.row("mfu", **found)] if found else []
    page.raw["mfu"] = rows
    shown = [
        (
            *(r[name] for name in ("model", "tower", "compile", "tokens_a_second", "step_s", "tera_a_step")),
            *("-" if r[name] is None else f"{r[name]:.1%}" for name in ("mfu_data_sheet", "mfu_ceiling")),
            r["peak_gb"],
        )
        for r in rows
    ]
    page.table(HEADER, shown)
    shares = [(r["model"], r["tower"], r["compile"], *(f"{r[s]:.1%}" for s in SHARES)) for r in rows]
    page.table(("model", "tower", "compile", *(s.replace("_", " ") for s in SHARES)), shares)
    page.note(f"Goal: MFU of at least {GOAL:.0%} by the data sheet's peak, loader wait below {WAIT_GOAL:.0%}.")
    return figure(rows)


def figure(rows: list[dict[str, Any]]) -> Any:
    """Shares of a step, a bar a run."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(9, 1 + 0.5 * len(rows)))
    axes = drawn.subplots()
    names = [f"{r['model']}, {r['tower']}{', compiled' if r['compile'] else ''}" for r in rows]
    left = [0.0] * len(rows)
    for share in SHARES:
        widths = [max(0.0, r[share]) for r in rows]
        axes.barh(names, widths, left=left, label=share.replace("_", " "))
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("share of a step")
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.4, 1.0), fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return drawn
