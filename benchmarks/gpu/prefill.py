"""Time and memory to read a prompt (prefill), against the share of visual tokens that is kept.

FastV drops before layer 2, by the attention of layer 1; a reducer drops before the first layer. The line is the compute
that is left: (K f(n) + (L - K) f(n')) / (L f(n)), f(n) = 4 n d^2 + 2 n^2 d + 3 n d m (FastV, arXiv 2403.06764), with K
= 0 for a reducer, n all tokens of a prompt. Keys and values: 2 bytes for each of 2 L heads' numbers that are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from measure import Result

from gpu import shapes
from gpu.bench import Bench
from reelmill.training.attention import Cache
from reelmill.training.hooks.drop import Drop
from reelmill.training.seams import Hook
from reelmill.training.share import rounded_up
from reelmill.training.splice import placed
from reelmill.training.trunk import run
from reelmill.training.values import TEXT, Seq
from reelmill.training.variants.fastv import flops

PROMPTS, VISUAL, WORDS = 8, 4096, 100
"""64 frames of 64 tokens and 100 words, eight prompts at a time."""
KEPT = (1.0, 0.75, 0.5, 0.25, 0.1)
LAYER = 2


def prompts(visual: int, words: int, count: int, width: int, device: torch.device) -> Seq:
    """Prompts of visual tokens, then words."""
    doc = torch.arange(count, device=device).repeat_interleave(visual + words)
    same = torch.zeros_like(doc)
    pos, before = placed(doc, same)
    h = torch.randn(len(doc), width, device=device, dtype=torch.bfloat16 if device.type == "cuda" else torch.float32)
    kind = torch.where(pos < visual, pos // 64, TEXT)
    index = torch.arange(len(doc), device=device)
    return Seq(h, pos, kind, doc, same, same - 100, torch.ones(len(doc), device=device), index, before)


def read(lm: Any, seq: Seq, count: int, hooks: Sequence[Hook]) -> Cache:
    """A prefill; the keys and values that it leaves."""
    cache = Cache()
    with torch.no_grad():
        run(lm, seq, documents=count, hooks=hooks, cache=cache)
    return cache


def one(bench: Bench, lm: Any, way: str, kept: float) -> dict[str, Any]:
    """One share, one way."""
    count, visual, words = (2, 64, 10) if bench.brief else (PROMPTS, VISUAL, WORDS)
    left = rounded_up(kept, visual)
    first = visual if way == "fastv" else left
    seq = prompts(first, words, count, lm.config.hidden_size, bench.device)
    hooks = [Drop(LAYER, kept)] if way == "fastv" and kept < 1 else []
    bench.fresh()
    before = bench.peak_gb()
    seconds = bench.seconds_of(lambda: read(lm, seq, count, hooks), 1 if bench.brief else 7)
    cache = read(lm, seq, count, hooks)
    config = lm.config
    layers, n, rest = config.num_hidden_layers, visual + words, left + words
    begun = LAYER if way == "fastv" else 0
    held = 2 * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads) * seq.h.element_size()
    return {
        "way": way,
        "kept": kept,
        "seconds": seconds,
        "compute": flops(n, rest, begun, layers, config.hidden_size, config.intermediate_size),
        "keys_and_values_mb": cache.bytes() / 1e6,
        "keys_and_values_by_count_mb": held * count * (begun * n + (layers - begun) * rest) / 1e6,
        "peak_gb": bench.peak_gb() - before,
    }


def report(bench: Bench, page: Result) -> Any:
    """Both ways over all shares."""
    lm = shapes.language("smol", brief=bench.brief).to(bench.device).eval()
    lm = lm.bfloat16() if bench.device.type == "cuda" else lm
    rows = [
        bench.row("prefill", **one(bench, lm, way, kept))
        for way in ("fastv", "reducer")
        for kept in (KEPT[::2] if bench.brief else KEPT)
    ]
    whole = {
        way: next(r["seconds"] for r in rows if r["way"] == way and r["kept"] == 1) for way in ("fastv", "reducer")
    }
    for row in rows:
        row["share"] = row["seconds"] / whole[row["way"]]
    page.raw["prefill"] = rows
    page.note(
        f"SmolLM2-360M's shape in bfloat16, {PROMPTS} prompts of {VISUAL} visual tokens and {WORDS} words;"
        " the attention that FastV scores by is computed for the last token of each prompt alone."
    )
    header = ("way", "kept", "ms", "share of time", "share of compute", "KV MB", "KV MB by count", "peak GB")
    names = ("keys_and_values_mb", "keys_and_values_by_count_mb", "peak_gb")
    page.table(
        header,
        [
            (r["way"], f"{r['kept']:.0%}", 1000 * r["seconds"], r["share"], r["compute"], *(r[n] for n in names))
            for r in rows
        ],
    )
    return figure(rows)


def figure(rows: list[dict[str, Any]]) -> Any:
    """Measured shares and the analytic line, left time, right memory."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(9, 3.8))
    time_, memory = drawn.subplots(1, 2)
    for way, colour in (("fastv", "#3b6ea5"), ("reducer", "#b03030")):
        own = [r for r in rows if r["way"] == way]
        kept = [r["kept"] for r in own]
        time_.plot(kept, [r["share"] for r in own], "o-", color=colour, label=f"{way}, measured")
        time_.plot(kept, [r["compute"] for r in own], "--", color=colour, label=f"{way}, by count")
        memory.plot(kept, [r["keys_and_values_mb"] for r in own], "o-", color=colour, label=way)
    time_.set(xlabel="visual tokens kept", ylabel="share of prefill time")
    memory.set(xlabel="visual tokens kept", ylabel="keys and values, MB")
    for axes in (time_, memory):
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return drawn
