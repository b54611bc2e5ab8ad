"""Tokens a second of packed rows against padded batches, forward and backward, on this machine's CPU.

The same documents, the same language model from scratch, in turn in one process on one thread: packed is one row of all
documents with our attention; padded is a batch as long as its longest document through transformers' own attention, as
usual trainers make it, in the order of the data and, kinder to padding, sorted by length. Real tokens are counted. The
tower and the head are left out: they cost the same for all. Medians of `--rounds`.

    python benchmarks/packed_rows.py --size S --rounds 5
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from measure import Result, bars, say
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from reelmill.training import ladder
from reelmill.training.splice import placed
from reelmill.training.trunk import run
from reelmill.training.values import TEXT, Seq

DOCUMENTS, BATCH = 64, 8
"""Documents of a round, and how many a padded batch has."""
MEDIAN, SPREAD, LEAST, MOST = 120, 0.8, 24, 1024
"""Lengths are log-normal: dialogues about clips of one to sixteen frames are spread as widely (training_data)."""


def lengths(seed: int) -> list[int]:
    """Tokens of each document."""
    draw = random.Random(seed)
    return [min(MOST, max(LEAST, round(draw.lognormvariate(math.log(MEDIAN), SPREAD)))) for _ in range(DOCUMENTS)]


def row(of: Sequence[int], width: int) -> Seq:
    """All documents end to end."""
    doc = torch.repeat_interleave(torch.arange(len(of)), torch.tensor(of))
    same = torch.zeros_like(doc)
    pos, before = placed(doc, same)
    h = torch.randn(len(doc), width, requires_grad=True)
    return Seq(h, pos, same + TEXT, doc, same, same - 100, torch.ones(len(doc)), torch.arange(len(doc)), before)


def packed(lm: nn.Module, of: Sequence[int], width: int) -> Callable[[], Tensor]:
    """One pass over a row."""
    made = row(of, width)
    return lambda: run(lm, made, documents=len(of)).h.square().mean()


def padded(lm: LlamaForCausalLM, of: Sequence[int], width: int) -> Callable[[], Tensor]:
    """Passes over batches of `BATCH` documents."""
    batches = []
    for start in range(0, len(of), BATCH):
        some = torch.tensor(of[start : start + BATCH])
        mask = torch.arange(int(some.max())) < some.unsqueeze(1)
        batches.append((torch.randn(*mask.shape, width, requires_grad=True), mask.long()))

    def passes() -> Tensor:
        outs = [lm.model(inputs_embeds=h, attention_mask=m, use_cache=False).last_hidden_state for h, m in batches]
        return torch.stack([out.square().mean() for out in outs]).sum()

    return passes


def seconds(work: Callable[[], Tensor]) -> float:
    """CPU time of a forward and a backward pass."""
    before = time.process_time()
    work().backward()
    return time.process_time() - before


def measured(size: ladder.Size, rounds: int) -> dict[str, list[float]]:
    """Real tokens a CPU-second of each way, round by round."""
    ours, theirs = ladder.language(size, 64), ladder.language(size, 64)
    theirs.model.set_attn_implementation("sdpa")
    speeds: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        of = lengths(number)
        ways = {
            "packed": packed(ours, of, size.words),
            "padded": padded(theirs, of, size.words),
            "padded, sorted": padded(theirs, sorted(of), size.words),
        }
        for name, work in ways.items():
            speed = sum(of) / seconds(work)
            if number:  # the first warms up
                speeds.setdefault(name, []).append(speed)
        say(f"round {number}: " + ", ".join(f"{name} {each[-1]:,.0f}" for name, each in speeds.items()))
    return speeds


def report(name: str, rounds: int) -> None:
    torch.set_num_threads(1)
    speeds = measured(ladder.LADDER[name], rounds)
    medians = {way: statistics.median(each) for way, each in speeds.items()}
    all_of = [n for number in range(1, rounds + 1) for n in lengths(number)]
    page = Result("packed_rows", "Packed rows against padded batches", rounds=rounds)
    page.raw |= {"tokens_per_cpu_s": speeds, "size": name}
    page.note(
        f"Language model {name} from scratch, float32, one thread, forward and backward; {DOCUMENTS} documents a round."
    )
    page.note(
        f"Lengths: log-normal, median {statistics.median(all_of):.0f}, at most {max(all_of)}; batches of {BATCH}."
    )
    rows = [(way, f"{speed:,.0f}", f"{medians['packed'] / speed:.2f}") for way, speed in medians.items()]
    page.table(("way", "real tokens a CPU-second", "packed over it"), rows)
    page.save(bars("real tokens a CPU-second", medians))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(ladder.LADDER), default="S")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--brief", action="store_true", help="XS, two rounds")
    asked = parser.parse_args()
    report("XS" if asked.brief else asked.size, 2 if asked.brief else asked.rounds)
