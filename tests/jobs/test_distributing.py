"""`train --on ray`: two workers of Ray Train learn what one process learns, and what they refuse is one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reelmill.jobs import distributing, fitting
from reelmill.pipelines.scenes.micro_pack import write_micro
from reelmill.schemas.errors import BadInput
from reelmill.training.loop import checkpoint
from reelmill.training.loop.fit import LOG
from reelmill.training.loop.plan import Data, Plan, Rates
from reelmill.training.running import finished

FULL = pytest.mark.skipif(os.environ.get("REELMILL_TRAINING") != "full", reason="a Ray of its own: check-training")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("micro") / "micro"
    write_micro(folder, 12, val_share=0.3)
    return folder


def plan(shards: Path) -> Plan:
    """With AdamW, whose sums differ by rounding alone; how far Muon's do is in tests/training/loop/test_ranks.py."""
    said = {"tokens": 300, "frames": 4, "steps": 2, "accumulate": 2, "settings": {"side": 1}, "optimizer": "adamw"}
    return Plan("pllava", (Data(str(shards), shared=True),), **said, rates=Rates(warmup=1))  # type: ignore[arg-type]


@FULL
@pytest.mark.ray
@pytest.mark.timeout(420)
def test_two_workers_learn_what_one_process_learns(shards: Path, tmp_path: Path) -> None:
    assert distributing.train_on("ray", 2, plan(shards), tmp_path / "two", tmp_path) == 0
    assert fitting.train(plan(shards), tmp_path / "one", tmp_path) == 0
    one, two = ((tmp_path / name / LOG).read_text().splitlines() for name in ("one", "two"))
    assert len(one) == len(two) == 2
    for mine, theirs in zip(one, two, strict=True):
        assert json.loads(theirs) == pytest.approx(json.loads(mine), rel=1e-5)
    assert checkpoint.newest(tmp_path / "two").step == 2
    assert finished(tmp_path / "two").model is not None


@FULL
@pytest.mark.ray
@pytest.mark.timeout(420)
def test_what_a_worker_refuses_is_said_here(shards: Path, tmp_path: Path) -> None:
    """A run of another plan lies in the folder: every worker sees it."""
    plan(shards).write(tmp_path / "run")
    other = Plan(plan(shards).variant, plan(shards).data, tokens=300, frames=4, accumulate=2, settings={"side": 2})
    with pytest.raises(BadInput, match="has another plan"):
        distributing.train_on("ray", 2, other, tmp_path / "run", tmp_path)


def test_rows_are_counted_before_ray_is_started(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="2 rows of a step; seen: 3 processes"):
        distributing.train_on("ray", 3, plan(shards), tmp_path / "run", tmp_path)
    assert not (tmp_path / "run").exists()
