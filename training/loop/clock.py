"""Where a step's time goes, and how much of the machine's arithmetic it uses.

Compute is counted from shapes: 2 operations a weight and token forward, 4 more backward where weights learn (2 where
only what is behind them does), and the attention between tokens of one document; padding is not counted, because there
is none. MFU divides it by time and by the peak that is given, so it means nothing without one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from reelmill.training.documents import Pack
from reelmill.training.slicers.cut import tiles_of
from reelmill.training.towers import groups_of
from reelmill.training.trunk import body_of
from reelmill.training.vlm import VLM

PARTS = ("wait", "move", "forward", "backward", "update")


@dataclass(slots=True)
class Clock:
    """Seconds in each part, and CPU seconds in all. A CPU's are wall time. A GPU's lie between marks in its stream:
    nobody waits for it within a step, time is charged where the device spends it, and waiting for the loader counts
    only while the device has nothing else to do."""

    device: torch.device
    spent_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    cpu_s: float = 0.0
    _marks: list[tuple[str, Any, Any]] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Charges what happens inside to a part."""
        start, cpu, begun = time.perf_counter(), time.process_time(), self._mark()
        try:
            yield
        finally:
            if begun is None:
                self.spent_s[name] += time.perf_counter() - start
            else:
                self._marks.append((name, begun, self._mark()))
            self.cpu_s += time.process_time() - cpu

    def _mark(self) -> Any:
        if self.device.type != "cuda":
            return None
        mark = torch.cuda.Event(enable_timing=True)
        mark.record(torch.cuda.current_stream(self.device))
        return mark

    def read(self) -> dict[str, float]:
        """Seconds of each part so far; waits until a GPU has done what it was given."""
        for name, begun, ended in self._marks:
            ended.synchronize()
            self.spent_s[name] += begun.elapsed_time(ended) / 1000
        self._marks.clear()
        return dict(self.spent_s)


def weights(module: nn.Module, *, learning: bool | None = None) -> int:
    """Numbers in a module's matrices; embeddings that are looked up and not multiplied count nothing."""
    looked_up = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    return sum(
        p.numel()
        for p in module.parameters()
        if id(p) not in looked_up and (learning is None or p.requires_grad == learning)
    )


def lengths(model: VLM, pack: Pack, budget: int | None = None) -> Tensor:
    """Tokens of each document's row, int64 [documents], visual ones as the reducer counts them."""
    words = torch.bincount(pack.doc[pack.ids != model.visual_id], minlength=pack.documents).cpu()
    frames = torch.bincount(pack.sample, minlength=pack.documents).tolist()
    tower, reducer = model.tower, model.reducer
    crops = [None] * pack.documents if pack.crop is None else [c.tolist() for c in pack.crop.cpu().split(frames)]
    counted = [groups_of(tower, n, film=film) for n, film in zip(frames, pack.film.tolist(), strict=True)]
    shown = [(n, tiles_of(crop)) for n, crop in zip(counted, crops, strict=True)]
    seen = {(n, tiles): reducer.count(n, tower.grid, budget, tiles) if n else 0 for n, tiles in set(shown)}
    return words + torch.tensor([seen[of] for of in shown])


def operations(model: VLM, pack: Pack, rows: Tensor) -> float:
    """Floating-point operations of a step on a pack: forward and backward of tower, reducer, language model and head.

    `rows` are its `lengths`. A hook that drops tokens is counted as if they had gone all the way: what it saves is
    measured, not assumed.
    """
    tower: Any = model.tower
    patches = len(pack.pixels) * tower.grid[0] * tower.grid[1]
    seen = patches * sum(_passes(part) * weights(part) for part in (model.tower, model.reducer))
    body: Any = body_of(model.lm)
    rows = rows.double()
    between = 3 * 2 * float(rows.square().sum()) * body.config.hidden_size * len(body.layers)
    said = int((pack.labels >= 0).sum()) * 6 * sum(map(len, model.outputs())) * body.config.hidden_size
    return float(seen + float(rows.sum()) * 6 * weights(body) + between + said)


def _passes(module: nn.Module) -> int:
    """Operations a weight and token: 6 where it learns, 2 where it is frozen and nothing before it learns."""
    return 6 if any(p.requires_grad for p in module.parameters()) else 2
