"""What a GPU must say: arithmetic used, packing, prefill, accuracy against tokens, time codecs. One command, one page.

    python benchmarks/on_gpu.py --out OUT                       everything, under 9 minutes on one H200
    python benchmarks/on_gpu.py --out OUT --only mfu,prefill    parts: mfu, packing, prefill, tokens, codecs
    python benchmarks/on_gpu.py --out OUT --brief               every part with tiny sizes on a CPU: that it runs

Rows stand in OUT/on_gpu.jsonl as they come, and the page is written anew after each part, so a run that is killed keeps
what was done; a part that fails says so on the page, and the next one is begun. Nothing is downloaded: models are built
from published sizes with drawn weights, samples are drawn.

It needs the repository with `.typing` (`make typing`) on PYTHONPATH, and torch, transformers, numpy, pyarrow, pillow,
opencv-python-headless, matplotlib, safetensors, tokenizers, xxhash, webdataset and braceexpand. Where the last two are
missing and nothing can be fetched, carry them: here `pip download --no-deps -d .wheels webdataset==1.0.2
braceexpand==0.1.7`, there `pip install --no-index --no-deps --target site .wheels/*.whl` and PYTHONPATH=.typing:site.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from gpu import learned, mfu, packing, prefill
from gpu.bench import Bench
from measure import Result, say

Part = Callable[[Bench, Result], Any]
PARTS: dict[str, tuple[str, Part]] = {
    "mfu": ("Arithmetic used, and where a step's time goes", mfu.report),
    "packing": ("Packed rows against padded batches", packing.report),
    "prefill": ("Prefill against the share of visual tokens that is kept", prefill.report),
    "tokens": ("Accuracy against visual tokens", learned.tokens_report),
    "codecs": ("Three codecs of time", learned.codecs_report),
}
BRIEF_S = 1.0


def added(page: Result, part: str, bench: Bench) -> None:
    """A part on the page, its picture beside it."""
    title, report = PARTS[part]
    page.lines += ["", f"## {title}"]
    start = time.monotonic()
    figure = bench.tried(part, page, part, lambda: report(bench, page))
    if figure is not None:
        name = f"on_gpu_{part}.png"
        figure.savefig(bench.out / name, dpi=110, bbox_inches="tight")
        page.note(f"![{title}]({name})")
    page.note(f"{time.monotonic() - start:.0f} s.")


def report(bench: Bench, parts: Sequence[str]) -> None:
    """All parts, the page written anew after each."""
    page = Result("on_gpu", "On a GPU")
    page.note(f"{bench.named()}; torch {torch.__version__}, transformers {transformers.__version__}.")
    if bench.brief:
        page.note("Tiny sizes: that it runs. No figure here says anything.")
    for part in parts:
        say(f"{part}: {bench.left_s():.0f} s left")
        added(page, part, bench)
        bench.fresh()
        page.save(folder=bench.out)


def chosen(said: str) -> list[str]:
    """Parts of a list with commas, in this bench's order."""
    asked = said.split(",")
    if unknown := set(asked) - set(PARTS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: known are {', '.join(PARTS)}")
    return [part for part in PARTS if part in asked]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--only", type=chosen, default=list(PARTS), help="parts, with commas")
    parser.add_argument("--seconds", type=float, default=22.0, help="of each variant that learns")
    parser.add_argument("--minutes", type=float, default=8.5, help="after which no further run is begun")
    parser.add_argument("--brief", action="store_true", help="tiny sizes, to see that it runs")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    ends_s = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as work:
        seconds = BRIEF_S if given.brief else given.seconds
        bench = Bench(given.out, Path(work), given.brief, seconds, ends_s)
        report(bench, given.only)
        return int(bench.failed)


if __name__ == "__main__":
    sys.exit(main())
