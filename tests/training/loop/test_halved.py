"""Variants in bfloat16, as a GPU trains them, on a CPU: sums of unlike kinds fail here too. The GPU's bench in small.

All of them with `make check-training`; else those that once failed, and one of each codec.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_documents as tiny
import torch

from reelmill.training import ladder, variants
from reelmill.training.assemble import from_scratch
from reelmill.training.documents import packed

FULL = os.environ.get("REELMILL_TRAINING") == "full"
NAMES = [*variants.names()] if FULL else ["flipped_vqa", "llava_st"]
SLOTS: dict[str, list[tuple[str, tuple[float, ...]]]] = {
    "dist": [("time", (0.2, 0.5)), ("box", (0.1, 0.1, 0.4, 0.4))],
    "bins": [("time", (0.2,)), ("time", (0.4,)), ("x", (0.2,)), ("y", (0.3,))],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_variant_learns_in_half_precision(name: str) -> None:
    model, variant = from_scratch(name, ladder.XS, tiny.VOCABULARY, frames=4)
    pack = packed([tiny.document(i) for i in range(3)])
    plain = variant.objective(model.train(), pack)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        halved = variant.objective(model, pack)
    halved.total.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(g.dtype is torch.float32 and bool(g.isfinite().all()) for g in gradients)
    if not FULL:  # those that draw are another model each time
        assert float(halved.total.detach()) == pytest.approx(float(plain.total.detach()), rel=0.05)


@pytest.mark.parametrize("codec", SLOTS)
def test_numbers_are_learned_in_half_precision(codec: str) -> None:
    settings = {"codec": codec}
    model, variant = from_scratch("small", ladder.XS, tiny.VOCABULARY, frames=4, settings=settings)
    pack = packed([tiny.document(i, answers=(3, 2), slots=SLOTS[codec]) for i in range(3)])
    with torch.autocast("cpu", torch.bfloat16):
        loss = variant.objective(model.train(), pack).total
    loss.backward()
    plain = float(variant.objective(model, pack).total.detach())
    assert float(loss.detach()) == pytest.approx(plain, rel=0.05)


@pytest.mark.skipif(not FULL, reason="half a CPU-minute: make check-training")
@pytest.mark.timeout(600)
def test_the_bench_of_a_gpu_runs_in_small(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(root / "benchmarks" / "on_gpu.py"), "--brief", "--out", str(tmp_path)]
    subprocess.run(command, check=True, timeout=500)
    rows = [json.loads(line) for line in (tmp_path / "on_gpu.jsonl").read_text().splitlines()]
    assert {row["part"] for row in rows} == {"mfu", "packing", "prefill", "tokens", "codecs"}
    assert not [row for row in rows if "failed" in row]
    (page,) = tmp_path.glob("on_gpu-*.md")
    assert page.read_text().count("![") == 5
