"""Kill -9, Ctrl-C, a full disk and a second process during `reelmill train`: run again, it ends with the same weights.

MQT draws its budget at every step and weights are averaged, so that generators and averages count too. Compared
are the bytes of the weights and of the log, and what optimiser, averages, generators and the place in the data say.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from nursery import Forked, Nursery
from small_disks import small_disk

from reelmill.pipelines.scenes.micro_pack import write_micro
from reelmill.schemas.points import TRAIN_POINTS
from reelmill.training.loop import checkpoint

FULL = os.environ.get("REELMILL_CHAOS") == "full"
PROGRAM = Path(__file__).with_name("_training.py")
KILLS = 60 if FULL else 2
STEPS = 5
BRIEF = ["--steps", str(STEPS), "--tokens", "200", "--frames", "2", "--checkpoint-every", "1", "--ema", "0.9"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800 if FULL else 600)]


@dataclass
class Scene:
    """Shards, a program that trains on them, and how an undisturbed run ended: its bytes, and its seconds."""

    nursery: Nursery
    shards: Path
    whole: dict[str, object]
    kilobytes: int = 0
    seconds: float = 0.0

    def start(self, run: Path, fault: str = "") -> Forked:
        return Forked(self.nursery, ["train", "mqt", str(self.shards), "--run", str(run), *BRIEF], fault=fault)

    def play(self, run: Path, fault: str = "") -> tuple[int, str]:
        with self.start(run, fault) as program:
            code, _, errors = program.end()
        return code, errors

    def finish(self, run: Path) -> None:
        """Run again: what is there in the end is what an undisturbed run left."""
        code, errors = self.play(run)
        assert code == 0, errors
        assert ended(run) == self.whole
        assert not list((run / "checkpoints").glob(".*")), "what was half written is gone"


def ended(run: Path) -> dict[str, object]:
    """Bytes of the newest weights and of the log; what the rest says, tensors as bytes (a pickle has other bytes where
    equal numbers were one object or two)."""
    newest = checkpoint.newest(run)
    at = {name: said for name, said in newest.at.items() if name != "sha256"}
    held = {p.name: p.read_bytes() for p in (newest.folder / checkpoint.WEIGHTS, run / "log.jsonl")}
    return {**held, "at": at, "rest": plain(newest.rest())}


def plain(held: object) -> object:
    """Nested dicts and lists with tensors as bytes."""
    if isinstance(held, torch.Tensor):
        return held.numpy().tobytes()
    if isinstance(held, Mapping):
        return {name: plain(one) for name, one in held.items()}
    return [plain(one) for one in held] if isinstance(held, list | tuple) else held


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("training")
    write_micro(folder / "micro", 6)
    nursery = Nursery([sys.executable, str(PROGRAM)])
    made = Scene(nursery, folder / "micro", {})
    try:
        began = time.monotonic()
        assert made.play(folder / "whole")[0] == 0
        made.seconds, made.whole = time.monotonic() - began, ended(folder / "whole")
        newest = checkpoint.newest(folder / "whole").folder
        made.kilobytes = sum(p.stat().st_size for p in newest.iterdir()) // 1024
        yield made
    finally:
        nursery.close()


def test_the_points_are_those_that_are_reached(root: Path) -> None:
    sources = [p.read_text() for p in (root / "training").rglob("*.py")]
    assert {name for text in sources for name in re.findall(r'reach\("([^"]+)"\)', text)} == set(TRAIN_POINTS)


def test_killed_at_every_point_in_turn_it_ends_the_same(scene: Scene, tmp_path: Path) -> None:
    """One run, killed ten times: also between the files of a checkpoint, and while an older one is removed."""
    run = tmp_path / "run"
    for point in TRAIN_POINTS:
        code, errors = scene.play(run, f"{point}:kill")
        assert code == -signal.SIGKILL, f"{point}: {errors}"
    scene.finish(run)


@pytest.mark.skipif(not FULL, reason="each alone, several times: make chaos")
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("point", TRAIN_POINTS)
def test_killed_once_it_ends_the_same(scene: Scene, tmp_path: Path, point: str, nth: int) -> None:
    code, errors = scene.play(tmp_path / "run", f"{point}:kill:{nth}")
    assert code in (0, -signal.SIGKILL), errors
    scene.finish(tmp_path / "run")


def test_killed_at_random_moments_it_ends_the_same(scene: Scene, tmp_path: Path) -> None:
    rng = random.Random(31)
    for number in range(KILLS):
        with scene.start(tmp_path / f"run{number}") as program:
            program.killed_after(rng.uniform(0.1, 0.9) * scene.seconds)
        scene.finish(tmp_path / f"run{number}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_says_how_to_go_on(scene: Scene, tmp_path: Path, number: int) -> None:
    run = tmp_path / "run"
    with scene.start(run, "checkpoint.begun:stop") as program:
        program.stands_still()
        os.kill(program.pid, number)
        program.go_on()
        code, said, errors = program.end()
    assert code == 130
    assert re.search(r"step [1-4] of 5 is done, and its checkpoint written", said)
    assert errors.strip() == "stopped; run the same command again to go on"
    assert 0 < checkpoint.newest(run).step < STEPS
    scene.finish(run)


def test_a_second_process_is_refused_and_the_first_goes_on(scene: Scene, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with scene.start(run, "checkpoint.rest:stop") as program:
        program.stands_still()
        code, errors = scene.play(run)
        assert code == 2
        assert "is being written by another run" in errors
        assert len(errors.strip().splitlines()) == 1
        program.go_on()
        assert program.end()[0] == 0
    assert ended(run) == scene.whole


@pytest.mark.parametrize("share", [0.3, 1.2, 1.7, 2.4] if FULL else [1.2, 1.7])
def test_a_full_disk_leaves_the_checkpoint_before(scene: Scene, tmp_path: Path, share: float) -> None:
    """Room for so many checkpoints: the writers of weights and of the rest each meet the end of the disk."""
    with small_disk(tmp_path / "disk", int(share * scene.kilobytes) + 300) as disk:
        run = disk / "run"
        code, errors = scene.play(run)
        assert code == 2, errors
        assert "free some space" in errors
        assert len(errors.strip().splitlines()) == 1, errors
        assert [c.step for c in checkpoint.steps(run)] == [n + 1 for n in range(int(share))]
        roomy = Path(shutil.copytree(run, tmp_path / "roomy"))
    scene.finish(roomy)
