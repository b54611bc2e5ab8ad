"""What every part is given: the device, a folder, how much time is left, and a place for rows as they come.

bench.row("mfu", model="smol", mfu=0.45)        a line of OUT/on_gpu.jsonl, at once
"""

from __future__ import annotations

import gc
import json
import statistics
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from measure import Result, say
from torch import nn

from reelmill.training.loop.fit import Fit
from reelmill.training.loop.peaks import peak_of

MATRIX, BRIEF_MATRIX = 8192, 256
_PRODUCTS = 20


class Unsaved(Fit):
    """The loop as it is, but for checkpoints: gigabytes that say nothing about a step."""

    def save(self) -> None:
        """Nothing is written."""


@dataclass
class Bench:
    """`out` takes what is found, `work` what is made on the way. `brief`: tiny sizes, that it runs. `ends_s` is the
    clock's time at which no further run is begun."""

    out: Path
    work: Path
    brief: bool
    seconds: float
    ends_s: float
    failed: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    def left_s(self) -> float:
        return self.ends_s - time.monotonic()

    def row(self, part: str, **found: Any) -> dict[str, Any]:
        """Keeps a row; gives it back."""
        with (self.out / "on_gpu.jsonl").open("a") as lines:
            print(json.dumps({"part": part, **found}), file=lines, flush=True)
        say(f"{part}: " + ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items()))
        return found

    def tried(self, part: str, page: Result, name: str, work: Callable[[], Any]) -> Any:
        """What `work` gives, None where it fails: the page says so, and what comes after it is done all the same."""
        try:
            return work()
        except Exception:
            told = traceback.format_exc()
            say(told)
            self.failed = True
            page.note(f"Failed, {name}: `{told.splitlines()[-1]}`")
            self.row(part, failed=name, error=told.splitlines()[-1])
            return None

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def halved(self) -> AbstractContextManager[Any]:
        """As the training loop computes: bfloat16 on a GPU."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def seconds_of(self, work: Callable[[], object], rounds: int, warm: int = 2) -> float:
        """Median seconds of `work`, the device's included."""
        spent = []
        for number in range(rounds + warm):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            if number >= warm:
                spent.append(time.perf_counter() - start)
        return statistics.median(spent)

    def fresh(self) -> None:
        """Gives back what earlier runs held, and counts memory anew."""
        gc.collect()
        torch._dynamo.reset()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gb(self) -> float:
        """Most memory of the device that was held since `fresh`, 0 on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) / 1e9 if self.device.type == "cuda" else 0.0

    def named(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"

    def data_sheet(self) -> float | None:
        """Operations a second by the data sheet, None for a device that is not known."""
        return peak_of(self.named())

    def ceiling(self) -> float:
        """Operations a second of one large product of random bfloat16 matrices (float32 on a CPU): the most that a
        step could reach here."""
        n = BRIEF_MATRIX if self.brief else MATRIX
        kind = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        a, b = (torch.randn(n, n, device=self.device, dtype=kind) for _ in "ab")

        def products() -> None:
            for _ in range(_PRODUCTS):
                torch.mm(a, b)

        return 2 * n**3 * _PRODUCTS / self.seconds_of(products, 3)


def weighed(module: nn.Module) -> float:
    """Millions of weights, words included."""
    return sum(p.numel() for p in module.parameters()) / 1e6
