"""The data side of training: clips written and loaded a CPU-minute, and how full rows of 16k tokens are.

Writing is micro clips through rendering, JPEG, questions, shards and tables. Loading is reading, tokenising, packing
and decoding on one decode thread; CPU time of this process, all threads. Lengths are those of `--packs` (64 visual
tokens a frame, at most 16 frames), drawn with replacement, and log-normal ones.

    python benchmarks/training_data.py --clips 1000 --packs demo/internvid_tg-demo/1
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from measure import Result, bars, say

from reelmill.pipelines.scenes.micro_pack import write_micro
from reelmill.training.data.loader import Loader, Settings, Source
from reelmill.training.data.packing import Packer
from reelmill.training.data.shards import opened
from reelmill.training.data.tokenizer import texts_of, trained
from reelmill.training.data.tokens import Tokens
from reelmill.training.documents import Document

ROW, BUFFERS, DRAWN = 16_384, (128, 512, 2048), 20_000
WORDS_ONLY = 330
"""A vocabulary of bytes and little more: texts come out at several tokens a word, longer than they will be."""


class InTenths:
    """Numbers in their units, to a tenth."""

    def spell(self, values: Sequence[float], scale: Sequence[float]) -> Sequence[str]:
        return [" ".join(f"{v * s:.1f}" for v, s in zip(values, scale, strict=True))]


CODECS = {"time": InTenths(), "box": InTenths()}


def visual(each_frame: int) -> Callable[[Document], int]:
    """Tokens of a document with so many visual tokens a frame."""
    return lambda document: len(document.ids) - 1 + each_frame * len(document.frames)


def cpu_s(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def tokens_for(folder: Path, size_px: int, max_frames: int | None = None) -> Tokens:
    tokenizer = trained(texts_of(opened(folder), CODECS), kind="bytes", vocabulary=WORDS_ONLY)
    return Tokens(tokenizer, size_px, codecs=CODECS, max_frames=max_frames)


def loading(folder: Path, tokens: Tokens, *, shared: bool) -> tuple[float, int]:
    """CPU-seconds of an epoch, and its documents."""
    settings = Settings(length=4096, epochs=1)
    loader = Loader([Source(opened(folder), shared=shared)], tokens, settings, visual(4), threads=1)
    documents = 0

    def epoch() -> None:
        nonlocal documents
        documents = sum(pack.documents for pack in loader)

    return cpu_s(epoch), documents


def lengths_of(folder: Path) -> list[int]:
    """Tokens of every document of a pack."""
    split, tokens = opened(folder), tokens_for(folder, 24, max_frames=16)
    return [visual(64)(tokens.document([split.sample(n)])) for n in range(len(split))]


def fill(lengths: Iterator[int], buffer: int) -> float:
    """Share of rows that tokens take, before the buffer is drained."""
    packer = Packer[int](ROW, buffer)
    used = rows = 0
    for tokens in lengths:
        packer.add(tokens, "", tokens)
        if packer.full:
            used, rows = used + sum(packer.row()), rows + 1
    return used / rows / ROW


def drawn(kind: str, lengths: Sequence[int]) -> Iterator[int]:
    draw = random.Random(kind)
    for _ in range(DRAWN):
        yield draw.choice(lengths)


def log_normal(median: float, spread: float) -> list[int]:
    draw = random.Random(0)
    return [min(ROW, max(30, round(draw.lognormvariate(math.log(median), spread)))) for _ in range(DRAWN)]


def report(clips: int, packs: Sequence[Path], rounds: int) -> None:
    page = Result("training_data", "From shards to packed rows", rounds=rounds)
    costs: dict[str, list[float]] = {}
    samples = documents = 0
    with tempfile.TemporaryDirectory() as there:
        for number in range(rounds):
            folder = Path(there) / str(number)
            costs.setdefault("write", []).append(cpu_s(partial(write_micro, folder, clips, seed=number, val_share=0.0)))
            tokens = tokens_for(folder, 24)
            samples = len(opened(folder))
            for name, shared in (("load, a document a sample", False), ("load, a document a clip", True)):
                seconds, documents = loading(folder, tokens, shared=shared)
                costs.setdefault(name, []).append(seconds)
            say(f"round {number + 1}: " + ", ".join(f"{name} {each[-1]:.2f} CPU-s" for name, each in costs.items()))
    each_minute = {name: 60 * clips / sorted(each)[len(each) // 2] for name, each in costs.items()}
    page.raw |= {"cpu_s": costs, "clips": clips, "samples": samples}
    page.note(f"{clips} micro clips of 16 frames of 24 px, {samples} samples, {documents} joined documents.")
    page.note("CPU time of this process, all threads, beside whatever else ran on the machine.")
    page.table(("what", "clips a CPU-minute"), list(each_minute.items()))
    known = {str(p.parent.name): lengths_of(p) for p in packs}
    known |= {f"log-normal, median {m}, sigma {s}": log_normal(m, s) for m, s in ((300, 0.8), (1200, 0.8), (2500, 0.6))}
    rows = [
        (name, sorted(of)[len(of) // 2], max(of), *(fill(drawn(name, of), b) for b in BUFFERS))
        for name, of in known.items()
    ]
    page.raw["fill"] = rows
    page.note(f"Fill of rows of {ROW} tokens, by documents in the buffer; {DRAWN} documents each.")
    header = ("lengths", "median", "longest", *(f"buffer {b}" for b in BUFFERS))
    page.table(header, [(*row[:3], *(f"{100 * share:.2f} %" for share in row[3:])) for row in rows])
    page.save(bars("clips a CPU-minute", each_minute))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1_000)
    parser.add_argument("--packs", type=Path, nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    report(args.clips, args.packs, args.rounds)
