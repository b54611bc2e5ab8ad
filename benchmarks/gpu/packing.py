"""Real tokens a second of packed rows, and of the same samples padded, with transformers' own attention (SDPA).

packed               one row of 16k tokens, our attention
to the longest       batches in the order of the data, as long as their longest sample (TRL's collator)
sorted               the same of samples sorted by length, which is kinder to padding than training is
to a fixed length    every sample as long as the longest of all (nanoVLM's collator)

Forward and backward of the language model; tower and head cost the same for all. Real tokens are counted. A sample has
1, 2, 4, 8 or 16 frames of 64 tokens and 40 to 250 words, as a mix of pictures and clips has.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from measure import Result, bars
from torch import Tensor

from gpu import shapes
from gpu.bench import Bench
from reelmill.training.splice import placed
from reelmill.training.trunk import run
from reelmill.training.values import TEXT, Seq

ROW, BRIEF_ROW, ROUNDS = 16_384, 400, 5
FRAMES, WORDS = (1, 2, 4, 8, 16), (40, 250)


def lengths(row: int, each_frame: int, seed: int = 0) -> list[int]:
    """Tokens of samples that fill four rows."""
    draw, found = random.Random(seed), list[int]()
    while sum(found) < 4 * row:
        found.append(draw.choice(FRAMES) * each_frame + draw.randint(*WORDS) * each_frame // 64)
    return found


def packed(lm: Any, of: Sequence[int], row: int, device: torch.device) -> Callable[[], None]:
    """A pass over rows that are filled in the order of the data."""
    rows, held = list[list[int]](), list[int]()
    for tokens in of:
        if sum(held) + tokens > row:
            rows.append(held)
            held = []
        held.append(tokens)
    made = [_row(one, lm.config.hidden_size, device) for one in [*rows, held]]

    def passes() -> None:
        for seq, documents in made:
            run(lm, seq, documents=documents).h.float().square().mean().backward()
            lm.zero_grad(set_to_none=True)

    return passes


def _row(of: Sequence[int], width: int, device: torch.device) -> tuple[Seq, int]:
    doc = torch.repeat_interleave(torch.arange(len(of)), torch.tensor(of)).to(device)
    same = torch.zeros_like(doc)
    pos, before = placed(doc, same)
    h = torch.randn(len(doc), width, device=device)
    index = torch.arange(len(doc), device=device)
    return Seq(h, pos, same + TEXT, doc, same, same - 100, torch.ones_like(h[:, 0]), index, before), len(of)


def padded(lm: Any, of: Sequence[int], row: int, device: torch.device, fixed: int | None = None) -> Callable[[], None]:
    """A pass over batches of about a row's tokens, padding included."""
    batches: list[tuple[Tensor, Tensor]] = []
    held: list[int] = []
    for tokens in [*of, None]:
        long = fixed or max([*held, tokens or 0])
        if held and (tokens is None or (len(held) + 1) * long > row):
            wide = fixed or max(held)
            mask = torch.arange(wide, device=device) < torch.tensor(held, device=device).unsqueeze(1)
            batches.append((torch.randn(*mask.shape, lm.config.hidden_size, device=device), mask.long()))
            held = []
        held.append(tokens or 0)

    def passes() -> None:
        for h, mask in batches:
            out = lm.model(inputs_embeds=h, attention_mask=mask, use_cache=False).last_hidden_state
            out.float().square().mean().backward()
            lm.zero_grad(set_to_none=True)

    return passes


def measured(bench: Bench) -> dict[str, float]:
    """Real tokens a second of each way."""
    row, each_frame = (BRIEF_ROW, 4) if bench.brief else (ROW, 64)
    of = lengths(row, each_frame)
    speeds: dict[str, float] = {}
    ways: dict[str, Callable[[Any], Callable[[], None]]] = {
        "packed": lambda lm: packed(lm, of, row, bench.device),
        "to the longest": lambda lm: padded(lm, of, row, bench.device),
        "sorted": lambda lm: padded(lm, sorted(of), row, bench.device),
        "to a fixed length": lambda lm: padded(lm, of, row, bench.device, max(of)),
    }
    for way, build in ways.items():
        bench.fresh()
        lm = shapes.language("smol", brief=bench.brief).to(bench.device)
        if way != "packed":
            lm.model.set_attn_implementation("sdpa")
        passes = build(lm)

        def work(passes: Callable[[], None] = passes) -> None:
            with bench.halved():
                passes()

        speeds[way] = sum(of) / bench.seconds_of(work, 1 if bench.brief else ROUNDS, warm=1)
        bench.row("packing", way=way, tokens_a_second=speeds[way], samples=len(of), peak_gb=bench.peak_gb())
    return speeds


def report(bench: Bench, page: Result) -> Any:
    """The table of ratios."""
    speeds = measured(bench)
    page.raw["packing"] = speeds
    page.note("SmolLM2-360M's shape, not compiled, bfloat16 by autocast; batches of about as many tokens as a row.")
    rows = [(way, f"{speed:,.0f}", f"{speeds['packed'] / speed:.2f}") for way, speed in speeds.items()]
    page.table(("way", "real tokens a second", "packed over it"), rows)
    return bars("real tokens a second", speeds)
