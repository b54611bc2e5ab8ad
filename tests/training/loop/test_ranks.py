"""Two processes on one machine learn what one learns from the same rows: losses, weights, and what resumes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_documents as tiny
import torch
import two_ranks

from reelmill.schemas.errors import BadInput
from reelmill.training import ladder
from reelmill.training.assemble import from_scratch
from reelmill.training.loop import checkpoint
from reelmill.training.loop.fit import LOG
from reelmill.training.loop.ranks import Ranks
from reelmill.training.vlm import VLM

VARIANTS = ("llava15", "fastv", "m3")
"""A plain one; one whose rows lose tokens; one that reads a pack several times before it goes back."""
MUON = "llava15@muon"
_KEYS = "k_proj.bias"


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / LOG).read_text().splitlines()]


def started(folder: Path, *variants: str) -> None:
    """Both processes, to their end."""
    words = ["--standalone", "--nproc-per-node", "2", "-m", "two_ranks", str(folder), *variants]
    path = os.pathsep.join([str(Path(two_ranks.__file__).parent), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "-m", "torch.distributed.run", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.environ.get("REELMILL_TRAINING") != "full":
        pytest.skip("two more processes that import torch and transformers: make check-training")
    folder = tmp_path_factory.mktemp("two")
    started(folder, *VARIANTS, MUON)
    return folder


def apart(together: Path, said: str, alone: VLM) -> dict[str, float]:
    """How far each tensor of two processes is from that of one, as a share of how far it moved. No single weight is
    asked: AdamW moves one whose gradient is all but 0 as far as any other, to where rounding says. Nor are biases of
    keys, whose gradient is rounding alone: a softmax does not see them."""
    start, two = (from_scratch(said.partition("@")[0], ladder.XS, tiny.VOCABULARY, frames=4)[0] for _ in range(2))
    checkpoint.newest(together / said).weights_into(two)
    every = {n: (two.state_dict()[n], value, start.state_dict()[n]) for n, value in alone.state_dict().items()}
    assert all(torch.equal(a, c) for a, b, c in every.values() if torch.equal(b, c))
    return {
        n: float((a - b).norm() / (b - c).norm())
        for n, (a, b, c) in every.items()
        if not (torch.equal(b, c) or _KEYS in n)
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_learn_what_one_learns(together: Path, tmp_path: Path, variant: str) -> None:
    alone = two_ranks.fit(tmp_path, variant)
    alone.go()
    for one, two in zip(lines(tmp_path), lines(together / variant), strict=True):
        assert two == pytest.approx(one, rel=1e-5)
    assert max(apart(together, variant, alone.model).values()) < 2e-3


def test_muon_takes_sharded_matrices_whole(together: Path, tmp_path: Path) -> None:
    """Halves made orthogonal by themselves would end 0.47 to 0.74 of the way apart. Whole ones end up to 0.16 apart: a
    change of the gradient by a millionth makes 0.01 to 0.12, as directions that hardly anything teaches are made as
    long as the others."""
    alone = two_ranks.fit(tmp_path, MUON)
    alone.go()
    for one, two in zip(lines(tmp_path), lines(together / MUON), strict=True):
        assert two == pytest.approx(one, rel=2e-3)
    assert max(apart(together, MUON, alone.model).values()) < 0.3


@pytest.mark.parametrize(("said", "near"), [("llava15", 1e-5), (MUON, 2e-3)])
def test_one_process_goes_on_where_two_stopped(together: Path, tmp_path: Path, said: str, near: float) -> None:
    """Optimizers and averages too: they are whole in a checkpoint, and the place in the data counts all rows."""
    shutil.copytree(together / said / "checkpoints" / "step-000002", tmp_path / "checkpoints" / "step-000002")
    (tmp_path / LOG).write_text("".join((together / said / LOG).read_text().splitlines(keepends=True)[:2]))
    again = two_ranks.fit(tmp_path, said)
    assert again.resume()
    again.go()
    for one, two in zip(lines(tmp_path), lines(together / said), strict=True):
        assert one == pytest.approx(two, rel=near)
    mine, theirs = (checkpoint.newest(run).rest() for run in (tmp_path, together / said))
    assert off(mine["average"], theirs["average"]) < 10 * near
    if said == MUON:
        assert off(*(buffers(rest["optimiser"]["muon"]) for rest in (mine, theirs))) < 10 * near


def off(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    """How far tensors are from others, as a share of their size; the worst."""
    return max(float((some[n] - value).norm() / value.norm().clamp(min=1e-3)) for n, value in others.items())


def buffers(optimizer: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Muon's averaged gradients."""
    return {str(n): state["momentum_buffer"] for n, state in optimizer["state"].items()}


def test_rows_that_do_not_come_out_even_are_one_line() -> None:
    with pytest.raises(BadInput, match=r"3 rows of a step; seen: 2 processes; do: give --accumulate a multiple of 2"):
        Ranks(0, 2).share(3)


def test_one_process_has_nobody_to_ask() -> None:
    alone = Ranks.here()
    assert (alone.rank, alone.world, alone.leads) == (0, 1, True)
    assert alone.gathered("mine") == ["mine"]
